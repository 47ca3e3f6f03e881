"""A fixed number of drafted tokens for the whole batch, given to the likeliest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, LengthPolicy, TokenTree
from laconic.speculation.pace import Pace

_UNKNOWN = 0.5
"""Chance of a token about which the drafter says nothing."""
_TOP = 64
"""Tokens of a row among which a drafted one is looked up."""


@knobs
class Tetris(LengthPolicy):
    """Draft for every request, then score the ``capacity`` tokens with the largest products of acceptance chances.

    Source: TETRIS. A token's chance to be accepted is the product of the drafter's confidences down to it, which
    falls along every path, so the best tokens of all requests together form a beginning of each request's draft.

    Where drafts are sampled a token is ranked by the confidence of its place, the probability of the likeliest token
    there, and not by its own: to drop a token for what it turned out to be would bias the output (with draft (1/2,
    1/2) and target (9/10, 1/10), dropping the second token whenever it is drawn gives the first 95 % of the time).
    """

    card = Card(
        paper="TETRIS: Optimal Draft Token Selection for Batch Speculative Decoding", lossless=True, catalogue=(63,)
    )

    capacity: Annotated[int, Field(ge=1)] = 32
    """Drafted tokens scored in one pass, over all requests."""
    extra: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """How many times an equal share of the capacity is drafted for each request, to have something to choose from."""

    def start(self, context: Context, pace: Pace) -> Any:
        """Nothing to keep."""
        return None

    def budget(self, state: Any) -> int:
        """For a request alone."""
        return self.capacity

    def budgets(self, states: Sequence[Any]) -> list[int]:
        """More than its share for each request."""
        share = self.capacity / max(len(states), 1)
        return [min(self.capacity, max(1, round(self.extra * share)))] * len(states)

    def select(self, states: Sequence[Any], trees: Sequence[TokenTree]) -> list[TokenTree]:
        """The likeliest tokens of all requests; of equally likely ones the shallow first.

        So whether a sampled sibling is kept depends neither on the siblings' values nor on what is below them.
        """
        ranked = sorted(
            (-chance, depth, node, request)
            for request, tree in enumerate(trees)
            for node, (chance, depth) in enumerate(zip(chances(tree), depths(tree), strict=True))
        )
        kept: list[set[int]] = [set() for _ in trees]
        for _, _, node, request in ranked[: self.capacity]:
            kept[request].add(node)
        return [pruned(tree, nodes) for tree, nodes in zip(trees, kept, strict=True)]


def chances(tree: TokenTree) -> list[float]:
    """The drafter's product of confidences down to every node, blind to the values of sampled tokens."""
    found: list[float] = []
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        row = tree.rows.get(parent)
        if row is None:
            own = _UNKNOWN
        elif tree.draft_probs is not None or row.best == token:
            own = row.confidence
        else:
            own = dict(row.top(_TOP)).get(token, 0.0)
        found.append(own * (found[parent] if parent >= 0 else 1.0))
    return found


def depths(tree: TokenTree) -> list[int]:
    """How many nodes are above each."""
    found: list[int] = []
    for parent in tree.parents:
        found.append(found[parent] + 1 if parent >= 0 else 0)
    return found


def pruned(tree: TokenTree, nodes: set[int]) -> TokenTree:
    """``tree`` with only ``nodes``, which hold the parent of each."""
    if len(nodes) == len(tree):
        return tree
    if not nodes:
        return EMPTY
    order = sorted(nodes)
    place = {-1: -1} | {node: i for i, node in enumerate(order)}
    return replace(
        tree,
        tokens=[tree.tokens[node] for node in order],
        parents=[place[tree.parents[node]] for node in order],
        draft_probs=None if tree.draft_probs is None else [tree.draft_probs[node] for node in order],
        rows={place[node]: row for node, row in tree.rows.items() if node in place},
    )
