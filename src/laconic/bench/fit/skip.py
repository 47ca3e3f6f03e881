"""``fit skip``: which parts of its layers a target can draft without.

Source: Draft & Verify (Zhang et al. 2023, arXiv 2309.08168), which searches by Bayesian optimisation for the plan that
writes tokens fastest. Here parts are ranked by what leaving out each alone costs, growing plans along this order are
tried, and the best of them is improved by exchanges: the same passes, and no model of the scores.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from laconic.models.base import RunsParts, ScoreTree, Slot
from laconic.models.partial import WHOLE, LayerPlan
from laconic.speculation.drafters.itself.units import Unit, looked_at, plan_of, share_right, units_of

LONGEST = 16
"""Longest draft that a plan's worth is computed for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plan, the share of tokens that its layers name ``right``, and what that is worth.

    ``speed`` is the most that drafting with it can bring over plain decoding when passes cost what their weights do:
    ``(1 - a^(d+1)) / (1 - a)`` tokens for ``d c + 1`` passes, at the best length ``draft`` of ``d`` tokens; 1 for the
    plan that is of no use. ``cost`` is ``c``, a pass of the plan over one of the whole model.
    """

    plan: LayerPlan
    right: float
    cost: float
    draft: int
    speed: float
    tries: int = 0


class Judge:
    """Texts that the target has read, and how many of their tokens a plan names right: in one pass of all of them.

    Each text is a prompt and what the target wrote, of which the last ``window`` tokens count.
    """

    def __init__(self, target: Any, texts: Sequence[Sequence[int]], window: int) -> None:
        self._target = target
        self._open = ExitStack()
        self._slots: list[Slot] = []
        self._trees: list[ScoreTree] = []
        self._wanted: list[int] = []
        for text in texts:
            slot = target.open()
            self._open.callback(slot.close)
            read = list(text[:-1])
            target.prefill(slot, read)
            tree, wanted = looked_at(text, max(len(read) - window, 1), len(read))
            self._slots.append(slot)
            self._trees.append(tree)
            self._wanted += wanted
        self.tries = 0

    def __call__(self, units: frozenset[Unit]) -> Found:
        """What a plan is worth."""
        self.tries += 1
        plan = plan_of(units)
        right = share_right(self._target, plan, self._trees, self._slots, self._wanted)
        cost = cost_of(self._target, plan)
        return Found(plan, right, cost, *worth(right, cost), self.tries)

    def close(self) -> None:
        """Give the slots back."""
        self._open.close()


def cost_of(target: RunsParts, plan: LayerPlan) -> float:
    """A pass of the plan over one of the whole model, by the weights that are read; the output head included."""
    layers, head = target.num_layers, target.head_cost
    return (plan.cost(layers) * layers + head) / (layers + head)


def worth(right: float, cost: float) -> tuple[int, float]:
    """The length of draft that pays most, and tokens per cost of a plain pass with it; 0 and 1 where none pays.

    >>> worth(0.9, 0.1)[0]
    10
    >>> worth(0.2, 0.8)
    (0, 1.0)
    """
    best = (0, 1.0)
    tokens, chance = 1.0, 1.0
    for draft in range(1, LONGEST + 1):
        chance *= right
        tokens += chance
        best = max(best, (draft, tokens / (draft * cost + 1)), key=lambda found: found[1])
    return best


@torch.inference_mode()
def search(
    target: Any,
    texts: Sequence[Sequence[int]],
    *,
    window: int = 32,
    tries: int = 200,
    minutes: float = float("inf"),
    seed: int = 0,
    after: Callable[[str], Any] = lambda said: None,
) -> Found:
    """The best plan for ``texts`` (tokens of prompts and answers), after ``tries`` plans or so many minutes.

    It may be of no use (``speed`` 1): then none that was tried is worth drafting with. A model of two layers has none.
    """
    judge, begun = Judge(target, texts, window), time.perf_counter()
    tried: dict[frozenset[Unit], Found] = {}
    best: Found | None = None
    try:
        for units in _candidates(units_of(target), tried, random.Random(seed)):
            found = tried[units] = judge(units)
            if best is None or (found.speed, found.right) > (best.speed, best.right):
                best = found
            after(f"{judge.tries} plans tried; the best is worth {best.speed:.2f} of plain decoding")
            if judge.tries >= tries or time.perf_counter() - begun > 60 * minutes:
                break
    finally:
        judge.close()
    if best is None:
        return Found(WHOLE, 1.0, 1.0, 0, 1.0)
    return Found(best.plan, best.right, best.cost, best.draft, best.speed, judge.tries)


def _candidates(
    units: Sequence[Unit], tried: Mapping[frozenset[Unit], Found], draws: random.Random
) -> Iterator[frozenset[Unit]]:
    """Each part alone; then the parts in the order of what they cost, more and more of them; then exchanges."""
    yield from (frozenset([unit]) for unit in units)
    order = sorted(units, key=lambda unit: -tried[frozenset([unit])].right)
    yield from (frozenset(order[:count]) for count in range(2, len(order) + 1))
    while len(tried) < 2 ** len(units) - 1:
        best = max(tried, key=lambda chosen: (tried[chosen].speed, tried[chosen].right))
        moved = best.symmetric_difference(draws.sample(units, min(1 + int(draws.expovariate(0.7)), len(units))))
        if moved and moved not in tried:
            yield moved
