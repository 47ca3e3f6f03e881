"""Whole paths drawn without replacement: a beam search over perturbed log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Drafting, Expand, Go, Grown, Judge, TokenTree, TreeShape
from laconic.speculation.shape.slots import MOST, Slots

_TINY = 1e-300
"""Path probabilities below this would make waiting times infinite, and their differences no number."""


@dataclass(frozen=True, slots=True)
class Beam:
    """A path that is kept at the newest level."""

    node: int
    path: float
    """Probability of its tokens."""
    time: float
    """When it came; -log of this is its perturbed log-probability."""


@knobs
class StochasticBeam(TreeShape):
    """Keep the ``width`` best paths of each level, ranked by perturbed log-probabilities: drawn without replacement.

    Source: RSD-S, on the stochastic beam search of Kool et al. (2019). Said with arrival times in place of Gumbel
    numbers: every path of a length waits for a time of its own, exponential with the path's probability as rate, and
    the beam holds the first ``width`` to come. A path comes when the first of its continuations does, so the time of
    the parent is passed down and continuation y comes ``(w_y - min w) / path`` later, w the waits in the parent's row:
    the papers' Gumbels conditioned on their maximum, which exponentials, having no memory, make a difference.

    Below every node siblings stand in the order in which they came, which is that of draws without replacement; how
    many of them came in time tells how long the waits were, and that is independent of which tokens came. So
    recursive rejection (``speculative-sampling``) is exact. Greedy, under ``match``, with drafters that know no
    distribution, and for verifiers that want independent draws, it is the plain beam search over likeliest paths.
    """

    card = Card(
        paper="Recursive Speculative Decoding (RSD-S); Stochastic Beams and Where to Find Them",
        lossless=True,
        catalogue=(13,),
        arxiv="2402.14160",
    )
    needs = Needs(expand=True)

    width: Annotated[int, Field(ge=1)] = 4
    """Paths kept at each level."""
    depth: Annotated[int, Field(ge=1)] = 6
    """Levels at most, one draft pass each."""

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Add levels of ``width`` tokens up to ``budget``; ``judge`` is asked about each token of the beam."""
        budget = min(budget, MOST)
        # A path comes once: there is no such order for independent draws.
        drafting = Drafting.FORESEE if context.drafting is Drafting.REPEAT else context.drafting
        drawn_from: list[torch.Tensor] = []
        beams = [Beam(-1, 1.0, 0.0)]
        for _ in range(self.depth):
            if not beams or len(nodes.tokens) >= budget:
                break
            parents, beams = beams, []
            rows = yield [beam.node for beam in parents]
            below = [Slots(row, beam.node, nodes, context, self.width, drafting)
                     for beam, row in zip(parents, rows, strict=True)]  # fmt: skip
            width = min(self.width, budget - len(nodes.tokens))
            stopped: set[int] = set()
            for time, which in _first(parents, below, width):
                slots, beam = below[which], parents[which]
                if which in stopped:
                    continue
                go = slots.ask(judge, nodes.below(beam.node), beam.path)
                if go is Go.STOP:
                    stopped.add(which)
                    continue
                token, share = slots.take()
                node = nodes.add(token, beam.node)
                if slots.probs is not None:
                    drawn_from.append(slots.probs)
                if go is Go.ON and token not in context.ends:
                    beams.append(Beam(node, beam.path * share, time))
        return TokenTree(nodes.tokens, nodes.parents, drawn_from or None)


def _first(parents: list[Beam], below: list[Slots], width: int) -> list[tuple[float, int]]:
    """``(time, index of the parent)`` of the ``width`` continuations that come first, a parent's own in order."""
    coming = [
        (time, i) for i, (beam, slots) in enumerate(zip(parents, below, strict=True)) for time in _times(beam, slots)
    ]
    return sorted(coming)[:width]


def _times(beam: Beam, slots: Slots) -> list[float]:
    """When the continuations of a path come; where nothing is drawn, in the order of their probabilities."""
    if slots.probs is None:
        return [-beam.path * share for _, share in slots.known]
    return [beam.time + wait / max(beam.path, _TINY) for wait in slots.waits]
