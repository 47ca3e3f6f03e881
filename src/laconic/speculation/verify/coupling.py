"""What verifiers share: the distribution to keep, the walk down the draft, and what may stand all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pydantic
import torch

from laconic.errors import MethodError
from laconic.policy import Family, knobs
from laconic.speculation.base import Drafting, Refused, Relaxation, TargetRows, TokenTree, Transform, Verdict, Verifier
from laconic.speculation.draws import Draws

_HINT = "A drafter must sample from the distribution that it reports, as the verifier's Drafting says."

Uniform = Callable[[int], float]
"""The acceptance number in [0, 1) of a test, independent of all others and of the drafts. ``NodeByNode`` counts the
tests of one node's children, ``Joint`` names them by the node under test."""

Stretch = tuple[list[int], Callable[[], int] | None]
"""Ids of nodes that stand, one below the other, and what draws the token after them; None where the walk goes on."""


@dataclass(frozen=True, slots=True)
class ScoredDraft:
    """What a verifier is given for a round, with the tree's nodes also sorted by their parents."""

    rows: TargetRows
    tree: TokenTree
    draws: Draws
    below: Sequence[Sequence[int]]
    """``below[i + 1]``: ids of the children of node i as they were drawn; -1 is the last committed token."""


@knobs
class Coupling(Verifier):
    """Couples draft and target: a walk down the draft whose tokens have the law of ``rows`` exactly.

    Subclasses give ``follow``. Greedy requests, and drafts that were not drawn from a distribution, have nothing to
    couple: there the target's own token is taken and followed while it was drafted (:meth:`agree`).
    """

    parts: ClassVar[Mapping[str, Family]] = {"transform": "transform", "relax": "relaxation"}

    transform: pydantic.InstanceOf[Transform] | None = None
    """Distribution that the output shall have instead of the target's own; written [name]."""
    relax: pydantic.InstanceOf[Relaxation] | None = None
    """What may stand although it was refused (lossy); written [name]."""

    def follow(self, draft: ScoredDraft, start: int, position: int) -> Stretch:
        """The way down from the node ``start``, whose children are at ``position``, in a draft with ``draft_probs``."""
        raise NotImplementedError

    def agree(self, draft: ScoredDraft, start: int, position: int) -> Stretch:
        """Take the target's token (argmax, or the draw of stream TOKEN) and go down if it was drafted."""
        rows, tokens = draft.rows, draft.tree.tokens
        greedy = rows.sampling.greedy
        token = rows.best[start + 1] if greedy else rows.draw(start + 1, draft.draws, position)
        child = next((i for i in draft.below[start + 1] if tokens[i] == token), None)
        return ([], lambda: token) if child is None else ([child], None)

    def verify(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
        """Transform the target, then walk down the draft.

        A transform needs the draft's row as well as the target's. Below a node where the drafter did not look there
        is none, so the walk ends one token sooner, with that node's own token as the last. A round without a draft
        has the target's distribution alone.
        """
        if self.transform is not None:
            rows = transformed(rows, tree, self.transform)
        path, token = self._walk(ScoredDraft(rows, tree, draws, children(tree)))
        if self.transform is not None and path and path[-1] not in tree.rows:
            token = tree.tokens[path.pop()]
        return Verdict(tree, path, token)

    def _walk(self, draft: ScoredDraft) -> tuple[list[int], int]:
        """Node ids of the accepted path and the token after it; a child that is refused may be pardoned."""
        coupled = draft.tree.draft_probs is not None and not draft.rows.sampling.greedy
        follow = self.follow if coupled else self.agree
        path, above = [-1], draft.rows.position - 1
        while True:
            more, token = follow(draft, path[-1], above + len(path))
            path += more
            if token is None:
                continue
            pardoned = self._pardoned(draft, path[-1], above + len(path))
            if pardoned is None:
                return path[1:], token()
            path.append(pardoned)

    def _pardoned(self, draft: ScoredDraft, node: int, position: int) -> int | None:
        """The first child of ``node``, all of which were refused, that the relaxation lets stand."""
        if self.relax is None:
            return None
        tree, states = draft.tree, draft.rows.hidden
        for rank, child in enumerate(draft.below[node + 1]):
            refused = Refused(
                tree.tokens[child],
                draft.rows.soft_after(node + 1),
                None if tree.draft_probs is None else tree.draft_probs[child],
                None if states is None else states[child + 1],
            )
            if draft.draws.uniform(position, Draws.RELAX, rank) < self.relax.chance(refused):
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

    def follow(self, draft: ScoredDraft, start: int, position: int) -> Stretch:
        """One step: to the child that ``choose`` accepts."""
        rest, siblings = draft.rows.after(start + 1), draft.below[start + 1]
        if siblings:
            tokens, q = [draft.tree.tokens[i] for i in siblings], drafted_from(draft.tree, siblings)
            uniform = partial(draft.draws.uniform, position, Draws.ACCEPT)
            taken, rest = self.choose(rest.double(), q.double(), tokens, uniform)
            if taken is not None:
                return [siblings[taken]], None
        return [], partial(draft.draws.pick, rest, position)


@knobs
class Independent(NodeByNode):
    """Couplings of siblings that were drawn independently of each other."""

    @property
    def drafting(self) -> Drafting:
        """Independent siblings."""
        return Drafting.REPEAT


@knobs
class Joint(Coupling):
    """Couplings that settle a whole draft at a time; ``settle`` is all that differs.

    Whether a token stands then depends on tokens below it. The numbers of the acceptance tests are keyed by where the
    round began: those of a position would be tested again in the next round, and be large, since it was refused.
    """

    def settle(self, draft: ScoredDraft, start: int, uniform: Uniform) -> tuple[list[int], torch.Tensor]:
        """Accepted path below the node ``start``, and what the token after it is drawn from (need not sum to 1)."""
        raise NotImplementedError

    def follow(self, draft: ScoredDraft, start: int, position: int) -> Stretch:
        """All the way: what is below ``start`` is settled at once."""
        path, rest = self.settle(draft, start, partial(draft.draws.uniform, position, Draws.ACCEPT))
        return path, partial(draft.draws.pick, rest, position + len(path))


def drafted_from(tree: TokenTree, siblings: Sequence[int]) -> torch.Tensor:
    """The row ``[vocab]`` that ``siblings`` were drawn from. Raises MethodError if it rules one of them out."""
    assert tree.draft_probs is not None
    q = tree.draft_probs[siblings[0]]
    for token in (tree.tokens[i] for i in siblings):
        if q[token] <= 0:
            raise MethodError(f"draft token {token} was proposed with draft probability 0.", _HINT)
    return q


def children(tree: TokenTree) -> list[list[int]]:
    """Ids of the children of every node in index order, as :attr:`ScoredDraft.below`."""
    below: list[list[int]] = [[] for _ in range(len(tree) + 1)]
    for node, parent in enumerate(tree.parents):
        below[parent + 1].append(node)
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
