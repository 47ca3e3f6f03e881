"""What recorded attempts say of length: how often they are right by how long they thought, and votes within lengths.

Attempts are compared with others at the same problem alone, so hard problems, whose thoughts are longer, do not pass
for long thoughts that are wrong.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from laconic.bench.attempts.recording import Recording
from laconic.equality import same
from laconic.intervals import wilson
from laconic.scaling.base import Attempt
from laconic.scaling.groups import alike, grouped


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt: tokens of its thought, whether it is right, its answer (empty for none), whether it was cut off."""

    length: int
    right: bool
    answer: str
    cut: bool = False


def tries(recording: Recording) -> list[Try]:
    """The attempts at a problem."""
    return [
        Try(a.thinking, bool(a.answer) and same(recording.right, a.answer), a.answer, a.finish != "stop")
        for a in recording.attempts
    ]


@dataclass(frozen=True, slots=True)
class Band:
    """Attempts of alike length: from ``low`` up to and without ``high``, of their problem's mean or a quantile."""

    low: float
    high: float
    n: int
    right: int
    tokens: float
    """Their mean length."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, with share and interval."""
        share = self.right / self.n if self.n else None
        high = None if math.isinf(self.high) else self.high
        return {
            "low": self.low, "high": high, "n": self.n, "right": self.right, "tokens": self.tokens,
            "share": share, "interval": list(wilson(self.right, self.n)),
        }  # fmt: skip


def relative(problems: Sequence[Sequence[Try]], edges: Sequence[float]) -> list[Band]:
    """Attempts by their length as a multiple of the mean length at their problem; ``edges`` part the bands."""
    bounds = [0.0, *edges, math.inf]
    found: list[list[Try]] = [[] for _ in bounds[1:]]
    for attempts in problems:
        mean = sum(each.length for each in attempts) / len(attempts) or 1.0
        for each in attempts:
            found[sum(each.length / mean >= edge for edge in edges)].append(each)
    return [_band(low, high, members) for (low, high), members in zip(pairwise(bounds), found, strict=True)]


def ranked(problems: Sequence[Sequence[Try]], parts: int) -> list[Band]:
    """Attempts by their place among those at their problem by length: ``parts`` bands with as many of each problem."""
    found: list[list[Try]] = [[] for _ in range(parts)]
    for attempts in problems:
        for each, place in zip(attempts, places(attempts, parts), strict=True):
            found[place].append(each)
    return [_band(at / parts, (at + 1) / parts, members) for at, members in enumerate(found)]


def places(attempts: Sequence[Try], parts: int) -> list[int]:
    """For each attempt in which of so many parts it is by length, the shortest in part 0; equal ones in their order.

    >>> places([Try(9, True, ""), Try(3, True, ""), Try(5, True, ""), Try(7, True, "")], 2)
    [1, 0, 0, 1]
    """
    order = sorted(range(len(attempts)), key=lambda at: attempts[at].length)
    found = [0] * len(attempts)
    for rank, at in enumerate(order):
        found[at] = rank * parts // len(attempts)
    return found


def gap(attempts: Sequence[Try]) -> float:
    """How much longer right attempts are than wrong ones on average, in tokens; there must be both.

    >>> gap([Try(10, True, ""), Try(20, True, ""), Try(40, False, "")])
    -25.0
    """
    right = [each.length for each in attempts if each.right]
    wrong = [each.length for each in attempts if not each.right]
    return sum(right) / len(right) - sum(wrong) / len(wrong)


def shape(bands: Sequence[Band]) -> str:
    """How accuracy goes with length, as far as 95 % intervals tell ends from the best band between them.

    ``inverted U``: both ends lie below the best inner band; ``rises``: only the first, ``falls``: only the last does;
    ``flat``: neither.
    """
    inner = max((band for band in bands[1:-1] if band.n), key=lambda band: band.right / band.n)
    best = wilson(inner.right, inner.n)[0]
    first, last = (wilson(band.right, band.n)[1] < best for band in (bands[0], bands[-1]))
    return {(True, True): "inverted U", (True, False): "rises", (False, True): "falls"}.get((first, last), "flat")


def best(bands: Sequence[Band]) -> Band:
    """The band that is right most often; of equal ones the shortest."""
    return max((band for band in bands if band.n), key=lambda band: band.right / band.n)


def optimum(problems: Sequence[Sequence[Try]], parts: int, draws: int = 400) -> dict[str, Any]:
    """The mean length of the band that is right most often, with a 95 % interval by drawing problems anew."""
    of = random.Random(0)
    drawn = sorted(best(ranked(of.choices(problems, k=len(problems)), parts)).tokens for _ in range(draws))
    bands = ranked(problems, parts)
    return {
        "problems": len(problems), "bands": [band.as_dict() for band in bands], "tokens": best(bands).tokens,
        "interval": [drawn[round(0.025 * (draws - 1))], drawn[round(0.975 * (draws - 1))]],
        "mean": sum(each.length for one in problems for each in one) / sum(len(one) for one in problems),
    }  # fmt: skip


def vote(attempts: Sequence[Try]) -> str:
    """The answer of most; empty where nobody has one."""
    found = grouped((_as_attempt(at, each), each.answer, 1.0) for at, each in enumerate(attempts))
    return found[0].answer if found else ""


def filtered_vote(attempts: Sequence[Try], groups: Sequence[int], keep: int) -> str:
    """Length-Filtered Vote: the vote of those in the ``keep`` groups whose answers agree best, by their entropy.

    Source: When More is Less: Understanding Chain-of-Thought Length in LLMs (Wu et al. 2025). ``groups`` says for each
    attempt in which group of lengths it is. Of groups that agree as well the larger comes first, then the shorter.
    """
    members: dict[int, list[Try]] = {}
    for each, group in zip(attempts, groups, strict=True):
        members.setdefault(group, []).append(each)
    order = sorted(members, key=lambda group: (entropy(members[group]), -len(members[group]), group))
    return vote([each for group in order[:keep] for each in members[group]])


def entropy(attempts: Sequence[Try]) -> float:
    """Shannon entropy of the answers, in nats; to have none is an answer of its own.

    >>> entropy([Try(1, True, "2"), Try(1, True, "2.0")]), round(entropy([Try(1, True, "2"), Try(1, False, "")]), 3)
    (0.0, 0.693)
    """
    known: list[str] = []
    counts: Counter[str] = Counter()
    for each in attempts:
        mine = next(
            (one for one in known if one == each.answer or (one and each.answer and alike(one, each.answer))), None
        )
        if mine is None:
            known.append(mine := each.answer)
        counts[mine] += 1
    return sum(-count / len(attempts) * math.log(count / len(attempts)) for count in counts.values()) + 0.0


def _as_attempt(number: int, each: Try) -> Attempt:
    attempt = Attempt(number)
    attempt.state, attempt.thinking = "done", each.length
    return attempt


def _band(low: float, high: float, members: Sequence[Try]) -> Band:
    tokens = sum(each.length for each in members) / len(members) if members else 0.0
    return Band(low, high, len(members), sum(each.right for each in members), tokens)
