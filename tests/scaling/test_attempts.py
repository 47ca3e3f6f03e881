"""Recorded attempts, and policies played over them: what they would have done in earnest."""

from __future__ import annotations

import math
import random
from functools import cache
from pathlib import Path

import pytest

from laconic import Engine, Limits, Sampling
from laconic.bench.attempts.compare import Way, compare, record, summary, ways
from laconic.bench.attempts.coverage import coverage, pass_at, power_law
from laconic.bench.attempts.recording import Recording, load, save
from laconic.bench.attempts.recording import record as recorded
from laconic.bench.attempts.replay import play
from laconic.bench.tasks import Item, draw
from laconic.bench.tasks import load as tasks
from laconic.errors import MethodError, TaskError
from tests.scaling.boards import policy

SAMPLING, LIMITS = Sampling(0.9, seed=1), Limits(600)


@cache
def engine() -> Engine:
    return Engine.load("bundled", drafter="none", length="constant")


@cache
def items() -> tuple[Item, ...]:
    return tuple(draw(tasks(None), 4, 3))


@cache
def recordings() -> tuple[Recording, ...]:
    return tuple(recorded(engine(), item, 4, SAMPLING, LIMITS) for item in items())


@pytest.mark.parametrize(
    "spec", ["self-consistency", "adaptive-consistency", "esc:2", "short-m:m=1", "weighted", "enough"]
)
def test_a_policy_played_is_what_it_does_in_earnest(spec: str) -> None:
    one, other = policy(spec), policy(spec)  # both learn, or neither does
    for item, each in zip(items(), recordings(), strict=True):
        played = play(each, one, 4)
        found = engine().answer(item.question, scaling=other, n=4, sampling=SAMPLING, limits=LIMITS)
        assert played.started == len(found.attempts)
        assert played.answer == (found.candidates[0].answer if found.candidates else "")
        # The answer after a thought that is ended early is taken to be as long as the one that was recorded.
        assert played.tokens == pytest.approx(found.usage.generated, rel=0.1 if spec == "enough" else 0.0)


def test_they_are_kept(tmp_path: Path) -> None:
    save(tmp_path / "attempts.jsonl", recordings())
    assert tuple(load(tmp_path / "attempts.jsonl")) == recordings()
    (tmp_path / "attempts.jsonl").write_text("{}\n")
    with pytest.raises(TaskError, match="line 1"):
        list(load(tmp_path / "attempts.jsonl"))


def test_more_attempts_than_were_recorded() -> None:
    with pytest.raises(MethodError, match="4 are recorded"):
        play(recordings()[0], policy("self-consistency"), 8)


def test_ways_side_by_side() -> None:
    found = compare(ways(engine(), ["enough"], 3), items()[:2], SAMPLING, LIMITS)
    assert list(found.rows) == ["one attempt", "self-consistency", "enough"]
    vote, enough = summary(found, "self-consistency"), summary(found, "enough")
    assert vote["tokens_of_vote"] == 1
    assert enough["tokens"] < vote["tokens"]
    assert vote["attempts"] == 3
    told = record(found, ways(engine(), ["enough"], 3), SAMPLING, LIMITS, "bundled")
    assert told["items"][0]["enough"]["attempts"] >= 1


def test_a_way_that_fails_enters_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    found = compare([Way("one", engine()), Way("vote", engine(), "self-consistency", 2)], items()[:1], SAMPLING, LIMITS)
    assert len(found.items) == 1
    broken = [Way("one", engine()), Way("broken", engine(), "short-m:m=5", 2)]
    with pytest.raises(Exception, match="waits for 5"):
        compare(broken, items()[:1], SAMPLING, LIMITS)


def test_pass_at_k() -> None:
    assert pass_at(1, 8, 2) == 0.25
    assert pass_at(8, 8, 1) == 1
    assert pass_at(2, 4, 1) == pytest.approx(1 - 3 * 2 / (4 * 3))
    drawn = random.Random(0)
    found = sum(any(drawn.sample([1, 1, 0, 0, 0, 0], 3)) for _ in range(20_000)) / 20_000
    assert pass_at(3, 6, 2) == pytest.approx(found, abs=0.01)
    with pytest.raises(ValueError, match="1 to 8"):
        pass_at(9, 8, 1)


def test_coverage_and_its_law() -> None:
    ks = [1, 2, 4, 8]
    covered = [math.exp(-1.2 * k**-0.6) for k in ks]
    law = power_law(ks, covered)
    assert law == (pytest.approx(-1.2), pytest.approx(-0.6))
    assert power_law([1, 2], [0.0, 1.0]) is None
    assert coverage([(8, 0), (8, 8)], [1, 8]) == [0.5, 0.5]
