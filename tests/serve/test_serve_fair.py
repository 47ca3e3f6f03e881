"""Owners take turns by what they have used."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count

from laconic import Request
from laconic.serve.fair import FairQueue
from laconic.serve.job import Job

_TIMES = count()


def job(key: str) -> Job:
    return Job(f"{key}-{next(_TIMES)}", key, Request((1,)), received=float(next(_TIMES)))


def served(line: FairQueue, tokens: int) -> str:
    """Let the next one run to its end."""
    chosen = line.next()
    assert chosen is not None
    line.take(chosen)
    line.began(chosen.key)
    line.charge(chosen.key, tokens)
    line.ended(chosen.key)
    return chosen.key


def test_one_owner_is_served_in_order() -> None:
    line, jobs = FairQueue(), [job("ann") for _ in range(5)]
    for one in jobs:
        line.push(one)
    for one in jobs:
        assert line.next() is one
        line.take(one)
    assert line.next() is None
    assert len(line) == 0


def test_who_asks_much_does_not_keep_others_waiting() -> None:
    line = FairQueue()
    for _ in range(50):
        line.push(job("ann"))
    first = [served(line, 100) for _ in range(5)]
    assert set(first) == {"ann"}
    line.push(job("bob"))
    assert "bob" in [served(line, 100) for _ in range(2)]


def test_tokens_are_shared_evenly_whatever_a_request_costs() -> None:
    line, dice = FairQueue(), random.Random(0)
    for _ in range(400):
        line.push(job("ann"))
        line.push(job("bob"))
        line.push(job("eve"))
    used: Counter[str] = Counter()
    cost = {"ann": (1, 20), "bob": (100, 200), "eve": (40, 60)}
    for _ in range(300):
        key = line.next().key  # type: ignore[union-attr]
        tokens = dice.randint(*cost[key])
        assert served(line, tokens) == key
        used[key] += tokens
        assert max(used.values()) - min(used.values()) <= 2 * 200  # the dearest request, on either side


def test_nobody_saves_up_turns() -> None:
    """Who comes after a long absence begins where the least served of those present stands."""
    line = FairQueue()
    for _ in range(100):
        line.push(job("ann"))
    for _ in range(50):
        served(line, 100)
    for _ in range(50):
        line.push(job("bob"))
    turns = Counter(served(line, 100) for _ in range(20))
    assert abs(turns["ann"] - turns["bob"]) <= 1


def test_owners_are_forgotten_when_nothing_hangs_on_them() -> None:
    line = FairQueue()
    for at in range(1000):
        line.push(job(f"owner {at}"))
        served(line, 10)
    assert not line._used
    assert not line._running
    assert not line._waiting


def test_a_request_that_is_taken_away_leaves_the_others_in_order() -> None:
    line, jobs = FairQueue(), [job("ann"), job("bob"), job("ann")]
    for one in jobs:
        line.push(one)
    line.take(jobs[0])
    assert sorted(one.id for one in line.waiting()) == sorted(one.id for one in jobs[1:])
    assert {served(line, 1), served(line, 1)} == {"ann", "bob"}
