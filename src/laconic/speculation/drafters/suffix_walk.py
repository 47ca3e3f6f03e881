"""Drafts from places: the best match length, and the rows of a draft that grows from it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from laconic.speculation.base import Grown
from laconic.speculation.drafters.suffix_pages import Document
from laconic.speculation.drafters.suffix_store import Store

_DOUBT = 2.0
"""Places beside those that were found where something else followed, if nothing matches."""
_FADING = 0.7
"""Share of them that each matched token leaves."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate: how long the text may be, the match length that all its places have, what followed each of them, and
    the tokens expected to be accepted of the likeliest text."""

    budget: int = 0
    length: int = 0
    runs: Sequence[list[int]] = ()
    score: float = 0.0


Source = tuple[Store, Document | None]
"""A store, and the text in it that is to go on, if it is there."""


def best_draft(
    sources: Sequence[Source], window: Sequence[int], most: Sequence[int], budget: int, min_prob: float
) -> Draft:
    """The candidate with the highest score over all stores and match lengths, for the text that ends in ``window``.

    To a match length n belong the places of one store before which at least n tokens match; ``most[n]``, which does
    not fall with n, and ``budget`` bound its draft. Of equals the earlier store's stands, and the longest match.
    """
    best = Draft()
    for store, text in sources:
        if min(most[len(window)], budget) <= best.score:
            break
        runs: list[list[int]] = []
        for least, found in store.search(window):
            for i, (length, place) in enumerate(found):
                longest = min(most[length], budget)
                if longest <= best.score:
                    break
                runs.append(store.run(place, longest, text))
                if i + 1 < len(found) and found[i + 1][0] == length:
                    continue
                score = expected(runs, longest, min_prob)
                if score > best.score:
                    best = Draft(longest, length, runs.copy(), score)
            if most[least - 1] <= best.score:  # no shorter match can score more
                break
    return best


def expected(runs: Sequence[list[int]], most: int, min_prob: float) -> float:
    """Tokens of the likeliest text that are expected to be accepted: the sum of the probabilities of its paths."""
    path, score = 1.0, 0.0
    for depth in range(most):
        if len(runs) == 1:
            return score + path * max(0, min(most, len(runs[0])) - depth)
        counts = counted(runs, depth)
        if not counts:
            break
        token = max(counts, key=counts.__getitem__)
        count = counts[token]
        path *= count / len(runs)
        if path < min_prob:
            break
        score += path
        if count < len(runs):
            runs = agreeing(runs, depth, token)
    return score


def counted(runs: Sequence[list[int]], depth: int) -> dict[int, int]:
    """How many runs have each token at ``depth``."""
    counts: dict[int, int] = {}
    for run in runs:
        if len(run) > depth:
            token = run[depth]
            counts[token] = counts.get(token, 0) + 1
    return counts


def agreeing(runs: Sequence[list[int]], depth: int, token: int) -> list[list[int]]:
    """The runs that have ``token`` at ``depth``."""
    return [run for run in runs if len(run) > depth and run[depth] == token]


class CountRow:
    """A Row over what followed some places, where ``matched`` tokens agree. Tokens whose whole path has a share below
    ``floor`` are not proposed; of equally frequent ones the first stands, which followed the longest or latest match.

    The share of a token is its count over all. What is said of its chance is less, as if there had been places besides
    where something else followed, fewer the longer the match: what followed twelve tokens once will do so again, what
    followed one token once may not.
    """

    __slots__ = ("_counts", "_depth", "_floor", "_matched", "_places", "best", "confidence", "runs")

    probs = None

    def __init__(self, runs: Sequence[list[int]], depth: int, matched: int, floor: float) -> None:
        self.runs, self._depth, self._matched, self._floor = runs, depth, matched, floor
        self._counts = counted(runs, depth)
        self._places = len(runs) + _DOUBT * _FADING**matched
        self.best: int | None = None
        self.confidence = 0.0
        if self._counts:
            token = max(self._counts, key=self._counts.__getitem__)
            self.confidence = self._counts[token] / self._places
            if self._counts[token] >= floor * len(runs):
                self.best = token

    def share(self, token: int) -> float:
        """How often ``token`` followed."""
        return self._counts.get(token, 0) / len(self.runs) if self.runs else 0.0

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` most frequent continuations above the floor, with their chances."""
        best = heapq.nlargest(k, self._counts.items(), key=itemgetter(1))
        floor = self._floor * len(self.runs)
        return [(token, count / self._places) for token, count in best if count >= floor]

    def below(self, token: int, floor: float) -> CountRow:
        """The row after ``token``."""
        return CountRow(agreeing(self.runs, self._depth, token), self._depth + 1, self._matched + 1, floor)


class Walk:
    """Rows of a draft under construction: below each node, the runs that agree with it."""

    __slots__ = ("_min_prob", "_nodes", "_paths", "rows")

    def __init__(self, draft: Draft, nodes: Grown, min_prob: float) -> None:
        self._nodes, self._min_prob = nodes, min_prob
        self._paths = {-1: 1.0}
        self.rows = {-1: CountRow(draft.runs, 0, draft.length, min_prob)}

    def path(self, node: int) -> float:
        """Product of the shares on the way from the root to ``node``."""
        found = self._paths.get(node)
        if found is None:
            parent = self._nodes.parents[node]
            found = self._paths[node] = self.path(parent) * self.rows[parent].share(self._nodes.tokens[node])
        return found

    def of(self, nodes: Sequence[int]) -> list[CountRow]:
        """What may follow each of these nodes."""
        return [self.row(node) for node in nodes]

    def row(self, node: int) -> CountRow:
        """What may follow ``node``; its parent must have been asked for before."""
        row = self.rows.get(node)
        if row is None:
            path = self.path(node)
            floor = self._min_prob / path if path else 1.0
            row = self.rows[node] = self.rows[self._nodes.parents[node]].below(self._nodes.tokens[node], floor)
        return row
