"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) on interleaved runs of the same problems.

All candidates answer a few problems, the better half answers as many again, and so on, until one or two have answered
all. What a candidate has answered is not asked again, so with many candidates a search costs about a quarter of an
exhaustive one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Ledger(Generic[T]):
    """Scores by candidate and problem, in the order in which they came; and who left at which round."""

    scores: dict[str, list[T]] = field(default_factory=dict)
    rounds: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    """Problems answered so far, and who was still there."""

    @property
    def runs(self) -> int:
        """Answers asked for in all."""
        return sum(map(len, self.scores.values()))


def schedule(candidates: int, problems: int) -> list[int]:
    """Problems answered by the end of each round: doubling up to all of them, at least four in the first."""
    rounds = 1 + max(0, candidates - 1).bit_length()
    sizes = [max(min(4, problems), -(-problems // 2 ** (rounds - 1 - r))) for r in range(rounds)]
    return sorted(set(sizes))


def halve(
    names: Sequence[str],
    problems: int,
    ask: Callable[[Sequence[str], int], dict[str, T]],
    rank: Callable[[dict[str, list[T]]], list[str]],
    keep: Sequence[str] = (),
) -> Ledger[T]:
    """Run the search. ``ask(names, i)`` has the named candidates answer problem i, ``rank`` orders them, best first.

    Candidates in ``keep`` stay to the end whatever their rank: what the others are compared with.
    """
    ledger: Ledger[T] = Ledger({name: [] for name in names})
    alive, answered = list(names), 0
    sizes = schedule(len(names), problems)
    for at, size in enumerate(sizes):
        for problem in range(answered, size):
            for name, score in ask(alive, problem).items():
                ledger.scores[name].append(score)
        answered = size
        ledger.rounds.append((size, tuple(alive)))
        if at + 1 < len(sizes):
            order = [name for name in rank({name: ledger.scores[name] for name in alive}) if name not in keep]
            best = set(order[: max(1, -(-len(order) // 2))])
            alive = [name for name in alive if name in keep or name in best]
    return ledger
