"""Growing a tree whose form is fixed beforehand, level by level."""

from __future__ import annotations

from laconic.speculation.base import Context, Expand, Go, Grown, Judge
from laconic.speculation.shape.slots import SlotTree

Plan = tuple["Plan", ...]
"""Form of a tree: one plan for each child, the first child's first; ``()`` is a leaf."""


def grow_plan(plan: Plan, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
    """Fill the places of ``plan`` level by level until ``budget`` tokens are there, one draft pass a level.

    A place stays empty, with all below it and its younger siblings, where the row has no more tokens or ``judge``
    says stop.
    """
    tree = SlotTree(nodes, budget, context, judge)
    level = [(-1, plan)]
    while level and tree.room:
        rows = yield [node for node, _ in level]
        deeper: list[tuple[int, Plan]] = []
        for (parent, places), row in zip(level, rows, strict=True):
            slots = tree.open(parent, row, len(places))
            for below in places:
                if not (slots.left and tree.room):
                    break
                go, node = tree.fill(parent)
                if go is Go.STOP:
                    break
                if below and go is Go.ON:
                    deeper.append((node, below))
        level = deeper
    return tree.grown()
