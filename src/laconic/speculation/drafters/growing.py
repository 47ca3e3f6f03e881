"""Shared by drafters without a model: rows handed to a shape until its tree is grown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laconic.speculation.base import Context, Grown, Judge, Row, TokenTree, TreeShape

Rows = Callable[[list[int]], Sequence[Row]]
"""From ids of nodes (-1: the last committed token) to what may follow each."""


def grow(
    shape: TreeShape, nodes: Grown, budget: int, context: Context, judge: Judge | None, rows: Rows, source: str
) -> TokenTree:
    """The tree that ``shape`` grows of ``rows``; it remembers the rows that were looked at."""
    growing = shape.grow(nodes, budget, context, judge)
    seen: dict[int, Row] = {}
    try:
        wanted = next(growing)
        while True:
            found = rows(wanted)
            seen.update(zip(wanted, found, strict=True))
            wanted = growing.send(found)
    except StopIteration as end:
        tree: TokenTree = end.value
    return TokenTree(tree.tokens, tree.parents, tree.draft_probs, source, tree.rows or seen)
