"""Drafts of a model with another tokenizer: the target's own text and law, whoever verifies and in whatever shape."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.certify.proxies import PrefillOnce
from laconic.engine import joined
from laconic.models.causal_lm import CausalLM
from laconic.models.foreign import ForeignModel, Spelling
from tests import tiny
from tests.fakes import FakeModel
from tests.foreign import byte_level, letters
from tests.speculation.exact import g_excess, plain_law
from tests.speculation.rounds import build, context_of, decode, plain

VERIFIERS = ("match", "speculative-sampling", "traversal")
SHAPES = ("chain", "k-ary", "best-first")


def pair() -> tuple[FakeModel, ForeignModel]:
    """A target with five tokens of three letters, and a draft with seven of three, of which four are shared."""
    ours, theirs = letters(["a", "b", "c", "ab", "ca"]), letters(["b", "a", "bc", "c", "aa", "ca", "bb"])
    target, draft = FakeModel.random(0, 5), FakeModel.random(1, 7)
    return target, ForeignModel(draft, Spelling(ours), Spelling(theirs), 5)


def texts(verifier: str, shape: str, count: int, seeds: range, temperature: float) -> list[tuple[int, ...]]:
    target, draft = pair()
    contexts = [context_of([1, 2], Sampling(temperature, seed=seed)) for seed in seeds]
    options = {"verifier": build("verifier", verifier), "length": build("length", "constant:6")}
    found = decode(
        target, contexts, count, build("drafter", "draft-model"), draft=draft, shape=build("shape", shape), **options
    )
    assert draft.passes > 0
    return [tuple(text) for text in found]


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_text_is_that_of_plain_decoding(verifier: str, shape: str) -> None:
    assert texts(verifier, shape, 40, range(2), 0.0) == [tuple(plain(pair()[0], [1, 2], 40))] * 2


@pytest.mark.parametrize("shape", SHAPES)
def test_match_gives_the_very_samples_of_plain_decoding(shape: str) -> None:
    plainly = [tuple(plain(pair()[0], [1, 2], 20, Sampling(1.0, seed=seed))) for seed in range(8)]
    assert texts("match", shape, 20, range(8), 1.0) == plainly


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_law_of_the_output_is_the_targets(verifier: str, shape: str) -> None:
    """A false alarm has a chance of 1e-6 (see g_excess); the seeds are fixed, so the outcome is, too."""
    law = plain_law(pair()[0], context_of([1, 2], Sampling(1.0)), 3)
    assert g_excess(texts(verifier, shape, 3, range(500), 1.0), law) < 1


MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, TEXT = CausalLM(MODEL), tiny.text()
THEIRS = byte_level(300, special=tuple(tiny.SPECIAL[:3]), tags=tuple(tiny.SPECIAL[3:]))
"""Merges of letters; ends and tags under the names that the target knows them by, at other places."""


def draft() -> CausalLM:
    """A random model that writes what the target writes often."""
    size = len(THEIRS.tokenizer)
    made = tiny.model(3, vocab=size)
    offsets = torch.zeros(size)
    for token, value in tiny.REASONER.items():
        offsets[THEIRS.encode(token)] = value
    made.lm_head.bias = torch.nn.Parameter(offsets)
    return CausalLM(made)


def engine(**methods: str) -> Engine:
    return Engine(TARGET, TEXT, Methods(**methods), joined(draft(), THEIRS, TARGET, TEXT))  # type: ignore[arg-type]


def requests(temperature: float) -> list[Request]:
    prompts = [f"Größe {i}+{i}? 🤖<think>\n" for i in range(4)]
    return [Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i), Limits(60)) for i, p in enumerate(prompts)]


@pytest.mark.parametrize(("drafter", "shape"), [*(("draft-model", shape) for shape in SHAPES), ("draft-text", "chain")])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_the_engine_writes_what_it_writes_alone(drafter: str, shape: str, temperature: float) -> None:
    """Text of bytes, so characters are mostly broken; thoughts, end tokens, batches."""
    plainly = [r.tokens for r in Engine(TARGET, TEXT, Methods(drafter="none")).run(requests(temperature))]
    mine = engine(drafter=drafter, length="constant:4", shape=shape)
    alone = [mine.run([request])[0] for request in requests(temperature)]
    together = mine.run(requests(temperature), batch=3)
    assert [r.tokens for r in alone] == [r.tokens for r in together] == plainly
    assert sum(r.usage.drafted for r in alone) > 100
    assert temperature == 0 or sum(r.usage.accepted for r in alone) > 0
    assert not mine.draft_model.model.slots


def test_text_that_a_controller_takes_back_is_taken_back_in_the_draft_too() -> None:
    ways = (("answer-confidence",), ("budget:12",), ("budget:12", "answer-confidence"))
    for drafter, think in itertools.product(("draft-model", "draft-text"), ways):
        plainly = Engine(TARGET, TEXT, Methods(drafter="none", think=think)).run(requests(0.0))
        mine = engine(drafter=drafter, length="constant:4", think=think).run(requests(0.0), batch=2)  # type: ignore[arg-type]
        assert [r.tokens for r in mine] == [r.tokens for r in plainly]


def test_an_engine_says_that_the_vocabularies_differ() -> None:
    mine = engine(drafter="draft-model", length="constant:4")
    assert any("another tokenizer" in note for note in mine.notes())
    assert "another tokenizer" in mine.describe()["draft_model"]["vocabulary"]
    same = Engine(TARGET, TEXT, Methods(drafter="draft-model"), joined(CausalLM(MODEL), tiny.text(), TARGET, TEXT))
    assert isinstance(same.draft_model, CausalLM)
    assert same.notes() == TEXT.notes()


def test_a_draft_model_is_joined_when_an_engine_is_loaded(tmp_path: Path) -> None:
    for name, model, text in (("target", MODEL, TEXT), ("draft", draft().model, THEIRS)):
        model.save_pretrained(tmp_path / name)
        text.tokenizer.save_pretrained(tmp_path / name)
    loaded = Engine.load(tmp_path / "target", draft=tmp_path / "draft", length="constant:4", format="<think>,</think>")
    assert isinstance(loaded.draft_model, ForeignModel)
    plainly = loaded.using(drafter="none").run(requests(0.0))
    assert [r.tokens for r in loaded.run(requests(0.0))] == [r.tokens for r in plainly]


def test_it_works_between_the_proxies_that_measure() -> None:
    mine = engine(drafter="draft-model", length="constant:4")
    watched = Engine(TARGET, TEXT, mine.methods, PrefillOnce(mine.draft_model))
    expected = [r.tokens for r in mine.run(requests(0.0))]
    assert [r.tokens for r in watched.run(requests(0.0) * 2)] == expected * 2
