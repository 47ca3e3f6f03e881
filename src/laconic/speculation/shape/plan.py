"""Growing a tree whose form is fixed beforehand, level by level."""

from __future__ import annotations

import torch

from laconic.speculation.base import Context, Expand, Go, Grown, Judge, TokenTree
from laconic.speculation.shape.slots import MOST, Slots

Plan = tuple["Plan", ...]
"""Form of a tree: one plan for each child, the first child's first; ``()`` is a leaf."""


def size(plan: Plan) -> int:
    """Nodes below the root."""
    return sum(1 + size(child) for child in plan)


def depth(plan: Plan) -> int:
    """Levels below the root: draft passes that it takes to grow it."""
    return max((1 + depth(child) for child in plan), default=0)


def grow_plan(plan: Plan, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
    """Fill the places of ``plan`` level by level until ``budget`` tokens are there, one draft pass a level.

    A place stays empty, with all below it and its younger siblings, where the row has no more tokens or ``judge``
    says stop.
    """
    budget = min(budget, MOST)
    path = {-1: 1.0}
    drawn_from: list[torch.Tensor] = []
    level = [(-1, plan)]
    while level and len(nodes.tokens) < budget:
        rows = yield [node for node, _ in level]
        deeper: list[tuple[int, Plan]] = []
        for (parent, places), row in zip(level, rows, strict=True):
            slots = Slots(row, parent, nodes, context, len(places), context.drafting)
            for below in places:
                if not slots.left or len(nodes.tokens) >= budget:
                    break
                go = slots.ask(judge, nodes.below(parent), path[parent])
                if go is Go.STOP:
                    break
                token, share = slots.take()
                node = nodes.add(token, parent)
                path[node] = path[parent] * share
                if slots.probs is not None:
                    drawn_from.append(slots.probs)
                if below and go is Go.ON and token not in context.ends:
                    deeper.append((node, below))
        level = deeper
    return TokenTree(nodes.tokens, nodes.parents, drawn_from or None)
