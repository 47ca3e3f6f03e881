"""What verifiers share: the distribution to keep, the walk down the draft, and what may stand all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import pydantic
import torch

from laconic.errors import MethodError
from laconic.policy import Family, knobs
from laconic.speculation.base import Relaxation, TargetRows, TokenTree, Transform, Verdict, Verifier
from laconic.speculation.draws import Draws

_HINT = "A drafter must sample from the distribution that it reports, as the verifier's Drafting says."

Uniform = Callable[[int], float]
"""The acceptance number in [0, 1) of a test, independent of all others and of the drafts. ``NodeByNode`` counts the
tests of one node's children, ``Joint`` names them by the node under test."""


@knobs
class Coupling(Verifier):
    """Couples draft and target: a walk down the draft whose tokens have the law of ``rows`` exactly.

    Subclasses give ``couple``. Greedy requests, and drafts that were not drawn from a distribution, have nothing to
    couple: there the target's own token is taken and followed while it was drafted (:func:`descend`).
    """

    parts: ClassVar[Mapping[str, Family]] = {"transform": "transform", "relax": "relaxation"}

    transform: pydantic.InstanceOf[Transform] | None = None
    """Distribution that the output shall have instead of the target's own; written [name]."""
    relax: pydantic.InstanceOf[Relaxation] | None = None
    """What may stand although it was refused (lossy); written [name]."""

    def couple(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> tuple[list[int], int]:
        """Node ids of the accepted path and the token after it, for a draft with ``draft_probs``."""
        raise NotImplementedError

    def verify(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
        """Transform the target, then couple.

        A transform needs the draft's row as well as the target's. Below a node where the drafter did not look there
        is none, so the walk ends one token sooner, with that node's own token as the last. A round without a draft
        has the target's distribution alone.
        """
        if self.transform is not None:
            rows = transformed(rows, tree, self.transform)
        if tree.draft_probs is None or rows.sampling.greedy:
            path, token = self.descend(rows, tree, draws)
        else:
            path, token = self.couple(rows, tree, draws)
        if self.transform is not None and path and path[-1] not in tree.rows:
            token = tree.tokens[path.pop()]
        return Verdict(tree, path, token)

    def descend(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> tuple[list[int], int]:
        """At each node take the target's token (argmax, or the draw of stream TOKEN) and go down if it was drafted."""
        below = children(tree)
        path: list[int] = []
        node = -1
        while True:
            position = rows.position + len(path)
            token = rows.best[node + 1] if rows.sampling.greedy else draws.pick(rows.probs[node + 1], position)
            drafted = below.get(node, ())
            child = next((i for i in drafted if tree.tokens[i] == token), None)
            if child is None:
                child = self.pardoned(rows, tree, node, drafted, draws, position)
            if child is None:
                return path, token
            path.append(child)
            node = child

    def pardoned(
        self, rows: TargetRows, tree: TokenTree, node: int, refused: Sequence[int], draws: Draws, position: int
    ) -> int | None:
        """The first of the ``refused`` children of ``node`` that the relaxation lets stand."""
        if self.relax is None:
            return None
        for rank, child in enumerate(refused):
            draft = None if tree.draft_probs is None else tree.draft_probs[child]
            chance = self.relax.chance(tree.tokens[child], rows.soft[node + 1], draft)
            if draws.uniform(position, Draws.RELAX, rank) < chance:
                return child
        return None


@knobs
class NodeByNode(Coupling):
    """Couplings that settle the children of one node at a time; ``choose`` is all that differs."""

    def choose(
        self, p: torch.Tensor, q: torch.Tensor, tokens: Sequence[int], uniform: Uniform
    ) -> tuple[int | None, torch.Tensor]:
        """Index of the accepted one of ``tokens``, or None; and what the next token is then drawn from.

        ``p`` and ``q`` are target and draft distribution, ``[vocab]``, float64; ``tokens`` were drawn from ``q`` in
        this order as ``drafting`` says, and at least one. The second value need not sum to 1; it matters only where
        none is accepted.
        """
        raise NotImplementedError

    def couple(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> tuple[list[int], int]:
        """Ask ``choose`` at every node on the way down."""
        below = children(tree)
        path: list[int] = []
        node = -1
        while True:
            position = rows.position + len(path)
            p, siblings = rows.probs[node + 1], below.get(node, ())
            if not siblings:
                return path, draws.pick(p, position)
            tokens, q = [tree.tokens[i] for i in siblings], drafted_from(tree, siblings)

            def uniform(rank: int, position: int = position) -> float:
                return draws.uniform(position, Draws.ACCEPT, rank)

            taken, rest = self.choose(p.double(), q.double(), tokens, uniform)
            child = siblings[taken] if taken is not None else None
            if child is None:
                child = self.pardoned(rows, tree, node, siblings, draws, position)
            if child is None:
                return path, draws.pick(rest, position)
            path.append(child)
            node = child


@knobs
class Joint(Coupling):
    """Couplings that settle a whole draft at a time; ``settle`` is all that differs.

    Whether a token stands then depends on tokens below it. The numbers of the acceptance tests are keyed by where the
    round began: those of a position would be tested again in the next round, and be large, since it was refused.
    """

    def settle(
        self, rows: TargetRows, tree: TokenTree, below: Mapping[int, Sequence[int]], start: int, uniform: Uniform
    ) -> tuple[list[int], torch.Tensor]:
        """Accepted path below the node ``start``, and what the token after it is drawn from (need not sum to 1)."""
        raise NotImplementedError

    def couple(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> tuple[list[int], int]:
        """Settle the draft; where the relaxation lets a refused child stand, settle what is below that too."""
        below = children(tree)
        path: list[int] = []
        node = -1
        while True:
            first = rows.position + len(path)

            def uniform(node: int, first: int = first) -> float:
                return draws.uniform(first, Draws.ACCEPT, node)

            more, rest = self.settle(rows, tree, below, node, uniform)
            path += more
            node, position = path[-1] if path else -1, rows.position + len(path)
            child = self.pardoned(rows, tree, node, below.get(node, ()), draws, position)
            if child is None:
                return path, draws.pick(rest, position)
            path.append(child)
            node = child


def drafted_from(tree: TokenTree, siblings: Sequence[int]) -> torch.Tensor:
    """The row ``[vocab]`` that ``siblings`` were drawn from. Raises MethodError if it rules one of them out."""
    assert tree.draft_probs is not None
    q = tree.draft_probs[siblings[0]]
    for token in (tree.tokens[i] for i in siblings):
        if q[token] <= 0:
            raise MethodError(f"draft token {token} was proposed with draft probability 0.", _HINT)
    return q


def children(tree: TokenTree) -> dict[int, list[int]]:
    """Ids of the children of every node that has any, in index order; -1 is the last committed token."""
    below: dict[int, list[int]] = {}
    for i, parent in enumerate(tree.parents):
        below.setdefault(parent, []).append(i)
    return below


def transformed(rows: TargetRows, tree: TokenTree, transform: Transform) -> TargetRows:
    """``rows`` with the transform applied wherever the drafter has a distribution."""
    drafts = {node: row.probs for node, row in tree.rows.items() if row.probs is not None}
    if not drafts:
        return rows
    at = torch.tensor([node + 1 for node in drafts])
    soft = rows.soft.clone()
    soft[at] = transform.apply(soft[at], torch.stack(list(drafts.values())).to(soft))
    return rows.instead(soft)
