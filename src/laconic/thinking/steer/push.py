"""What steering controllers share: vectors are added while the model writes, and nothing else is done."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Continue, Controller, View
from laconic.types import Request


@knobs
class Pushing(Controller):
    """Adds vectors to the residual stream; see Controller.steering."""

    needs = Needs(steerable=True)

    def start(self, request: Request, text: Text) -> None:
        """Nothing to remember."""
        return

    def decide(self, state: None, view: View) -> Action:
        """The push is all."""
        return Continue()


@knobs
class Push(Pushing):
    """Adds these vectors as they are: for measurements, and for whoever brings a direction of their own."""

    card = Card(paper="given vectors", lossless=False)
    name = "push"

    vectors: dict[int, torch.Tensor]
    """``[hidden]`` each, by layer."""

    def steering(self, state: None) -> Mapping[int, torch.Tensor]:
        """The vectors."""
        return self.vectors
