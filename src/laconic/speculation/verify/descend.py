"""The walk that two verifiers share: take the target's own token and follow the draft while it agrees."""

from __future__ import annotations

from laconic.speculation.base import TargetRows, TokenTree, Verdict
from laconic.speculation.draws import Draws


def descend(rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
    """At each node take the target's token (argmax, or the draw of stream TOKEN) and go down if it was drafted."""
    below = {edge: i for i, edge in enumerate(zip(tree.parents, tree.tokens, strict=True))}
    path: list[int] = []
    node = -1
    while True:
        if rows.sampling.greedy:
            token = rows.best[node + 1]
        else:
            token = draws.pick(rows.probs[node + 1], rows.position + len(path))
        child = below.get((node, token))
        if child is None:
            return Verdict(tree, path, token)
        path.append(child)
        node = child
