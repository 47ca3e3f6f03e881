"""Overlap: the executor against formulas in virtual time, and the target's own text in real threads."""

from __future__ import annotations

import pytest

from laconic.bench.overlap import formulas
from laconic.bench.overlap.executor import Executor, Outcome
from laconic.bench.overlap.lanes import Job, Threads, Virtual
from laconic.bench.overlap.oracles import Along, Chances, Real, plain_text
from laconic.bench.overlap.policies import Mirror, Overlap, Pearl, Plain, Pool, Serial
from laconic.models.causal_lm import CausalLM
from tests import tiny

TARGET, DRAFT = 10.0, 1.0
"""Seconds of a pass; ten workers that check keep up with one that drafts."""
LENGTH = 1500


def run(policy: Overlap, oracle: Chances, texts: int = 1, length: int = LENGTH, **lanes: object) -> Outcome:
    made = Virtual({"check": TARGET, "draft": DRAFT}, oracle.work, **lanes)  # type: ignore[arg-type]
    outcome = Executor(policy, made, [length] * texts).run()
    truth = tuple(3 * at for at in range(length))
    assert all(text == truth for text in outcome.texts), "whatever is overlapped, the text is the target's"
    return outcome


def pace(*args: object, **more: object) -> float:
    outcome = run(*args, **more)  # type: ignore[arg-type]
    return outcome.seconds / LENGTH


CHANCES = [0.0, 0.3, 0.6, 0.8, 0.95, 1.0]


@pytest.mark.parametrize("chance", CHANCES)
def test_speeds_are_those_of_the_formulas(chance: float) -> None:
    oracle = Chances(chance)
    assert pace(Plain(), oracle) == formulas.plain(TARGET)
    for length in (1, 4, 10):
        assert pace(Serial(length), oracle) == pytest.approx(formulas.serial(chance, length, TARGET, DRAFT), rel=0.06)
    assert pace(Pearl(10), oracle) == pytest.approx(formulas.pearl(chance, 10, TARGET), rel=0.06)
    assert pace(Pool(), oracle, workers={"check": 12}) == pytest.approx(formulas.pool(chance, TARGET, DRAFT), rel=0.06)
    assert pace(Pool(), oracle, stages={"check": 10}) == pytest.approx(formulas.pool(chance, TARGET, DRAFT), rel=0.06)


@pytest.mark.parametrize("chance", CHANCES)
def test_a_pool_is_never_slower_than_plain_or_serial(chance: float) -> None:
    """Theorems 1 and 2 of DSI."""
    oracle = Chances(chance)
    pooled = pace(Pool(), oracle, workers={"check": 12})
    assert pooled <= formulas.plain(TARGET) * 1.001
    assert pooled <= min(pace(Serial(length), oracle) for length in (1, 3, 10)) * 1.001


def test_pearl_beats_waiting_where_drafts_hold_and_loses_nothing_where_none_does() -> None:
    assert pace(Pearl(10), Chances(0.9)) < 0.85 * pace(Serial(10), Chances(0.9))
    assert pace(Pearl(10), Chances(0.0)) == pytest.approx(TARGET, rel=0.01)


def test_branches_save_what_a_refusal_costs() -> None:
    unsure = Chances(0.6, second=0.8)
    plain, branched = run(Pearl(10), unsure), run(Pearl(10, branches=2), unsure)
    assert branched.seconds < 0.9 * plain.seconds
    never = Chances(0.6, second=0.0)
    assert pace(Pearl(10, branches=2), never) == pytest.approx(pace(Pearl(10), never), rel=0.02)


def test_what_the_target_says_in_the_middle_of_a_pass_helps_as_far_as_it_is_right() -> None:
    speeds = [pace(Mirror(10), Chances(0.6, named=named), early=0.4) for named in (0.0, 0.5, 1.0)]
    assert speeds[2] < speeds[1] < speeds[0]
    assert speeds[2] < 0.9 * pace(Pearl(10), Chances(0.6))


def test_several_texts_share_a_target() -> None:
    """SEED: while one is checked the others draft, so the target is never idle, and nobody is served twice in a row."""
    oracle = Chances(0.8)
    alone = run(Serial(5), oracle, length=400)
    four = run(Serial(5), oracle, texts=4, length=400, workers={"draft": 4})
    assert four.seconds < 4 * alone.seconds * (TARGET / (TARGET + 5 * DRAFT)) * 1.03
    assert four.busy["check"] / four.seconds > 0.97
    assert max(four.ends) < 1.1 * min(four.ends)


def test_work_that_is_cancelled_early_frees_its_worker() -> None:
    """PipeInfer's early cancellation: without it workers finish passes that nobody needs."""
    oracle = Chances(0.5)
    fast = run(Pool(), oracle, workers={"check": 4})
    slow = run(Pool(), oracle, workers={"check": 4}, drops=False)
    assert fast.cancelled > 0
    assert fast.seconds < slow.seconds
    assert fast.busy["check"] < slow.busy["check"]


def test_what_came_to_nothing_is_counted() -> None:
    assert run(Serial(4), Chances(1.0)).wasted == 0
    refused = run(Serial(4), Chances(0.0))
    assert refused.drafts == 4 * refused.checks
    assert refused.wasted >= 3 * refused.checks - 4


def test_a_policy_that_waits_for_ever_is_found_out() -> None:
    class Idle(Plain):
        def check(self, state: object, mine: object) -> None:
            return None

    with pytest.raises(RuntimeError, match="waits for nothing"):
        run(Idle(), Chances(0.5))


POLICIES = [Plain(), Serial(3), Pearl(4), Pearl(4, branches=3), Pool(1), Pool(3)]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_the_text_is_the_targets_in_real_threads(policy: Overlap) -> None:
    model = tiny.model(0, bias=tiny.REASONER)
    prompt = tiny.text().encode("What is 2+2?<think>\n")
    wanted = plain_text(CausalLM(model), prompt, 40)
    targets = [CausalLM(model) for _ in range(2)]
    drafts = [CausalLM(tiny.noisy(model, 0.1))]
    real = Real(targets, drafts, prompt)
    lanes = Threads(real.work, {"check": 2 if isinstance(policy, Pool) else 1, "draft": 1})
    try:
        outcome = Executor(policy, lanes, [40]).run()
    finally:
        lanes.close()
        real.close()
    assert outcome.texts == (wanted,)
    assert not any(model.slots for model in (*targets, *drafts))


def test_a_text_ends_where_it_ends() -> None:
    model = tiny.model(0, bias=tiny.REASONER)
    target, draft = CausalLM(model), CausalLM(tiny.noisy(model, 0.1))
    prompt = tiny.text().encode("What is 2+2?<think>\n")
    text = plain_text(target, prompt, 60)
    end = text[20]
    along = Along(draft, prompt, text)
    lanes = Virtual({"check": TARGET, "draft": DRAFT}, along.work)
    (found,) = Executor(Pearl(4), lanes, [60], frozenset({end})).run().texts
    along.close()
    assert found == text[: text.index(end) + 1]
    assert not draft.slots


def test_what_a_worker_raises_reaches_the_caller() -> None:
    def broken(job: Job, worker: int) -> None:
        raise ValueError("no such device")

    lanes = Threads({"check": broken, "draft": broken}, {"check": 1, "draft": 1})
    with pytest.raises(ValueError, match="no such device"):
        Executor(Plain(), lanes, [3]).run()
    lanes.close()
