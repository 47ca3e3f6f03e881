"""Draft after draft, each from notes on the one before."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.memory.refine import Refinement


@knobs
class SequentialRefine(Refinement):
    """Answer, note what matters of it, answer again from the notes, and so on for some rounds.

    This is PDR with a single draft in every round: the same text-only operator at the least number of tokens in all.
    With ``merge=tail`` the notes are the end of the draft itself, as in Self-Refine without its feedback step.
    """

    card = Card(
        paper="Rethinking Thinking Tokens: LLMs as Improvement Operators (Sequential Refinement)",
        catalogue=(14,),
        lossless=False,
    )

    rounds: Annotated[int, Field(ge=2)] = 3
    """Drafts in all, the last of which answers."""

    segment: Annotated[int, Field(ge=1)] = 512
    """Most tokens of a draft, its answer included."""
    workspace: Annotated[int, Field(ge=1)] = 128
    """Most tokens of the notes that one draft leaves to the next."""
