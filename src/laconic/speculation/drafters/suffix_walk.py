"""Drafts from places: the best match length, and the rows of a draft that grows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from laconic.speculation.base import Grown
from laconic.speculation.drafters.suffix_pages import Document
from laconic.speculation.drafters.suffix_store import Store


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate: how long the text may be, what followed each place of a set, and the tokens expected to be accepted
    of the likeliest text."""

    budget: int = 0
    runs: Sequence[list[int]] = ()
    score: float = 0.0


Source = tuple[Store, Document | None]
"""A store, and the text in it that is to go on, if it is there."""


def best_draft(sources: Sequence[Source], window: Sequence[int], most: Callable[[int], int], min_prob: float) -> Draft:
    """The candidate with the highest score over all stores and match lengths, for the text that ends in ``window``.

    To a match length n belong the places of one store before which at least n tokens match; ``most(n)``, which does
    not fall with n, bounds its draft. Of equals the earlier store's stands, and the longest match.
    """
    best = Draft()
    for store, text in sources:
        found = sorted(store.find(window).items(), key=lambda item: -item[1])
        runs: list[list[int]] = []
        reach = most(found[0][1]) if found else 0
        for i, (place, length) in enumerate(found):
            if most(length) <= best.score:  # no shorter match can score more
                break
            runs.append(store.run(place, reach, text))
            if i + 1 < len(found) and found[i + 1][1] == length:
                continue
            score = expected(runs, most(length), min_prob)
            if score > best.score:
                best = Draft(most(length), tuple(runs), score)
    return best


def expected(runs: Sequence[list[int]], most: int, min_prob: float) -> float:
    """Tokens of the likeliest text that are expected to be accepted: the sum of the probabilities of its paths."""
    path, score = 1.0, 0.0
    for depth in range(most):
        if len(runs) == 1:
            return score + path * max(0, min(most, len(runs[0])) - depth)
        counts = Counter([run[depth] for run in runs if len(run) > depth])
        if not counts:
            break
        token = max(counts, key=counts.__getitem__)
        path *= counts[token] / len(runs)
        if path < min_prob:
            break
        score += path
        runs = [run for run in runs if len(run) > depth and run[depth] == token]
    return score


class CountRow:
    """A Row over what followed some places. Tokens whose whole path would be less probable than ``floor`` are not
    proposed; of equally frequent ones the first stands, which followed the longest or latest match."""

    __slots__ = ("__dict__", "_depth", "_floor", "best", "confidence", "runs")

    probs = None

    def __init__(self, runs: Sequence[list[int]], depth: int, floor: float) -> None:
        self.runs, self._depth, self._floor = runs, depth, floor
        self.best: int | None = None
        self.confidence = 0.0
        if self._counts:
            token = max(self._counts, key=self._counts.__getitem__)
            self.confidence = self.share(token)
            if self.confidence >= floor:
                self.best = token

    @cached_property
    def _counts(self) -> Counter[int]:
        depth = self._depth
        return Counter([run[depth] for run in self.runs if len(run) > depth])

    def share(self, token: int) -> float:
        """Estimated probability of ``token``."""
        return self._counts[token] / len(self.runs) if self.runs else 0.0

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` most frequent continuations above the floor."""
        shares = [(token, count / len(self.runs)) for token, count in self._counts.most_common(k)]
        return [pair for pair in shares if pair[1] >= self._floor]

    def below(self, token: int, floor: float) -> CountRow:
        """The row after ``token``."""
        depth = self._depth
        return CountRow([run for run in self.runs if len(run) > depth and run[depth] == token], depth + 1, floor)


class Walk:
    """Rows of a draft under construction: below each node, the runs that agree with it."""

    __slots__ = ("_min_prob", "_nodes", "_paths", "rows")

    def __init__(self, draft: Draft, nodes: Grown, min_prob: float) -> None:
        self._nodes, self._min_prob = nodes, min_prob
        self._paths = {-1: 1.0}
        self.rows = {-1: CountRow(draft.runs, 0, min_prob)}

    def path(self, node: int) -> float:
        """Product of the shares on the way from the root to ``node``."""
        found = self._paths.get(node)
        if found is None:
            parent = self._nodes.parents[node]
            found = self._paths[node] = self.path(parent) * self.rows[parent].share(self._nodes.tokens[node])
        return found

    def row(self, node: int) -> CountRow:
        """What may follow ``node``; its parent must have been asked for before."""
        row = self.rows.get(node)
        if row is None:
            path = self.path(node)
            floor = self._min_prob / path if path else 1.0
            row = self.rows[node] = self.rows[self._nodes.parents[node]].below(self._nodes.tokens[node], floor)
        return row
