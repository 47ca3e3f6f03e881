"""What rounds of refinement share: drafts, notes on them, and a last round that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from laconic.policy import knobs
from laconic.thinking.memory import words
from laconic.thinking.memory.iterate import IterReasoner
from laconic.thinking.memory.workspace import Draft


@knobs
class Refinement(IterReasoner):
    """Rounds that all run to their end; the last one has a single draft, which is the answer."""

    kind: ClassVar[str] = "draft"
    go_on: ClassVar[str] = words.REFINE
    summarise: ClassVar[str] = words.DISTIL

    segment: Annotated[int, Field(ge=1)] = 640
    """Most tokens of a draft, its answer included."""
    rounds: Annotated[int, Field(ge=2)] = 2
    """Rounds, the last of which answers."""
    workspace: Annotated[int, Field(ge=1)] = 256
    """Most tokens of the notes that one round leaves to the next."""
    merge: Literal["summary", "answers", "tail"] = "summary"
    """Who writes the notes: the model when asked to (summary), or nobody: answers with their counts and the shortest
    conclusion (answers), the end of the shortest draft (tail)."""

    def done(self, round: int, drafts: Sequence[Draft]) -> bool:
        """The last round's draft is the answer, if it has one."""
        return round == self.rounds - 1 and drafts[0].whole
