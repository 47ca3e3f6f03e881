"""short-m@k: start all, stop when the first few have thought to their ends."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from laconic.errors import RequestError
from laconic.policy import Card, knobs
from laconic.scaling.base import Board
from laconic.scaling.vote.base import Vote


@knobs
class Short(Vote):
    """All attempts at once; the first ``m`` to end vote, and all others are stopped then.

    Source: Don't Overthink it. Preferring Shorter Thinking Chains for Improved LLM Reasoning (Hassid et al. 2025). Of
    equal answers that of the shortest thought stands. Attempts under way at once take turns token by token, so that
    the first to end is the shortest, but for drafts: an attempt that is easier to draft for is sooner done.
    """

    card = Card(paper="Don't Overthink it (short-m@k)", lossless=False, catalogue=(273,))

    m: Annotated[int, Field(ge=1)] = 3
    """Attempts that vote; the authors use 1 and 3."""

    def start(self, board: Board) -> None:
        """Refuse what could never be reached."""
        if self.m > board.most > 1:
            raise RequestError(
                f"'{self.name}' waits for {self.m} attempts, and there are {board.most} at most.",
                "Lower its knob m, or allow more attempts.",
            )

    def enough(self, state: Any, board: Board) -> str:
        """Where ``m`` have ended."""
        return f"{self.m} attempts have ended" if len(board.done) >= self.m else ""
