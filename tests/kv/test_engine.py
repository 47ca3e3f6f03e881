"""Eviction under everything that the loop does beside it: the text is that of the same eviction, decoded plainly."""

from __future__ import annotations

import pytest

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.errors import InvalidKnob, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.memory.base import seeded
from tests import tiny
from tests.fakes import FakeModel
from tests.kv.methods import REDUCING, spec

MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, DRAFT, TEXT = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1)), tiny.text()
QUESTIONS = ["What is 3 + 4?", "Say something long about numbers, and then about words.", "Why?", "2 * 21 = ?"]
GREEDY, SAMPLED = Sampling(), Sampling(temperature=0.9, seed=7)
WAYS = {
    "chain": Methods(drafter="draft-model", length="constant:5", think=("settled",)),
    "tree": Methods(drafter="draft-model", shape="best-first", length="constant:9", think=("settled",)),
    "suffix": Methods(drafter="suffix", length="constant:4", think=("budget:40", "answer-confidence:patience=2")),
    "itself": Methods(drafter="layer-skip:1", length="constant:3", think=("budget:70",)),
}


def engine(methods: Methods) -> Engine:
    return Engine(TARGET, TEXT, methods, DRAFT)


def requests(made: Engine, sampling: Sampling) -> list[Request]:
    return [made.request(question, sampling=sampling, limits=Limits(max_new_tokens=110)) for question in QUESTIONS]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REDUCING)
def test_the_same_text_under_drafts_probes_and_in_a_batch(name: str, way: str, sampling: Sampling) -> None:
    kv = spec(name, f"stepwise={way == 'suffix'}")
    fast = engine(WAYS[way]).using(kv=kv)
    plain = fast.using(drafter="none", shape="chain", probes="separate")
    expected = [plain.run([request])[0] for request in requests(plain, sampling)]
    found = fast.run(requests(fast, sampling), batch=3)
    for one, other in zip(found, expected, strict=True):
        assert one.tokens == other.tokens
        assert [(e.method, e.tokens) for e in one.events] == [(e.method, e.tokens) for e in other.events]
        assert not one.lossless
    assert sum(result.usage.accepted for result in found)
    assert not TARGET.slots
    assert not DRAFT.slots


VIEWS = [
    "streaming-llm:budget=40,every=12,sinks=2,recent=6",
    "snapkv:budget=40,every=12,sinks=2,recent=6,window=8",
    "h2o:budget=40,every=12,sinks=2,recent=6,seen=16",
    "quantised:recent=6",
    "quantised:recent=6,codec=[per-token]",
    "quest:budget=20,recent=6,whole=1,page=4",
]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("view", VIEWS)
def test_drafts_over_a_view_change_nothing(view: str, sampling: Sampling) -> None:
    """Alone, in a batch, over a prompt that is shared, over a cache that is reduced itself."""
    fast = engine(Methods(drafter=f"kv-view:[{view}],refresh=16", length="constant:4", think=("budget:90",)))
    plain = fast.using(drafter="none")
    expected = [plain.run([request])[0].tokens for request in requests(plain, sampling)]
    found = fast.run(requests(fast, sampling), batch=3)
    assert [result.tokens for result in found] == expected
    assert all(result.lossless for result in found)
    drafted = sum(result.usage.drafted for result in found)
    assert sum(result.usage.accepted for result in found) > 0.3 * drafted > 0
    reduced = fast.using(kv=spec("snapkv")).run(requests(fast, sampling), batch=3)
    again = plain.using(kv=spec("snapkv")).run(requests(plain, sampling), batch=3)
    assert [result.tokens for result in reduced] == [result.tokens for result in again]
    options = {"sampling": SAMPLED, "limits": Limits(max_new_tokens=110)}
    several = fast.answer(QUESTIONS[1], scaling="self-consistency", n=3, **options)
    ones = plain.answer(QUESTIONS[1], scaling="self-consistency", n=3, **options)
    assert [a.result.tokens for a in several.attempts] == [a.result.tokens for a in ones.attempts]
    assert not TARGET.slots


def test_a_request_may_have_a_policy_of_its_own() -> None:
    made = engine(Methods(drafter="suffix"))
    mine = made.request(QUESTIONS[1], limits=Limits(max_new_tokens=60))
    kv = registry.build("kv", spec("streaming-llm"))
    own, other = made.run([Request(mine.prompt, limits=mine.limits, kv=kv), mine], batch=2)
    assert own.tokens == made.using(kv=kv).run([mine])[0].tokens
    assert other.tokens == made.run([mine])[0].tokens
    assert (own.lossless, other.lossless) == (False, True)


def test_an_answer_in_attempts_shares_the_prompt() -> None:
    made = engine(Methods(drafter="suffix", kv=spec("snapkv")))
    found = made.answer(
        QUESTIONS[1], scaling="self-consistency", n=3, sampling=SAMPLED, limits=Limits(max_new_tokens=60)
    )
    alone = engine(Methods(drafter="none", kv=spec("snapkv")))
    for number, attempt in enumerate(found.attempts):
        expected = alone.generate(QUESTIONS[1], sampling=seeded(SAMPLED, number), limits=Limits(max_new_tokens=60))
        assert expected.tokens == attempt.result.tokens
    assert not TARGET.slots


def test_a_budget_that_leaves_no_choice_is_refused() -> None:
    with pytest.raises(InvalidKnob, match="leaves nothing to choose"):
        registry.build("kv", "snapkv:budget=64,every=64")


def test_a_model_that_cannot_forget_is_refused() -> None:
    with pytest.raises(UnmetNeed, match="keeps part of the cache"):
        Engine(FakeModel.random(0), TEXT, Methods(drafter="none", kv="snapkv"))
