"""Speculative reward model: a cheap judge ranks the next steps, and a dear one looks only at those it puts first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from laconic.judges.base import Judge
from laconic.policy import Card, knobs
from laconic.scaling.base import Acts, Attempt, Board
from laconic.scaling.search.base import Judged, evenly, spread


@knobs
class SRM(Judged):
    """Beam search whose judge is cheap; a second one has to agree that a thought is worth going on with.

    Source: Speculative Reward Model Boosts Decision Making Ability of LLMs Cost-Effectively (Gu et al. 2025): an
    external reward assigner proposes actions in its order, and the model's own evaluation is asked only to verify them;
    where the two orders differ, a choice is pruned. Here those are verified one after the other, the cheap judge's
    first first, until as many stand as are to be kept: one stands if the dear judge gives it ``agrees`` or more. If too
    few do, the highest of the dear judge's scores fill up.
    """

    card = Card(paper="Speculative Reward Model", lossless=False, catalogue=(78,))
    parts: ClassVar = {"judge": "judge", "check": "judge"}

    check: pydantic.InstanceOf[Judge]
    """The dear judge, e.g. [digit]."""
    width: Annotated[int, Field(ge=1)] = 4
    """Into how many each that is kept parts."""
    agrees: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Score of the dear judge at which a thought stands."""

    def advance(self, state: Any, board: Board, waiting: Sequence[Attempt]) -> Acts:
        """Those that both find good go on."""
        room = max(board.most - len(board.done), 1)
        wanted = min(math.ceil(room / self.width), len(waiting))
        stand: list[Attempt] = []
        refused: list[Attempt] = []
        for attempt in self.best(board, waiting):
            (stand if board.score(self.check, attempt) >= self.agrees else refused).append(attempt)
            if len(stand) == wanted:
                break
        refused.sort(key=lambda a: -board.score(self.check, a))
        return spread(waiting, evenly((stand + refused)[:wanted], room))
