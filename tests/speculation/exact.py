"""Exact output laws of a verifier, over all its random numbers, and a G test for whole runs.

``integrate`` knows nothing of the verifier. It gives out numbers that are still unknown and follows both answers of
every comparison with one, each with its share of the range that the number can still be in. That is exact for whatever
compares single numbers with constants: threshold tests and inverse distribution functions.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch

from laconic.speculation.base import Context, Drafting, TokenTree, Verifier
from laconic.speculation.draws import Draws, warp
from tests.fakes import FakeModel
from tests.speculation.rounds import rows_of

Key = tuple[int, int, int]


class Forks(Draws):
    """Numbers that are unknown until they are compared. ``script`` answers the first comparisons that are open."""

    def __init__(self, script: list[bool]) -> None:
        super().__init__(0)
        self.script = script
        self.answers: list[bool] = []
        self.weight = 1.0
        self.ranges: dict[Key, tuple[float, float]] = {}

    def uniform(self, position: int, stream: int = Draws.TOKEN, sub: int = 0) -> Any:
        return Unknown(self, (position, stream, sub))

    def pick(self, probs: torch.Tensor, position: int, stream: int = Draws.TOKEN, sub: int = 0) -> int:
        """By one uniform number, where Draws takes one for every token: the same law."""
        tokens = probs.nonzero()[:, 0].tolist()
        number, total, upto = self.uniform(position, stream, sub), float(probs.double().sum()), 0.0
        for token in tokens[:-1]:
            upto += float(probs[token]) / total
            if number < upto:
                return int(token)
        return int(tokens[-1])

    def below(self, key: Key, threshold: float) -> bool:
        """Whether the number is below ``threshold``: follows the script, then says yes as long as it can."""
        low, high = self.ranges.get(key, (0.0, 1.0))
        if threshold <= low or threshold >= high:
            return threshold >= high
        answer = self.script[len(self.answers)] if len(self.answers) < len(self.script) else True
        self.answers.append(answer)
        self.weight *= ((threshold - low) if answer else (high - threshold)) / (high - low)
        self.ranges[key] = (low, threshold) if answer else (threshold, high)
        return answer


class Unknown:
    """A number that is unknown but for its comparisons, or a positive multiple of one."""

    def __init__(self, forks: Forks, key: Key, factor: float = 1.0) -> None:
        self.forks, self.key, self.factor = forks, key, factor

    def __mul__(self, factor: float) -> Unknown:
        return Unknown(self.forks, self.key, self.factor * factor)

    def __lt__(self, other: float) -> bool:
        return self.forks.below(self.key, other / self.factor)


def integrate(run: Callable[[Draws], Hashable]) -> dict[Any, float]:
    """Probability of each outcome of ``run`` over independent uniform numbers."""
    law: dict[Any, float] = Counter()
    scripts: list[list[bool]] = [[]]
    while scripts:
        forks = Forks(scripts.pop())
        law[run(forks)] += forks.weight
        # The answers beyond the script were all yes: each could have been no.
        scripts += [[*forks.answers[:i], False] for i in range(len(forks.script), len(forks.answers))]
    return law


Template = Sequence[Sequence[int]]
"""``template[n]``: ids of the children of node n - 1, so ``template[0]`` are those of the last committed token."""


def sampled_trees(
    draft: FakeModel, context: Context, template: Template, drafting: Drafting = Drafting.SAMPLE
) -> Iterator[tuple[float, TokenTree]]:
    """Every tree that could be drawn for ``template`` as ``drafting`` says, with its probability."""
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
        gone = {tokens[j] for j in range(i) if parents[j] == parents[i] and drafting is not Drafting.REPEAT}
        left = sum(float(row[t]) for t in range(len(row)) if t not in gone)
        for token in range(len(row)):
            if token not in gone and row[token] > 0:
                yield from extend([*tokens, token], [*probs, row], weight * float(row[token]) / left)

    yield from extend([], [], 1.0)


def law_of_text(
    verifier: Verifier,
    target: FakeModel,
    context: Context,
    trees: Iterator[tuple[float, TokenTree]],
    length: int,
    after: FakeModel | None = None,
) -> dict[tuple[int, ...], float]:
    """Law of the next ``length`` tokens: one round, then plain decoding (of ``after``) for whatever that left open."""
    law: dict[tuple[int, ...], float] = Counter()
    total = 0.0
    for weight, tree in trees:
        total += weight
        rows = rows_of(target, context, tree)

        def run(draws: Draws, rows: Any = rows, tree: TokenTree = tree) -> tuple[int, ...]:
            return tuple(verifier.verify(rows, tree, draws).tokens)

        for tokens, share in integrate(run).items():
            for text, rest in plain_law(after or target, context, length, tokens).items():
                law[text] += weight * share * rest
    assert abs(total - 1) < 1e-6, "some draws allow fewer siblings than the template has"
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
