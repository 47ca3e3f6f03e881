"""Think in short segments, with notes in place of the past."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.policy import Card, knobs
from laconic.thinking.memory.iterate import IterReasoner
from laconic.thinking.memory.workspace import Draft


@knobs
class InftyThink(IterReasoner):
    """Think a segment, sum it up, forget it, and go on from the question and the summary alone.

    The text that the model has before it is a saw-tooth of bounded height however long it thinks in all. It ends with
    the segment that answers; when the rounds or the tokens run out, the model answers from its notes without thinking.
    A segment that had already begun its answer when it was cut is asked for the answer alone.

    Differences: InftyThink trains its model to write segments and summaries in one format, here any model is asked in
    words. ``merge=tail`` asks nobody and keeps the last whole sentences of the segment; with ``place=thought`` that is
    the carry-over of Delethink (arXiv 2510.06557), which keeps the last tokens as they are.
    """

    card = Card(
        paper="InftyThink: Breaking the Length Limits of Long-Context Reasoning in Large Language Models",
        catalogue=(138,),
        lossless=False,
    )

    def done(self, round: int, drafts: Sequence[Draft]) -> bool:
        """A segment that ends with an answer has answered."""
        return drafts[0].whole

    def enough(self, drafts: Sequence[Draft]) -> bool:
        """A thought that ended where its answer no longer fitted."""
        return drafts[0].concluded
