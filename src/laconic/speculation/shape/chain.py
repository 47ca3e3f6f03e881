"""The plain draft: one token after another."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, Drafting, Expand, Go, Grown, Judge, Node, TokenTree, TreeShape, hidden_of
from laconic.speculation.draws import Draws


@knobs
class Chain(TreeShape):
    """One token at a time: the likeliest when greedy, else the draw that is foreseen or one of the drafter's own.

    Source: Leviathan et al. (2023), Chen et al. (2023), with draws keyed by round and node instead of a generator.
    A drafter that knows no distribution gives a deterministic chain at any temperature. Rows of one request either
    all know their distribution or none does.
    """

    card = Card(paper="Fast Inference from Transformers via Speculative Decoding", lossless=True, arxiv="2211.17192")

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Append up to ``budget`` tokens, asking ``judge`` before each one is chosen."""
        sampled = []
        sampling = not context.sampling.greedy and context.drafting is not Drafting.FORESEE
        tip = -1
        while len(nodes.tokens) < budget:
            (row,) = yield [tip]
            best = row.best
            if best is None:
                break
            depth = len(nodes.tokens)
            probs = row.probs if sampling else None
            go = Go.ON
            if judge is not None:
                go = judge(Node(depth, row.probs, row.confidence, hidden=hidden_of(row)))
            if go is Go.STOP:
                break
            if probs is not None:
                best = context.draws.pick(probs, len(context.tokens), Draws.DRAFT, depth)
                sampled.append(probs)
            tip = nodes.add(best, tip)
            if go is Go.LAST or best in context.ends:
                break
        return TokenTree(nodes.tokens, nodes.parents, sampled or None)
