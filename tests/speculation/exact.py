"""Exact output laws of a verifier, by integrating over its uniform numbers, and a G test for whole runs.

``integrate`` knows nothing of the verifier. It answers every request for a uniform number from a script, asks for
the outcome at both ends of each unknown number's range, and bisects wherever they differ. That is exact to the
bisection width for outcomes that are monotone in each number: threshold tests and inverse distribution functions.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch

from laconic.speculation.base import Context, TokenTree, Verifier
from laconic.speculation.draws import Draws, warp
from tests.fakes import FakeModel
from tests.speculation.rounds import rows_of

Key = tuple[int, int, int]
WIDTH = 1e-8


class Script(Draws):
    """Uniform numbers from a table; 0.5 where it is silent, noting the first such request."""

    def __init__(self, known: dict[Key, float]) -> None:
        super().__init__(0)
        self.known = known
        self.missing: Key | None = None

    def uniform(self, position: int, stream: int = Draws.TOKEN, sub: int = 0) -> float:
        key = (position, stream, sub)
        if key not in self.known and self.missing is None:
            self.missing = key
        return self.known.get(key, 0.5)

    def pick(self, probs: torch.Tensor, position: int, stream: int = Draws.TOKEN) -> int:
        """By one uniform number, where Draws takes one for every token: the same law, and one that can be scripted."""
        total = probs.double().cumsum(0)
        index = int(torch.searchsorted(total, self.uniform(position, stream) * float(total[-1]), right=True))
        return min(index, int(torch.nonzero(probs)[-1]))


def integrate(run: Callable[[Draws], Hashable]) -> dict[Any, float]:
    """Probability of each outcome of ``run`` over independent uniform numbers."""
    law: dict[Any, float] = Counter()

    def probe(known: dict[Key, float]) -> tuple[Hashable, Key | None]:
        script = Script(known)
        return run(script), script.missing

    def visit(known: dict[Key, float], weight: float) -> None:
        outcome, missing = probe(known)
        if missing is None:
            law[outcome] += weight
            return
        cuts: list[tuple[float, Any]] = []

        def split(low: float, at_low: Any, high: float, at_high: Any) -> None:
            if at_low == at_high:
                return
            if high - low < WIDTH:
                cuts.append((high, at_high))
                return
            middle = (low + high) / 2
            at_middle = probe(known | {missing: middle})
            split(low, at_low, middle, at_middle)
            split(middle, at_middle, high, at_high)

        top = 1 - 2.0**-53
        first, last = probe(known | {missing: 0.0}), probe(known | {missing: top})
        split(0.0, first, top, last)
        edges = [0.0, *(cut for cut, _ in cuts), 1.0]
        for low, high in itertools.pairwise(edges):
            visit(known | {missing: (low + high) / 2}, weight * (high - low))

    visit({}, 1.0)
    return law


Template = Sequence[Sequence[int]]
"""``template[n]``: ids of the children of node n - 1, so ``template[0]`` are those of the last committed token."""


def sampled_trees(draft: FakeModel, context: Context, template: Template) -> Iterator[tuple[float, TokenTree]]:
    """Every tree that could be drawn for ``template``, siblings without replacement, with its probability."""
    size = max(itertools.chain.from_iterable(template)) + 1
    parents = [next(n - 1 for n, below in enumerate(template) if i in below) for i in range(size)]

    def extend(tokens: list[int], probs: list[torch.Tensor], weight: float) -> Iterator[tuple[float, TokenTree]]:
        i = len(tokens)
        if i == size:
            yield weight, TokenTree(list(tokens), parents, list(probs))
            return
        path, node = [], parents[i]
        while node != -1:
            path.append(tokens[node])
            node = parents[node]
        row = warp(draft.after(context.tokens + path[::-1]), context.sampling)
        gone = {tokens[j] for j in range(i) if parents[j] == parents[i]}
        left = sum(float(row[t]) for t in range(len(row)) if t not in gone)
        for token in range(len(row)):
            if token not in gone and row[token] > 0:
                yield from extend([*tokens, token], [*probs, row], weight * float(row[token]) / left)

    yield from extend([], [], 1.0)


def law_of_text(
    verifier: Verifier, target: FakeModel, context: Context, trees: Iterator[tuple[float, TokenTree]], length: int
) -> dict[tuple[int, ...], float]:
    """Law of the next ``length`` tokens: one round, then plain decoding for whatever the round left open."""
    law: dict[tuple[int, ...], float] = Counter()
    for weight, tree in trees:
        rows = rows_of(target, context, tree)

        def run(draws: Draws, rows: Any = rows, tree: TokenTree = tree) -> tuple[int, ...]:
            return tuple(verifier.verify(rows, tree, draws).tokens)

        for tokens, share in integrate(run).items():
            for text, rest in plain_law(target, context, length, tokens).items():
                law[text] += weight * share * rest
    return law


def plain_law(
    target: FakeModel, context: Context, length: int, given: tuple[int, ...] = ()
) -> dict[tuple[int, ...], float]:
    """Law of ``length`` tokens of plain decoding that begin with ``given``."""
    if len(given) >= length:
        return {given[:length]: 1.0}
    row = warp(target.after([*context.tokens, *given]), context.sampling).tolist()
    law: dict[tuple[int, ...], float] = Counter()
    for token, share in enumerate(row):
        if share > 0:
            for text, rest in plain_law(target, context, length, (*given, token)).items():
                law[text] += share * rest
    return law


def distance(a: dict[Any, float], b: dict[Any, float]) -> float:
    """Largest difference in probability of any one outcome."""
    return max(abs(a.get(key, 0.0) - b.get(key, 0.0)) for key in a.keys() | b.keys())


def g_excess(samples: Sequence[Hashable], law: dict[Any, float]) -> float:
    """G statistic of ``samples`` against ``law``, over its critical value at a false alarm rate of 1e-6.

    G = 2 sum n ln(n / (N p)) is asymptotically chi-square with (cells - 1) degrees of freedom; its 1 - 1e-6
    quantile is taken from Wilson and Hilferty's cubic with z = 4.7534. Cells expecting under 5 are pooled.
    """
    total = len(samples)
    counts = Counter(samples)
    assert all(law.get(key, 0.0) > 0 for key in counts), "an outcome of probability zero"
    cells, rare = [], [0, 0.0]
    for key, share in law.items():
        if total * share < 5:
            rare[0] += counts[key]
            rare[1] += share
        else:
            cells.append((counts[key], share))
    if rare[1] > 0:
        cells.append((int(rare[0]), rare[1]))
    g = 2 * sum(n * math.log(n / (total * share)) for n, share in cells if n)
    freedom = len(cells) - 1
    spread = 2 / (9 * freedom)
    return g / (freedom * (1 - spread + 4.7534 * math.sqrt(spread)) ** 3)
