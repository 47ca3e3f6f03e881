"""Accept or refuse a sampled tree as a whole, from the leaves to the root."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from laconic.policy import Card, knobs
from laconic.speculation.verify.coupling import Joint, ScoredDraft, Uniform, drafted_from
from laconic.speculation.verify.residual import residual, stands, without


@dataclass(frozen=True, slots=True)
class Climb:
    """One tree being settled, from ``root`` down."""

    draft: ScoredDraft
    root: int
    uniform: Uniform

    def accepted(self, node: int, earned: float) -> tuple[list[int], torch.Tensor] | None:
        """Path below ``node`` and what follows it, or None where the node does not stand.

        It stands with probability ``earned`` over the draws below it. A child x with its subtree stands with
        ``min(1, earned p(x) / q(x))``, which emits x ``min(q, earned p)`` of the time. When it is refused, ``earned``,
        p and q are what they are for the siblings after it: what is still owed, its share of what can still happen, and
        a draft without x.
        """
        draft = self.draft
        p, siblings = draft.rows.probs[node + 1].double(), draft.below[node + 1]
        q = drafted_from(draft.tree, siblings).double() if siblings else p
        for child in siblings:
            token = draft.tree.tokens[child]
            found = self.accepted(child, min(1.0, earned * float(p[token]) / float(q[token])))
            if found is not None:
                return [child, *found[0]], found[1]
            owed = float((earned * p - q).clamp_min(0).sum())
            p, q = residual(earned * p, q), without(q, token)
            earned = stands(owed, earned)
        if node == self.root or self.uniform(node) < earned:
            return [], p
        return None


@knobs
class Traversal(Joint):
    """The first path of a sampled tree that passes, leaves before their parents and first-drawn siblings first.

    Source: traversal verification (Weng et al. 2025, algorithm 2), for siblings drawn without replacement. A node is
    tested with what its whole path earned, ``min(1, ratio of the path above times p(x) / q(x))``, after its subtree
    was refused; a refused child leaves its siblings ``norm((a p - q)+)`` and its parent ``s / (s + 1 - a)``,
    ``s = sum (a p - q)+``. Going down from the root instead gives a subtree up as soon as its first token fails. On a
    chain this is block verification.

    A refused subtree tells of the tokens in it. Nodes must therefore be drawn with numbers of their own, not shared
    with cousins or with later rounds: drafts draw with numbers keyed by where their round began and by the node (see
    ``Draws``). A tree may grow as it likes, by what was drawn before: another child below a node leaves the law of what
    is emitted there as it was.
    """

    card = Card(paper="Traversal Verification for Speculative Tree Decoding", lossless=True, arxiv="2505.12398")

    def settle(self, draft: ScoredDraft, start: int, uniform: Uniform) -> tuple[list[int], torch.Tensor]:
        """Settle the tree below ``start``, which stands already."""
        found = Climb(draft, start, uniform).accepted(start, 1.0)
        assert found is not None
        return found
