"""A fixed tree that is optimal for how often children of each rank are accepted."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

import pydantic
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Grown, Judge, TreeShape
from laconic.speculation.shape.optimal import Optimum
from laconic.speculation.shape.plan import Plan, grow_plan

Share = Annotated[float, Field(ge=0, le=1)]

_LARGEST = 512
"""Nodes of a tree at most: a bound on the table's size."""


@knobs
class Sequoia(TreeShape):
    """The tree that is expected to have the most tokens accepted, given how often a child of each rank is.

    Source: Sequoia. The r-th child of an accepted node is accepted with probability ``acceptance[r]``, wherever it is;
    dynamic programming over sizes and depths finds the best tree of at most ``budget`` nodes, once for each budget.
    Its form is fixed, its tokens are drawn as those of ``k-ary``: without replacement, or the likeliest ones where
    nothing is drawn.

    Told what passes cost, it takes the size and depth that write the most tokens in a unit of time (the paper's
    hardware-aware optimiser), ``(1 + worth) / (pass time + depth * draft time)``, instead of all of the budget. It
    does not measure: costs that are known beforehand suit a form that is fixed beforehand, and ``marginal`` weighs
    trees by what passes cost as they run.
    """

    card = Card(paper="Sequoia", lossless=True, catalogue=(64,))
    needs = Needs(expand=True)

    acceptance: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.963, 0.027, 0.0075, 0.001)
    """Chance of acceptance by rank; written 0.8/0.1. Default: the bundled pair (scripts/rank_acceptance.py)."""
    depth: Annotated[int, Field(ge=1, le=128)] = 32
    """Levels at most, one draft pass each."""
    pass_times: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    """Time of a target pass over 1, 2, 4, 8 ... nodes, in any unit; written 1/1.1/1.3. No tree is larger than these
    tell of. Empty: all passes cost the same."""
    draft_time: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Time of a draft pass in the unit of ``pass_times`` (of a target pass where that is empty)."""

    @pydantic.field_validator("acceptance", "pass_times", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return tuple(part for part in given.split("/") if part) if isinstance(given, str) else given

    @cached_property
    def _plans(self) -> dict[int, Plan]:
        return {}

    def plan(self, budget: int) -> Plan:
        """The form of the tree for at most ``budget`` nodes."""
        budget = min(budget, _LARGEST)
        if budget not in self._plans:
            depth = min(self.depth, budget)
            optimum = Optimum(self.acceptance, budget, depth)
            most = min(budget, (1 << len(self.pass_times) >> 1) - 1) if self.pass_times else budget
            sizes = [(nodes, levels) for nodes in range(most + 1) for levels in range(min(nodes, depth) + 1)]

            def rate(size: tuple[int, int]) -> float:
                nodes, levels = size
                return float(1 + optimum.worth[levels, nodes]) / (self._pass(1 + nodes) + levels * self.draft_time)

            nodes, levels = max(sizes, key=rate) if self.pass_times or self.draft_time else (budget, depth)
            self._plans[budget] = optimum.plan(nodes, levels)
        return self._plans[budget]

    def _pass(self, nodes: int) -> float:
        """Time of a target pass, on straight lines between the sizes that are known."""
        if not self.pass_times:
            return 1.0
        below = nodes.bit_length() - 1
        share = nodes / (1 << below) - 1
        first, *after = self.pass_times[below : below + 2]
        return first + (share * (after[0] - first) if share else 0.0)

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Fill the best form level by level; ``judge`` is asked about each token before it is drawn."""
        return (yield from grow_plan(self.plan(budget) if budget > 0 else (), nodes, budget, context, judge))
