"""A tree that branches equally everywhere at a depth."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

import pydantic
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Grown, Judge, TreeShape
from laconic.speculation.shape.plan import Plan, grow_plan


@knobs
class KAry(TreeShape):
    """Give every node of a depth the same number of children.

    Source: RSD-C, the constant branching tree of Recursive Speculative Decoding. Siblings are drawn from the
    drafter's row without replacement by Gumbel-top-k, in the order in which the verifier tests them; for verifiers
    that want independent draws a token may come twice, as two siblings (SpecInfer). Greedy, under
    ``match`` and with drafters that know no distribution they are the likeliest tokens.

    The tree is as deep as ``branching`` is long and grows level by level, a draft pass each; a smaller budget cuts it
    off after so many nodes in that order.
    """

    card = Card(paper="Recursive Speculative Decoding (RSD-C)", lossless=True, catalogue=(13,), arxiv="2402.14160")
    needs = Needs(expand=True)

    branching: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (4, 2, 1, 1)
    """Children of each node by depth, from that of the last committed token on; written 4/2/1/1."""

    @pydantic.field_validator("branching", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return tuple(given.split("/")) if isinstance(given, str) else given

    @cached_property
    def _plan(self) -> Plan:
        plan: Plan = ()
        for children in reversed(self.branching):
            plan = (plan,) * children
        return plan

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Fill the levels in order; ``judge`` is asked about each token before it is drawn."""
        return (yield from grow_plan(self._plan, nodes, budget, context, judge))
