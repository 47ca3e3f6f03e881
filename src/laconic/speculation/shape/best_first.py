"""A tree of the likeliest continuations."""

from __future__ import annotations

import heapq
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Grown, Node, Stop, TokenTree, TreeShape


@knobs
class BestFirst(TreeShape):
    """Grow the node with the highest cumulative draft probability, wherever in the tree it hangs.

    Source: the best-first search of SpecExec and DySpec; EAGLE-2 ranks by the same product. A heap holds every
    token that might be added, keyed by the probability of its whole path; each round takes the ``per_pass`` best
    and has the drafter score them in one pass. With ``per_pass=1`` the tree holds exactly the ``budget`` likeliest
    paths; more nodes per pass mean fewer draft passes and a tree that is nearly that.

    The tree is deterministic (``draft_probs`` None) and so exact at any temperature, when the verifier draws the
    target's token and descends to it, as SpecExec does.
    """

    card = Card(paper="SpecExec; DySpec", lossless=True, catalogue=(114, 88))
    needs = Needs(expand=True)

    top_k: Annotated[int, Field(ge=1)] = 4
    """Children considered below each node, tokens."""
    per_pass: Annotated[int, Field(ge=1)] = 4
    """Nodes added, and then scored by the drafter, per draft pass."""

    def grow(self, nodes: Grown, budget: int, context: Context, stop: Stop | None) -> Expand:
        """Add up to ``budget`` nodes; ``stop`` is asked once for all children of a node."""
        heap: list[tuple[float, int, int, int]] = []  # (-path probability, order of arrival, parent, token)
        path, depth = {-1: 1.0}, {-1: 0}
        arrivals = 0
        frontier = [-1]
        while len(nodes.tokens) < budget:
            for parent, row in zip(frontier, (yield frontier), strict=True):
                if stop is not None and row.best is not None and stop(Node(depth[parent], row.probs, row.confidence)):
                    continue
                for token, probability in row.top(self.top_k):
                    heapq.heappush(heap, (-path[parent] * probability, arrivals, parent, token))
                    arrivals += 1
            frontier = []
            for _ in range(min(self.per_pass, budget - len(nodes.tokens), len(heap))):
                score, _, parent, token = heapq.heappop(heap)
                node = nodes.add(token, parent)
                path[node], depth[node] = -score, depth[parent] + 1
                frontier.append(node)
            if not frontier:
                break
        return TokenTree(nodes.tokens, nodes.parents)
