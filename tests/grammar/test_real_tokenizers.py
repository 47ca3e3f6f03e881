"""Grammars on real tokenizers, whose tokens hold several letters of JSON at once; and on real models' own formats."""

from __future__ import annotations

import gc
import json
import os
import random
import weakref
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from laconic import Format, Limits, Request, Sampling, reference
from laconic.grammar import choice, json_schema
from laconic.grammar.compiled import vocabulary
from laconic.grammar.held import Held
from laconic.loop import Loop, Plan
from laconic.models.text import Text
from laconic.transcript import Transcript
from tests import tiny
from tests.fakes import FakeModel
from tests.grammar.test_held import SCHEMA
from tests.speculation.rounds import build

FOLDER = os.environ.get("LACONIC_TOKENIZERS", "")
SMALL = {**SCHEMA, "properties": {**SCHEMA["properties"], "n": {"type": "integer", "minimum": 0, "maximum": 99}}}  # type: ignore[dict-item]
THINK = Format("<think>", "</think>")
_made: dict[str, Text] = {}


def text(name: str) -> Text:
    """A real tokenizer under a plain format; skips aloud where it is not at hand."""
    file = Path(FOLDER) / name / "tokenizer.json"
    if not FOLDER or not file.is_file():
        pytest.skip(
            f"no tokenizer of {name}: set LACONIC_TOKENIZERS to the folder that scripts/fetch_tokenizers.py writes"
        )
    if name not in _made:
        made = PreTrainedTokenizerFast(tokenizer_file=str(file))
        end = next(t for t in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<｜end▁of▁sentence｜>", "<|return|>")
                   if t in made.get_vocab())  # fmt: skip
        made.eos_token = end
        _made[name] = Text(made, format=THINK)
    return _made[name]


@pytest.mark.parametrize("name", ["qwen3", "deepseek_v3", "gptoss", "llama3", "gemma3"])
def test_answers_drawn_from_the_masks_are_json_and_forced_tokens_are_allowed(name: str) -> None:
    words, rng = text(name), random.Random(name)
    width = len(words.tokenizer) + 100
    prompt = words.encode("Hi")
    for compact in (True, False):
        held, fresh = (Held(json_schema(SMALL, compact=compact), words) for _ in range(2))
        for _ in range(4):
            made = Transcript(words, Request(tuple(prompt), phase="thinking"), list(prompt))
            for token in words.encode("Hm.</think>\n\n"):
                made.push(token)
            start = len(made.tokens)
            while len(made.tokens) < start + 300:
                row = held(torch.zeros(width), made.place())
                assert row is not None
                choices = (row == 0).nonzero()[:, 0].tolist()
                if set(choices) & words.eos:
                    break
                forced = held.forced(made.place(), 8)
                assert not forced or forced[0] in choices
                token = rng.choice(forced or choices)
                made.push(forced[0] if forced else token)
            row = fresh(torch.zeros(width), made.place())
            assert row is not None
            assert set((row == 0).nonzero()[:, 0].tolist()) >= words.eos
            answer = json.loads(words.decode(made.tokens[start:]))
            assert list(answer) == ["name", "n"]
            assert len(answer["name"]) <= 5


def test_both_loops_write_the_same_over_a_real_vocabulary() -> None:
    words = text("qwen3")
    width = len(words.tokenizer)
    table = torch.randn(61, width, generator=torch.Generator().manual_seed(3))
    table[:, words.encode("</think>")[0]] += 6.0

    class Deep(FakeModel):
        def after(self, tokens: list[int]) -> torch.Tensor:  # type: ignore[override]
            return self.table[(sum(tokens[-3:]) + len(tokens)) % 61]

    model = Deep(table, context=400)
    prompt = tuple(words.encode("Say it. <think>\n"))
    asked = [
        Request(prompt, Sampling(0.8 * (i % 2), seed=i), Limits(60), phase="thinking", grammar=grammar)
        for i, grammar in enumerate(
            (json_schema(SCHEMA), json_schema(SCHEMA, compact=True), choice(["yes, sir", "no"])) * 2
        )
    ]
    expected = [reference.decode(model.after, words, request, context=400) for request in asked]
    for drafter in ("suffix", "none"):
        parts = (
            build(f, s)
            for f, s in (("drafter", drafter), ("length", "constant:4"), ("shape", "chain"), ("verifier", "match"))
        )
        loop = Loop(model, words, Plan(*parts, (), "branch"))  # type: ignore[arg-type]
        running = [loop.add(request) for request in asked]
        while loop.active:
            loop.step()
        assert [(s.tokens[len(prompt) :], s.finish) for s in running] == expected
        assert sum(s.usage.accepted for s in running) > 0
    assert vocabulary(words) is vocabulary(words)


def test_a_vocabulary_goes_with_its_tokenizer() -> None:
    from laconic.grammar import compiled

    words = tiny.text()
    gone = weakref.ref(vocabulary(words))
    assert words in compiled._vocabularies
    del words
    gc.collect()
    assert gone() is None
