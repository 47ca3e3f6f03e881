"""What layers of a model put out along the texts that it writes, taken while it writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Judge, TokenTree, Tools

Found = Callable[[tuple[int, ...], Tensor, int], None]
"""Told of a text that has ended: its tokens, ``[tokens - 1, layers, width]`` at all but the last, and how many of the
tokens are its prompt."""


@knobs
class Recorder(Drafter):
    """Drafts nothing and reads along: a run that writes texts keeps the features that a head is trained on.

    So they cost no pass of their own.
    """

    card = Card(paper="laconic's own", lossless=True)
    needs = Needs(target_layers=True)
    name = "recorder"

    layers: tuple[int, ...] = ()
    """Layers whose outputs are taken, from 0."""
    found: Found | None = None
    """Who is told."""

    def reads_layers(self, layers: int) -> Sequence[int]:
        """Those that are taken."""
        return self.layers

    def start(self, context: Context, tools: Tools) -> Context:
        """The request's context is all there is to remember."""
        return context

    def propose(
        self, states: Sequence[Context], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Nothing."""
        return [EMPTY] * len(states)

    def finish(self, state: Context) -> None:
        """Take what was put out along the whole text. A last pass may have ended before the text's last tokens."""
        outputs = state.outputs(0, self.layers) if state.outputs is not None else None
        if outputs is not None and self.found is not None and len(outputs):
            self.found(tuple(state.tokens[: len(outputs) + 1]), outputs.clone(), state.prompt_length)
