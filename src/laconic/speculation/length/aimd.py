"""Draft more after success, less after a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy, Verdict
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Length:
    """State of one request: the ``tokens`` to draft next."""

    tokens: int


@knobs
class AIMD(LengthPolicy):
    """Add ``increase`` when nothing below the accepted path was refused, else subtract ``decrease``.

    Source: the "heuristic" schedule of assisted generation in Transformers (+2 / -1, Gante 2023). The name is that
    of the family; both steps are additive here, as there. For a tree "nothing refused" means that the accepted path
    ends at a leaf; for a chain, that every token was accepted.
    """

    card = Card(paper="Assisted generation, heuristic schedule (Transformers, Gante 2023)", lossless=True)

    start_tokens: Annotated[int, Field(ge=1)] = 5
    """Tokens drafted in the first round."""
    increase: Annotated[int, Field(ge=0)] = 2
    """Tokens added after full acceptance."""
    decrease: Annotated[int, Field(ge=0)] = 1
    """Tokens subtracted after a refusal."""
    minimum: Annotated[int, Field(ge=1)] = 1
    """Fewest tokens drafted."""
    maximum: Annotated[int, Field(ge=1)] = 16
    """Most tokens drafted."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> AIMD:
        if not self.minimum <= self.start_tokens <= self.maximum:
            raise ValueError("minimum <= start_tokens <= maximum must hold")
        return self

    def start(self, context: Context, pace: Pace) -> Length:
        """Begin with ``start_tokens``."""
        return Length(self.start_tokens)

    def budget(self, state: Length) -> int:
        """The adapted length."""
        return state.tokens

    def observe(self, state: Length, verdict: Verdict, seconds: float) -> None:
        """One step up or down."""
        tip = verdict.path[-1] if verdict.path else -1
        step = -self.decrease if tip in verdict.tree.parents else self.increase
        state.tokens = min(max(state.tokens + step, self.minimum), self.maximum)
