"""Which layers to leave out is worked out anew as the text goes on, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.models.base import ScoreTree
from laconic.models.partial import LayerPlan
from laconic.policy import Card, knobs
from laconic.speculation.base import Judge, TokenTree
from laconic.speculation.drafters.itself.drafter import Own, SelfDrafter


@dataclass(slots=True)
class Chosen:
    """The plan of a request (None: there is nothing to leave out) and the length of its text when it was made."""

    plan: LayerPlan | None
    at: int


class Skips:
    """Dynamic programming over the layers of one pass (the paper's algorithm 1).

    Row j of the pass is a stream that has left out j layers; row 0 has left out none, so it is the truth. Behind each
    layer, row j is what this layer has made of row j, or what row j - 1 was before it, whichever is closer to the truth
    by its cosine. ``layers`` of them, of which the first and the last always run, and ``most`` may be left out.
    """

    def __init__(self, layers: int, most: int) -> None:
        self._layers, self._most = layers, most
        self._before = torch.empty(0)
        self._left: list[Tensor] = []
        """Of each layer but the first, ``[most + 1]``: whether row j has left it out."""

    def after(self, layer: int, x: Tensor) -> Tensor:
        """``x [most + 1, hidden]`` behind a layer; what goes on in its place."""
        if layer == 0:
            self._before = x.clone()
            return x
        truth = x[:1].float()
        ran = torch.cosine_similarity(x.float(), truth)
        left = torch.cosine_similarity(self._before.float(), truth).roll(1)  # of j - 1 before it
        reachable = torch.arange(self._most + 1)
        # Row j exists once j layers could have been left out; where the layer must be left out for it, it is.
        must, may = reachable >= layer, (reachable > 0) & (reachable <= layer)
        if layer == self._layers - 1:
            must = may = torch.zeros_like(may)
        skip = may & (must | (left > ran))
        self._left.append(skip.clone())
        x = torch.where(skip[:, None].to(x.device), self._before.roll(1, 0), x)
        self._before = x.clone()
        return x

    def plan(self, row: int) -> LayerPlan:
        """The layers that row ``row`` has left out at the end."""
        gone = []
        for layer in range(self._layers - 1, 0, -1):
            if row and bool(self._left[layer - 1][row]):
                gone.append(layer)
                row -= 1
        return LayerPlan.without(gone)


@knobs
class Clasp(SelfDrafter):
    """Draft without the ``skip`` layers that change the state of the last token least, found by dynamic programming.

    Every ``every`` tokens one more pass puts streams that have left out no, one, two ... layers side by side through
    all layers, and keeps behind each the better way to have left out so many: the one whose state is closest to the
    truth by its cosine. No training and no search; the pass costs what scoring ``skip`` + 1 tokens costs, less the
    output head. Layers are left out whole.
    """

    card = Card(
        paper="CLaSp: In-Context Layer Skip for Self-Speculative Decoding",
        catalogue=(58,),
        lossless=True,
        arxiv="2505.24196",
    )

    skip: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of the layers that is left out."""
    every: Annotated[int, Field(ge=1)] = 32
    """Tokens of text after which the layers are chosen anew."""
    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""

    def plan(self, state: Own) -> LayerPlan | None:
        """What was chosen last."""
        return state.learned.plan if state.learned else None

    @torch.inference_mode()
    def propose(self, states: Sequence[Own], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """Choose layers for the requests that have written enough since; then draft."""
        for state in states:
            length = state.slot.length
            if length and (state.learned is None or not 0 <= length - state.learned.at < self.every):
                state.learned = Chosen(self._choose(state), length)
        return super().propose(states, budgets, judges)

    def _choose(self, state: Own) -> LayerPlan | None:
        """One pass over the last token that the target has read, once for each number of layers to leave out."""
        target, slot = state.target, state.slot
        layers = target.num_layers
        most = min(max(1, round(self.skip * layers)), max(layers - 2, 1))
        skips, at = Skips(layers, most), slot.length - 1
        tree = ScoreTree([state.context.tokens[at]] * (most + 1), [-1] * (most + 1), [at] * (most + 1))

        def touch(layer: int) -> Callable[[Tensor], Tensor]:
            return lambda x: skips.after(layer, x)

        target.through(slot, tree, {layer: touch(layer) for layer in range(layers)})
        found = skips.plan(most)
        return found if found.gone else None
