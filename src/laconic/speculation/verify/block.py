"""Accept or refuse a chain as a whole."""

from __future__ import annotations

import torch

from laconic.errors import MethodError
from laconic.policy import Card, knobs
from laconic.speculation.verify.coupling import Joint, ScoredDraft, Uniform, drafted_from
from laconic.speculation.verify.residual import stands


@knobs
class Block(Joint):
    """The longest prefix of a chain that passes its test, each test with what all its tokens earned together.

    Source: block verification (Sun et al. 2024, algorithm 2). The chance that the first i tokens stand is
    ``a_i = min(1, a_(i-1) p(x_i) / q(x_i))``, so a token that the target likes better than the draft did makes up for
    the next that it likes less; token by token every ratio is cut off at 1 by itself. Prefix i is the accepted one with
    probability ``h_i = s / (s + 1 - a_i)``, ``s = sum (a_i p - q)+`` over the next token, if no longer one is; the
    token after it is drawn from ``norm((a_i p - q)+)``. No exact test of a chain accepts more tokens on average. On a
    chain ``traversal`` does the same; sampled trees are refused with an error.

    Refusals here depend on tokens further down, so the numbers with which those were drawn must not be used again:
    drafts draw with numbers keyed by where their round began (see ``Draws``).
    """

    card = Card(paper="Block Verification Accelerates Speculative Decoding", lossless=True, arxiv="2403.10444")

    def settle(self, draft: ScoredDraft, start: int, uniform: Uniform) -> tuple[list[int], torch.Tensor]:
        """Go down the chain once and keep the last prefix that passes."""
        tokens, probs = draft.tree.tokens, draft.rows.probs
        path: list[int] = []
        node, kept, earned = start, 0, 1.0
        p = rest = probs[start + 1].double()
        while True:
            siblings = draft.below[node + 1]
            if len(siblings) > 1:
                raise MethodError(
                    "block verification takes chains, not trees.", "Use the verifier traversal for trees."
                )
            owed, chance = p, earned
            if siblings:
                q = drafted_from(draft.tree, siblings).double()
                owed = (earned * p - q).clamp_min(0)
                chance = stands(float(owed.sum()), earned)
            if node == start or uniform(node) < chance:
                kept, rest = len(path), owed if float(owed.sum()) > 0 else p
            if not siblings:
                return path[:kept], rest
            node = siblings[0]
            path.append(node)
            earned = min(1.0, earned * float(p[tokens[node]]) / float(q[tokens[node]]))
            p = probs[node + 1].double()
