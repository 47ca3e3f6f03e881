"""Best-first growth whose tokens are drawn: slots are valued before they are filled."""

from __future__ import annotations

import heapq
import itertools
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Expand, Go, Grown, Judge, TreeShape
from laconic.speculation.shape.slots import SlotTree


@knobs
class DySpec(TreeShape):
    """Fill the slot that the target is likeliest to come to, wherever in the tree it is.

    Source: DySpec. A heap holds slots, places for tokens that are not drawn yet. A slot is worth the probability of
    the path above it times what its elder siblings leave of the row. To fill the slot of value v a token y is drawn
    from what is left, R; then a slot below y joins the heap, worth ``v R[y]``, and one for y's next sibling, worth
    ``v (1 - R[y])``. So siblings are drawn without replacement, in the order in which the verifier tests them, and no
    decision looks at a token that is dropped: values are known before tokens are.

    It is exact with verifiers that want siblings without replacement (``speculative-sampling``, ``traversal``). Greedy,
    under ``match``, with drafters that know no distribution, and for verifiers that want independent draws, tokens are
    known and a slot is worth the probability of the path down to its token: then this is ``best-first``.
    """

    card = Card(paper="DySpec", lossless=True, catalogue=(88,))
    needs = Needs(expand=True)

    top_k: Annotated[int, Field(ge=1)] = 8
    """Children of one node at most, tokens."""
    per_pass: Annotated[int, Field(ge=1)] = 4
    """Slots filled, and their tokens then scored by the drafter, per draft pass; 1 is the paper's order exactly."""

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Fill up to ``budget`` slots; ``judge`` is asked about each before its token is drawn."""
        # What is left for a sibling depends on the ones before it, which verifiers of independent draws do not allow.
        tree = SlotTree(nodes, budget, context, judge, repeat=False)
        heap: list[tuple[float, int, int]] = []  # (-value, arrival, parent): the next slot below that parent
        arrivals = itertools.count()

        def offer(parent: int) -> None:
            slots = tree.slots[parent]
            if slots.left:
                heapq.heappush(heap, (-tree.path[parent] * slots.mass, next(arrivals), parent))

        frontier = [-1]
        while frontier and tree.room:
            for parent, row in zip(frontier, (yield frontier), strict=True):
                tree.open(parent, row, self.top_k)
                offer(parent)
            frontier = []
            while heap and len(frontier) < self.per_pass and tree.room:
                parent = heapq.heappop(heap)[2]
                go, node = tree.fill(parent)
                if go is Go.ON:
                    frontier.append(node)
                if go is not Go.STOP:
                    offer(parent)
        return tree.grown()
