"""Answers that are the same, put together: by value, unit and formula, never by their characters alone."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from laconic.answers import extract, key, stated
from laconic.equality import same
from laconic.scaling.base import Attempt, Candidate
from laconic.types import Result


def read(result: Result) -> str:
    """The answer in what an attempt wrote; empty where none can be found. One that was cut off must have named it."""
    return extract(result.answer) if result.finish_reason == "stop" else stated(result.answer)


@lru_cache(maxsize=4096)
def _same(one: str, other: str) -> bool:
    return same(one, other)


def alike(one: str, other: str) -> bool:
    """Whether two answers are the same; remembered, since a vote asks again and again."""
    return key(one) == key(other) or _same(one, other)


def grouped(attempts: Iterable[tuple[Attempt, str, float]]) -> list[Candidate]:
    """Attempts with their answers and weights, those with the same answer together; the heaviest group first.

    Of equal groups that with the shortest thought comes first, which is also whose attempt speaks for its group. Those
    without an answer are left out.
    """
    groups: list[tuple[str, list[tuple[Attempt, float]]]] = []
    for attempt, answer, weight in attempts:
        if not answer:
            continue
        mine = next((members for known, members in groups if alike(known, answer)), None)
        if mine is None:
            groups.append((answer, [(attempt, weight)]))
        else:
            mine.append((attempt, weight))
    found = []
    for answer, members in groups:
        # Who has written its answer speaks before who has only been asked for it.
        order = sorted(members, key=lambda m: (m[0].state != "done", m[0].thinking, m[0].number))
        shortest = min(attempt.thinking for attempt, _ in members)
        numbers = tuple(attempt.number for attempt, _ in order)
        found.append((sum(weight for _, weight in members), shortest, Candidate(answer, 0.0, numbers)))
    found.sort(key=lambda each: (-each[0], each[1], each[2].numbers[0]))
    return [Candidate(each.answer, weight, each.numbers) for weight, _, each in found]
