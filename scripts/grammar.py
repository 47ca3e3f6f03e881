"""What a grammar costs and saves: masks over large vocabularies, and passes with and without forced drafts.

    PYTHONPATH=src:. python scripts/grammar.py [--tokenizers FOLDER] [--model NAME] [--n N] [--json FILE]

Masks are timed on real tokenizers (``scripts/fetch_tokenizers.py`` fetches some) in places of answers drawn from them,
beside the product with an output head of 1,024 inputs for that vocabulary, which is a small part of any model's pass.
Passes are counted on a model that answers under random schemas (``tests/grammar/schemas.py``) without thinking.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from laconic import Engine, Limits, Request, Sampling
from laconic.bench.provenance import provenance
from laconic.grammar import Grammar, json_object, json_schema
from laconic.grammar.compiled import vocabulary
from laconic.grammar.held import Held
from laconic.models.text import Text
from laconic.transcript import Transcript
from tests.grammar.schemas import schema

WIDTH = 1024
ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<｜end▁of▁sentence｜>", "<|return|>")


def head(width: int) -> float:
    """Seconds of the product of one state with an output head ``[width, 1024]`` in float32."""
    weights, state = torch.randn(width, WIDTH), torch.randn(WIDTH, 1)
    took = []
    for _ in range(15):
        begun = time.perf_counter()
        weights @ state
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


def masks(text: Text, grammars: list[Grammar], answers: int) -> dict[str, Any]:
    """What reading grammars and masking places takes, in milliseconds."""
    width, prompt = len(text.tokenizer), text.encode("Hi")
    begun = time.perf_counter()
    vocabulary(text)
    tokenizer = time.perf_counter() - begun
    read, first, later = [], [], []
    for seed, grammar in enumerate(grammars):
        begun = time.perf_counter()
        held = Held(grammar, text)
        read.append(time.perf_counter() - begun)
        for answer in range(answers):
            rng = random.Random(seed * 100 + answer)
            made = Transcript(text, Request(tuple(prompt)), list(prompt))
            for written in range(200):
                row, place = torch.zeros(width), made.place()
                begun = time.perf_counter()
                masked = held(row, place)
                (later if written or answer else first).append(time.perf_counter() - begun)
                assert masked is not None
                choices = (masked == 0).nonzero()[:, 0].tolist()
                ends = set(choices) & text.eos
                if ends:
                    break
                made.push(rng.choice(choices))
    ordered = sorted(later)
    return {
        "vocabulary": width,
        "tokenizer_s": tokenizer,
        "grammar_ms": 1e3 * statistics.median(read),
        "first_mask_ms": 1e3 * statistics.median(first),
        "mask_ms": 1e3 * statistics.median(ordered),
        "mask_mean_ms": 1e3 * statistics.mean(ordered),
        "mask_p99_ms": 1e3 * ordered[int(0.99 * len(ordered))],
        "places": len(ordered),
        "head_ms": 1e3 * head(width),
    }


def passes(model: str, n: int, forced: bool, **methods: str) -> dict[str, Any]:
    """Tokens and passes of answers under ``n`` schemas."""
    keep, nothing = Held.forced, lambda self, place, most: []
    Held.forced = keep if forced else nothing  # type: ignore[method-assign]
    try:
        engine = Engine.load(model, length="constant:6", **methods)
        found = []
        for seed in range(n):
            grammar = json_schema(schema(seed), compact=True)
            options: dict[str, Any] = {"thinking": False, "limits": Limits(300), "sampling": Sampling(seed=seed)}
            request = engine.request("Describe something in JSON.", grammar=grammar, **options)
            found.append(engine.run([request])[0])
    finally:
        Held.forced = keep  # type: ignore[method-assign]
    tokens, made = sum(len(r.tokens) for r in found), sum(r.usage.target_passes for r in found)
    drafted, accepted = sum(r.usage.drafted for r in found), sum(r.usage.accepted for r in found)
    whole = sum(r.finish_reason == "stop" for r in found)
    return {"tokens": tokens, "passes": made, "drafted": drafted, "accepted": accepted, "whole": whole, "of": n}


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"provenance": provenance(), "masks": {}, "passes": {}}
    grammars = [*(json_schema(schema(seed), compact=seed % 2 > 0) for seed in range(30)), json_object()]
    for folder in sorted(said.tokenizers.iterdir()) if said.tokenizers else []:
        made = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        made.eos_token = next(end for end in ENDS if end in made.get_vocab())
        record["masks"][folder.name] = masks(Text(made, format="none"), grammars, 5)
        print(folder.name, json.dumps(record["masks"][folder.name]))
    for model in said.model:
        for drafter in ("none", "suffix"):
            for forced in (False, True):
                name = f"{model}, {drafter}, {'forced' if forced else 'not forced'}"
                record["passes"][name] = passes(model, said.n, forced, drafter=drafter)
                print(name, json.dumps(record["passes"][name]))
    if said.json:
        said.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
