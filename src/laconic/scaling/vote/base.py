"""What votes share: attempts in waves, a weight for each vote, and a reason to stop before all have voted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any

from pydantic import Field

from laconic.policy import knobs
from laconic.scaling.base import Acts, Attempt, Board, Candidate, Scaling
from laconic.scaling.groups import grouped


@knobs
class Vote(Scaling):
    """Every attempt that has ended votes for its answer; the answer with the heaviest votes stands."""

    _: KW_ONLY
    abreast: Annotated[int, Field(ge=0)] = 0
    """Attempts at most that are under way at once; 0 leaves it to the method."""

    def at_once(self, board: Board) -> int:
        """Attempts under way at once where ``abreast`` does not say: all of them."""
        return board.most

    def voters(self, state: Any, board: Board) -> Sequence[Attempt]:
        """Those whose vote counts, in the order in which they ended."""
        return board.done

    def weight(self, state: Any, board: Board, attempt: Attempt) -> float:
        """What a vote counts."""
        return 1.0

    def enough(self, state: Any, board: Board) -> str:
        """Why no more attempts are needed; empty while they are. Asked each time one has ended."""
        return ""

    def acts(self, state: Any, board: Board) -> Acts:
        """Keep as many under way as there may be, until it is enough."""
        reason = self.enough(state, board) if board.done else ""
        room = (self.abreast or self.at_once(board)) - len(board.running)
        return Acts(start=max(room, 0), enough=reason)

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """The answers by weight; of equal ones that of the shortest thought first."""
        return grouped((a, a.answer, self.weight(state, board, a)) for a in self.voters(state, board))


def counts(board: Board) -> list[int]:
    """Votes for every answer so far, the most first."""
    return sorted((len(group.numbers) for group in grouped((a, a.answer, 1.0) for a in board.done)), reverse=True)


def log_probability(attempt: Attempt) -> float:
    """Natural logarithm of the probability of all that an attempt wrote, before temperature and filters."""
    return sum(math.log(max(chance, 1e-30)) for chance in attempt.chances)
