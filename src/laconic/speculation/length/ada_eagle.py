"""Draft as many tokens as a trained head expects to be accepted."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field

from laconic.errors import UnmetNeed
from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Go, Latest, LengthPolicy, Node
from laconic.speculation.heads import Trained, load, train
from laconic.speculation.pace import Pace


@knobs
class AdaEAGLE(LengthPolicy):
    """Draft as many tokens as a trained head expects to be accepted, decided before the first one.

    Source: "AdaEAGLE: Optimizing Speculative Decoding via Explicit Modeling of Adaptive Draft Structures", whose light
    draft length predictor, a perceptron of three layers on the target's last hidden state and an embedding, is trained
    to predict the number of accepted tokens. Here the embedding is that of the last committed token and the state that
    of the token before it, which is the newest state there is: the last token has been drawn from it and not been read
    yet. Any drafter may draft; the head was trained on what a draft model has guessed (``laconic fit ada-eagle``).

    With a ``threshold`` a draft also ends at the first token in which the drafter has less confidence, the combination
    that the paper reports as its fastest. Before the first pass, and after a controller wrote or took back text, there
    is no state to go by; then the mean length seen in training is drafted.
    """

    card = Card(paper="AdaEAGLE", lossless=True, catalogue=(115,), arxiv="2412.18910")
    needs = Needs(target_hidden=True)
    hints = {"head": train("ada-eagle")}  # noqa: RUF012

    files = frozenset({"head"})

    head: str
    """Folder that ``laconic fit ada-eagle`` wrote."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Least confidence of the drafter in a token that is drafted; 0 goes by the prediction alone."""
    minimum: Annotated[int, Field(ge=0)] = 1
    """Fewest tokens drafted; with 0, rounds in which nothing is expected to be accepted decode plainly."""
    maximum: Annotated[int, Field(ge=1)] = 20
    """Most tokens drafted."""

    @cached_property
    def _trained(self) -> Trained:
        return load(self.head, "ada-eagle")

    @property
    def judges(self) -> bool:
        """Whether there is a threshold."""
        return self.threshold > 0

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the head was trained on this target."""
        self._trained.suits("ada-eagle", target)

    def start(self, context: Context, pace: Pace) -> Latest:
        """The target's latest state, kept up by the loop. Raises UnmetNeed where nobody does."""
        if context.latest is None:
            raise UnmetNeed("'ada-eagle' looks at the target's hidden states, which are not known here.")
        return context.latest

    def budget(self, state: Latest) -> int:
        """The prediction, rounded, within ``minimum`` and ``maximum``."""
        if state.hidden is None or state.embedding is None:
            expected = self._trained.about.mean
        else:
            expected = self.predict(state.hidden, state.embedding)
        return min(max(round(expected), self.minimum), self.maximum)

    def go_on(self, state: Latest, node: Node) -> Go:
        """Whether the drafter's confidence reaches the threshold."""
        return Go.ON if node.confidence >= self.threshold else Go.STOP

    def predict(self, hidden: torch.Tensor, embedding: torch.Tensor) -> float:
        """Draft tokens expected to be accepted, from the target's state and the embedding of the token after it."""
        return self._trained(torch.cat([hidden.float(), embedding.float()]))
