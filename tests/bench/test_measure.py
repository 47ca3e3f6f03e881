from types import SimpleNamespace

import pytest

from laconic.bench.measure import EngineVariant, Stopwatch, measure
from laconic.bench.record import overhead, ratio, summary
from laconic.engine import Engine, Methods
from laconic.errors import RequestError
from laconic.types import Limits, Request
from tests import tiny
from tests.bench import scripted
from tests.fakes import FakeModel


class Noting:
    """Notes who was called with how many requests; fails where it is told to."""

    def __init__(self, name, log, fails=()):
        self.name, self.log, self.fails = name, log, fails

    def run(self, requests, batch):
        self.log.append((self.name, len(requests)))
        if any(request.prompt in self.fails for request in requests):
            raise RequestError("cannot")
        return SimpleNamespace(results=[scripted.result() for _ in requests], draft_model_seconds=0.0)


def request(question):
    return Request(tuple(question.encode()))


def test_variants_take_turns_after_a_warm_up():
    log = []
    measured = measure([Noting(name, log) for name in "ABC"], scripted.items(3), request)
    assert log[:3] == [("A", 2), ("B", 2), ("C", 2)]
    assert [name for name, _ in log[3:]] == list("ABCBCACAB")
    assert [trial.block for trial in measured.trials] == [0, 1, 2]
    assert all(trial.right == dict.fromkeys("ABC", True) for trial in measured.trials)
    assert all(seconds > 0 for trial in measured.trials for seconds in trial.seconds.values())


def test_batches_are_timed_as_blocks():
    log = []
    measured = measure([Noting("A", log), Noting("B", log)], scripted.items(10), request, batch=2)
    assert log[2:] == [("A", 8), ("B", 8), ("B", 2), ("A", 2)]
    assert [trial.block for trial in measured.trials] == [0] * 8 + [1] * 2
    assert len({trial.seconds["A"] for trial in measured.trials[:8]}) == 1


def test_a_failure_is_kept_and_enters_no_number():
    items = scripted.items(3)
    log = []
    bad = request(items[1].question).prompt
    seen = []
    measured = measure(
        [Noting("A", log), Noting("B", log, fails=(bad,))],
        items,
        request,
        after=lambda trials, count: seen.append((len(trials), count)),
    )
    assert [trial.item.id for trial in measured.trials] == ["q/0", "q/2"]
    (failure,) = measured.failures
    assert (failure.items, failure.variant, failure.error) == (("q/1",), "B", "RequestError: cannot")
    assert seen == [(1, 1), (0, 1), (1, 1)]


def test_ctrl_c_keeps_complete_blocks():
    def stop(trials, count):
        if trials[0].item.id == "q/1":
            raise KeyboardInterrupt

    measured = measure([Noting("A", [])], scripted.items(5), request, after=stop)
    assert measured.interrupted
    assert len(measured.trials) == 2


def test_stopwatch_counts_the_draft_models_own_time():
    target = FakeModel.random(0, vocab=264)
    engine = Engine(target, tiny.text(), Methods(drafter="draft-model", length="constant:4"), target.noisy(1, 0.5))
    variant = EngineVariant("x", engine)
    run = variant.run([Request((1, 2, 3), limits=Limits(20))], 1)
    again = engine.run([Request((1, 2, 3), limits=Limits(20))])
    assert run.results[0].tokens == again[0].tokens
    assert run.results[0].usage.draft_passes == again[0].usage.draft_passes > 0
    assert (
        0 < run.draft_model_seconds <= run.results[0].usage.seconds["draft"] + run.results[0].usage.seconds["prefill"]
    )
    assert isinstance(variant._engine.draft_model, Stopwatch)


def trials(thinking, seconds):
    """Trials of two variants, "a" and "b", with given thinking tokens and seconds."""
    made = measure([Noting("a", []), Noting("b", [])], scripted.items(len(thinking)), request).trials
    for trial, tokens, times in zip(made, thinking, seconds, strict=True):
        for name, count, time in zip("ab", tokens, times, strict=True):
            trial.results[name] = scripted.result(thinking=count, passes=count // 2 + 5)
            trial.seconds[name] = time
    return made


def test_sums_and_ratios():
    made = trials([(50, 100), (100, 400), (150, 200)], [(1, 2), (1, 4), (3, 4)])
    made[2].right["a"] = False
    a = summary(made, "a")
    assert (a["n"], a["thinking_tokens"], a["answer_tokens"], a["target_passes"], a["seconds"]) == (3, 300, 30, 165, 5)
    assert a["mean"]["thinking_tokens"] == 100
    assert a["accuracy"] == pytest.approx(2 / 3)
    assert a["tokens_per_pass"] == pytest.approx(2.0)
    assert a["acceptance_rate"] is None
    found = ratio(made, "a", "b")
    assert found["seconds"] == 0.5  # the median of 1/2, 1/4, 3/4
    assert found["seconds_total"] == 0.5
    assert found["thinking_tokens"] == pytest.approx(300 / 700)
    assert found["target_passes"] == pytest.approx(165 / 365)
    low, high = found["seconds_ci"]
    assert 0.25 <= low <= 0.5 <= high <= 0.75


def test_overhead_is_all_but_the_passes():
    made = trials([(50, 100)], [(1, 2)])
    made[0].draft_model_seconds["a"] = 0.015
    # scripted: draft 0.02, score 0.5, verify 0.01, policy 0.01
    assert overhead(made, "a")["share"] == pytest.approx((0.005 + 0.02) / 0.515)


def test_passes_of_other_variants_are_not_counted_as_ones_own():
    target = FakeModel.random(0, vocab=264)
    draft = target.noisy(1, 0.5)
    engine = Engine(target, tiny.text(), Methods(drafter="draft-model", length="constant:4"), draft)
    first, second = EngineVariant("a", engine), EngineVariant("b", engine)
    request = Request((1, 2, 3), limits=Limits(20))
    alone = first.run([request], 1).results[0].usage.draft_passes
    second.run([request], 1)
    assert first.run([request], 1).results[0].usage.draft_passes == alone > 0
