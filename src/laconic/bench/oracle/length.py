"""The best draft lengths in hindsight, from what was written and from what passes cost.

An outlook tells, for a draft begun after t written tokens, how many of its tokens would be accepted. With it and the
costs, the least time to write a text is a dynamic programme over its positions; a fixed length is a walk over them.
Greedy decoding only: there the draft that will be accepted does not depend on chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from laconic.bench.along import CHUNK, follow, read
from laconic.models.base import LanguageModel
from laconic.speculation.base import Context, Drafter, Tools
from laconic.speculation.draws import Draws
from laconic.types import Request

MOST = 32
"""Longest draft considered, tokens."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What passes cost, in any one unit of time.

    A target pass over the last token alone costs ``target``, each drafted token in it ``node`` more; drafting a token
    costs ``draft``.
    """

    target: float
    node: float
    draft: float

    def round(self, drafted: int) -> float:
        """A round with a draft of so many tokens."""
        return self.target + drafted * (self.node + self.draft)


@dataclass(frozen=True, slots=True)
class Outlook:
    """A drafter's chances along one text: it would draft ``offered[t]`` tokens, and ``reach[t]`` of them hold."""

    reach: Sequence[int]
    offered: Sequence[int]

    def __len__(self) -> int:
        return len(self.reach)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Draft lengths for a text, one a round, and what they cost; ``passes`` is their number."""

    lengths: tuple[int, ...]
    cost: float

    @property
    def passes(self) -> int:
        """Target passes."""
        return len(self.lengths)


def outlook_of(matches: Sequence[bool], most: int = MOST) -> Outlook:
    """From "the draft model's favourite is the next token", position by position.

    A draft model that was right so far has read the very text, so runs of matches are all there is to know.
    """
    reach = [0] * (len(matches) + 1)
    for t in range(len(matches) - 1, -1, -1):
        reach[t] = reach[t + 1] + 1 if matches[t] else 0
    return Outlook([min(most, held) for held in reach[:-1]], [most] * len(matches))


def matches(draft_model: LanguageModel, prompt: Sequence[int], tokens: Sequence[int], chunk: int = CHUNK) -> list[bool]:
    """Whether the draft model's greedy choice is the token that was written, for each of ``tokens``."""
    with closing(draft_model.open()) as slot:
        guesses = [guess for scores in read(draft_model, slot, prompt, tokens, chunk) for guess in scores.best(0)]
    return [guess == token for guess, token in zip(guesses, tokens, strict=True)]


def outlook_by_asking(
    drafter: Drafter,
    tools: Tools,
    request: Request,
    tokens: Sequence[int],
    most: int = MOST,
) -> Outlook:
    """The same for any drafter: at every position, ask for a draft of ``most`` tokens and see how far it holds.

    Slow with a draft model, where :func:`matches` tells as much in one pass.
    """
    context = Context(request, list(request.prompt), Draws(request.sampling.seed), len(request.prompt))
    state = drafter.start(context, tools)
    reach, offered = [], []
    try:
        for t, token in enumerate(tokens):
            tree = drafter.propose([state], [most], [None])[0]
            reach.append(len(follow(tree, tokens, t)))
            offered.append(len(tree))
            context.tokens.append(token)
    finally:
        drafter.finish(state)
    return Outlook(reach, offered)


def best(outlook: Outlook, costs: Costs, most: int = MOST) -> Schedule:
    """The schedule of least cost: no draft is longer than what will be accepted."""
    n = len(outlook)
    least = [0.0] * (n + 1)
    choice = [0] * n
    rounds = [costs.round(k) for k in range(most + 1)]
    for t in range(n - 1, -1, -1):
        longest = min(most, outlook.reach[t])
        least[t], choice[t] = min((rounds[k] + least[min(n, t + k + 1)], k) for k in range(longest + 1))
    lengths, t = [], 0
    while t < n:
        lengths.append(choice[t])
        t += choice[t] + 1
    return Schedule(tuple(lengths), least[0])


def fixed(outlook: Outlook, length: int, costs: Costs) -> Schedule:
    """What a fixed draft length costs; drafts are shorter where the drafter has less to offer."""
    t = 0
    lengths: list[int] = []
    while t < len(outlook):
        lengths.append(min(length, outlook.offered[t]))
        t += min(length, outlook.reach[t]) + 1
    return Schedule(tuple(lengths), sum(map(costs.round, lengths)))


def best_fixed(outlooks: Sequence[Outlook], costs: Costs, most: int = MOST) -> tuple[int, float]:
    """The one length that costs least over many texts, and that cost."""
    totals = [sum(fixed(outlook, length, costs).cost for outlook in outlooks) for length in range(most + 1)]
    cost = min(totals)
    return totals.index(cost), cost


def best_drafter(outlooks: Sequence[Outlook], costs: Sequence[Costs], most: int = MOST) -> tuple[float, list[int]]:
    """Least cost of a text when each round may take the best of several drafters; and how often each is taken.

    ``outlooks[d]`` and ``costs[d]`` belong to drafter d. A round without a draft counts for none of them.
    """
    n = len(outlooks[0])
    least = [0.0] * (n + 1)
    choice = [(0, -1)] * n
    for t in range(n - 1, -1, -1):
        options = [(costs[0].round(0) + least[t + 1], 0, -1)]
        for d, (outlook, cost) in enumerate(zip(outlooks, costs, strict=True)):
            longest = min(most, outlook.reach[t])
            options += [(cost.round(k) + least[min(n, t + k + 1)], k, d) for k in range(1, longest + 1)]
        least[t], k, d = min(options)
        choice[t] = (k, d)
    taken, t = [0] * len(outlooks), 0
    while t < n:
        k, d = choice[t]
        if d >= 0:
            taken[d] += 1
        t += k + 1
    return least[0], taken
