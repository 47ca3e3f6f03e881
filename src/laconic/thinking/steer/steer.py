"""Push the residual stream along a direction in which thoughts grow shorter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field

from laconic.errors import InvalidKnob
from laconic.policy import Card, knobs
from laconic.thinking.steer.direction import FIT, Direction, load
from laconic.thinking.steer.push import Pushing
from laconic.types import Question


@knobs
class Steer(Pushing):
    """Add a vector to the residual stream behind one layer at every token that is written: thoughts grow shorter.

    The vector is the mean difference of hidden states between short and long thoughts, as in Efficiency Steering (the
    model's own shortest right answers against its longer ones; "Exploring and Exploiting the Inherent Efficiency
    within Large Reasoning Models") and ASC (concise against verbose wordings; "Activation Steering for Chain-of-Thought
    Compression"): one hook, other pairs. ``laconic fit steer`` makes it, and settles its sign by measuring lengths, so
    that a positive strength means shorter whatever the pairs were called; a negative one makes thoughts longer.

    Strength is given as a share of the residual stream's mean length at that layer, or by what it does: ``kl`` bounds
    the mean divergence of the next token from the model's own, in nats, on held-out texts. ASC derives such a bound in
    closed form; here divergences were measured at several strengths when the direction was fitted, and the strength is
    read off between them. Without either, the strength is that at which the fit compared layers. ``control`` pushes as
    hard in a random direction, which tells how much of an effect is the direction's.
    """

    card = Card(paper="Activation-Steered Compression (ASC); Efficiency Steering", lossless=False, catalogue=(182, 271))
    hints = {"direction": FIT}  # noqa: RUF012

    files = frozenset({"direction"})

    direction: str
    """Folder that ``laconic fit steer`` wrote."""
    _: KW_ONLY
    strength: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Length of the push as a share of the residual stream's; negative for longer thoughts."""
    kl: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Push as hard as makes this divergence from the model's own next token, in nats, on average."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Layer behind which to push; none for the one that the fit chose."""
    control: bool = False
    """A random direction in place of the fitted one, of the same length."""
    seed: int = 0
    """Which random direction."""

    @cached_property
    def _fitted(self) -> Direction:
        return load(self.direction)

    @cached_property
    def push(self) -> tuple[int, float, torch.Tensor]:
        """Layer, strength, and the vector ``[hidden]`` that is added. Raises InvalidKnob for what cannot be."""
        known = self._fitted.about.of(self.layer)
        if self.strength is not None and self.kl is not None:
            raise InvalidKnob(f"'{self.name}' is given both a strength and a divergence.", "Give one of them.")
        limit = self._fitted.about.limit if self.kl is None else self.kl
        strength = known.strength(limit) if self.strength is None else self.strength
        unit = self._fitted.control(known.layer, self.seed) if self.control else self._fitted.vectors[known.layer]
        return known.layer, strength, strength * known.norm * unit

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise DirectionError unless the direction was fitted on this target, InvalidKnob for a push not to be had."""
        self._fitted.suits(target)
        assert self.push

    def prepare(self, question: Question) -> Question:
        """The question as it is; the push is told of among the events."""
        layer, strength, _ = self.push
        kind = "a random direction" if self.control else "the direction"
        return question.noting(self.name, "prepare", f"pushed by {strength:.3g} along {kind} behind layer {layer}")

    def steering(self, state: None) -> Mapping[int, torch.Tensor]:
        """One vector."""
        layer, strength, vector = self.push
        return {layer: vector} if strength else {}
