"""The audit of the cache."""

from __future__ import annotations

import pytest

from laconic.bench.certify import greedy, rollback
from laconic.bench.certify.proxies import PrefillOnce, Proxy
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.models.base import chain
from laconic.types import Limits, Sampling
from tests.bench.certify import faults
from tests.fakes import FakeModel

SAMPLINGS = [Sampling(), Sampling(1.0)]


def test_a_right_cache_passes():
    for methods in (
        {"drafter": "draft-model", "shape": "best-first", "length": "constant:4", "think": ("budget:6",)},
        {"drafter": "prompt-lookup", "length": "constant:3"},
    ):
        engine = faults.tiny_engine(**methods)
        found = rollback.audit(engine, faults.tiny_prompts(engine), samplings=SAMPLINGS, rounds=6)
        assert found.verdict == "exact", found.reason
        assert found.target.points >= 20
        assert found.target.after_refusal >= 5
        assert found.target.worst < 1
        assert found.target.other_argmax == 0
        assert (found.draft is not None) == (methods["drafter"] == "draft-model")
        assert found.warnings == ()
        assert not engine.target.slots  # every slot was given back
        assert not engine.draft_model.slots


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_stale_entry_is_caught(seed):
    # One wrong entry moves the logits of random probes by hundreds of times what rounding excuses, and it stays
    # for good: every later point sees it too. The chance to miss it at all of them is nil.
    right = faults.tiny_engine(drafter="draft-model", length="constant:3")
    engine = Engine(faults.Stale(right.target), right.text, right.methods, right.draft_model)
    found = rollback.audit(engine, faults.tiny_prompts(right), samplings=SAMPLINGS, rounds=5, seed=seed)
    assert found.verdict == "not exact"
    assert found.target.broken > 10
    assert found.target.worst > 100
    assert found.target.first.startswith("prompt ")
    assert "differs from a fresh prefill" in found.reason


def test_a_stale_entry_shows_in_greedy_texts_too():
    right = faults.tiny_engine(drafter="draft-model", length="constant:3")
    engine = Engine(faults.Stale(right.target), right.text, right.methods, right.draft_model)
    assert greedy.audit(engine, faults.tiny_prompts(right), limits=Limits(40), references=0).verdict == "not exact"


def test_a_wrong_draft_cache_is_a_warning():
    right = faults.tiny_engine(drafter="draft-model", length="constant:3")
    engine = Engine(right.target, right.text, right.methods, faults.Forgetful(right.draft_model))
    found = rollback.audit(engine, faults.tiny_prompts(right), samplings=SAMPLINGS[:1], rounds=5)
    assert found.verdict == "exact"
    assert found.target.broken == 0
    assert found.draft.broken > 0
    (warning,) = found.warnings
    assert warning.startswith("the draft model's cache is wrong")


def test_refusals_and_empty_runs():
    engine = faults.fake_engine(drafter="draft-model", length="constant:3")
    with pytest.raises(RequestError, match="no prompts"):
        rollback.audit(engine, [])
    target = FakeModel.random(3, 8, 1.0)
    twin = Engine(target, engine.text, engine.methods, target)
    sure = rollback.audit(twin, faults.PROMPTS[:2], samplings=SAMPLINGS[:1], rounds=4)
    assert sure.verdict == "inconclusive"
    assert "no drafted token was refused" in sure.reason


def test_proxies_know_what_slots_should_hold():
    model = Proxy(FakeModel.random(0))
    slot = model.open()
    model.prefill(slot, [1, 2, 3])
    model.score([chain([4, 5, 6])], [slot])
    slot.commit([0, 1])
    slot.rollback(1)
    assert slot.tokens == slot.inner.tokens == [1, 2, 3, 4]
    other = slot.fork()
    slot.rollback(0)
    assert other.tokens == [1, 2, 3, 4]
    assert model.passes == 1
    slot.close()
    assert model.slots == [other]


def test_the_same_prompt_is_prefilled_once():
    inner = FakeModel.random(0)
    model = PrefillOnce(inner)
    for _ in range(3):
        slot = model.open()
        model.prefill(slot, [1, 2, 3])
        assert slot.inner.tokens == [1, 2, 3]
        slot.close()
    assert inner.prefills == 1
    again = model.open()
    model.prefill(again, [4])
    model.prefill(again, [5])  # not empty any more: prefilled as asked
    assert again.inner.tokens == again.tokens == [4, 5]
    assert inner.prefills == 3
    model.close()
