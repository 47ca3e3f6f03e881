"""Accept a drafted token with probability min(1, p / q)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.policy import Card, knobs
from laconic.speculation.verify.coupling import NodeByNode, Uniform
from laconic.speculation.verify.residual import residual, without


@knobs
class SpeculativeSampling(NodeByNode):
    """Accept a token x drawn from q with probability min(1, p(x) / q(x)); draw from norm((p - q)+) when refused.

    Source: Leviathan et al. (2023, algorithm 1), Chen et al. (2023); for siblings drawn without replacement the
    recursive rejection of RSD: after each refusal ``p <- norm((p - q)+)`` and ``q <- q`` without the refused token.
    It accepts at least as often as Match where q is a distribution (1 - TV(p, q) instead of sum p q) but does not
    repeat the text of plain decoding, only its distribution. Greedy requests and deterministic drafts have no
    ratio to test: there the target's token is drawn and the draft followed while it agrees.

    Why acceptance may be keyed by position: a token is decided with ACCEPT and TOKEN uniforms of its own position.
    (1) Streams are independent, and drafts have numbers of their own round and node, so a test never shares a number
    with the draw that it judges. (2) Siblings have sub-streams of their own. (3) A position is tested anew only after a
    refusal before it, which depends on numbers of earlier positions alone: given the committed text, its own numbers
    are still fresh. (4) Cousins in a tree share numbers, but the walk meets the children of one node per depth, and
    which node it is depends on earlier positions alone. (5) After a refusal the ACCEPT numbers of this position are
    spent and TOKEN is untouched: it is read once per round, at the position where the walk ends.
    """

    card = Card(
        paper="Fast Inference from Transformers via Speculative Decoding; RSD",
        lossless=True,
        catalogue=(13,),
        arxiv="2211.17192",
    )

    def choose(
        self, p: torch.Tensor, q: torch.Tensor, tokens: Sequence[int], uniform: Uniform
    ) -> tuple[int | None, torch.Tensor]:
        """Test the tokens one after another, each against what the ones before it have left."""
        for rank, token in enumerate(tokens):
            if uniform(rank) * float(q[token]) < float(p[token]):
                return rank, p
            p, q = residual(p, q), without(q, token)
        return None, p
