"""Early-stopping self-consistency: sample in small windows, and stop at the first that is of one mind."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Board
from laconic.scaling.groups import grouped
from laconic.scaling.vote.base import Vote


@knobs
class ESC(Vote):
    """A window of attempts at a time; it stops after the first window in which all answers are the same.

    Source: Escape Sky-high Cost: Early-stopping Self-Consistency for Multi-step Reasoning (Li et al. 2024, algorithm
    1). Otherwise all attempts vote. A window is started when the one before has ended.
    """

    card = Card(paper="Escape Sky-high Cost: Early-stopping Self-Consistency", lossless=False, arxiv="2401.10480")

    window: Annotated[int, Field(ge=1)] = 4
    """Attempts in a window; the authors use 4 to 8."""

    def acts(self, state: Any, board: Board) -> Acts:
        """The next window, once the last has ended without agreement."""
        if board.running:
            room = self.abreast - len(board.running) if self.abreast else 0
            unopened = -len(board.attempts) % self.window if self.abreast else 0
            return Acts(start=max(min(room, unopened), 0))
        at = len(board.attempts) - self.window
        if at >= 0 and len(board.attempts) % self.window == 0:
            last = [a for a in board.attempts[at:] if a.state == "done"]
            groups = grouped((a, a.answer, 1.0) for a in last)
            if len(groups) == 1 and len(groups[0].numbers) == self.window:
                return Acts(enough=f"all {self.window} answers of a window are the same")
        return Acts(start=min(self.window, self.abreast or self.window, board.left))
