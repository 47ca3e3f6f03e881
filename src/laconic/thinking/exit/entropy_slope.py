"""Stop thinking once the answer's entropy has come down and falls no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Belief
from laconic.thinking.exit.probed import Asked, ProbedExit


@knobs
class EntropySlope(ProbedExit):
    """At the end of a step, ask what the answer would be; stop when its entropy is low and has stopped falling.

    The paper shows that the entropy of the answer, given the thought so far, falls step by step in thoughts that end
    right and stays flat or rises in those that end wrong. It has no rule to stop by; this one is laconic's. A line is
    fitted by least squares to the entropy at the last ``window`` looks. It **falls** where its slope is at most
    ``-slope`` a look. The thought ends where the entropy is at most ``low`` and does not fall: all that was to be won
    is won. With ``give_up`` it also ends where the entropy is higher and has not fallen at so many looks in a row:
    thinking does not help. The paper scores the answer under a second model; here the model scores its own.
    """

    card = Card(
        paper="Measuring Reasoning Utility in LLMs via Conditional Entropy Reduction", catalogue=(41,), lossless=False
    )

    low: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """Entropy in nats, as ``aggregate`` says, up to which an answer counts as sure."""
    slope: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    """Nats a look; a line that falls by less counts as flat."""
    window: Annotated[int, Field(ge=2)] = 2
    """Looks that the line is fitted to, and before the first decision."""
    give_up: Annotated[int, Field(ge=0)] = 0
    """Looks in a row without a fall after which an unsure thought is ended too; 0 for never."""
    aggregate: Literal["mean", "sum"] = "mean"
    """Entropy of an answer from that of its tokens and of the one that ends it."""

    def settled(self, asked: Asked) -> str | None:
        """Look at level and slope at the last look, and at the slopes before it."""
        values = [self._entropy(look.belief) for look in asked.looks]
        if len(values) < self.window:
            return None
        rising = steepness(values[-self.window :])
        if rising <= -self.slope:
            return None
        if asked.looks[-1].belief.complete and values[-1] <= self.low:
            return f"the answer's entropy is {values[-1]:.2g} and changes by {rising:+.2g} a look"
        if self.give_up and self._flat(values):
            return f"the answer's entropy is {values[-1]:.2g} and has not fallen at {self.give_up} looks"
        return None

    def _flat(self, values: Sequence[float]) -> bool:
        """Whether the line did not fall at any of the last ``give_up`` looks."""
        ends = range(len(values) - self.give_up + 1, len(values) + 1)
        return ends[0] >= self.window and all(steepness(values[end - self.window : end]) > -self.slope for end in ends)

    def _entropy(self, belief: Belief) -> float:
        total = sum(belief.entropies)
        return total / len(belief.entropies) if self.aggregate == "mean" else total


def steepness(values: Sequence[float]) -> float:
    """Slope of the least-squares line through ``values`` at 0, 1, 2, ...; needs two.

    >>> steepness([3.0, 1.0]), steepness([1.0, 0.0, 2.0])
    (-2.0, 0.5)
    """
    middle = (len(values) - 1) / 2
    spread = sum((at - middle) ** 2 for at in range(len(values)))
    return sum((at - middle) * value for at, value in enumerate(values)) / spread
