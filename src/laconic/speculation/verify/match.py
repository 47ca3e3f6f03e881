"""Draw the target's own token; a draft stands where it guessed that token."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.speculation.base import Drafting
from laconic.speculation.verify.coupling import Coupling, ScoredDraft, Stretch


@knobs
class Match(Coupling):
    """Take the target's token at each node (its argmax when greedy, else a draw) and descend while it was drafted.

    Source: greedy verification of Stern et al. (2018) and, for draws, SpecInfer's naive sampling and SpecExec; draws
    coupled through shared noise as in Daliri et al. (2024). The target's token at position t is a function of its row
    and of the random numbers of position t, exactly as in plain decoding; the draft only decides how many of these
    tokens one pass yields. So it is exact for any draft at any temperature, and with the same seed it gives the very
    text of plain decoding, however long the drafts were. A drafter that samples does so with the target's own numbers
    and agrees with probability at least (1 - TV) / (1 + TV), TV the total variation distance of draft and target.
    Speculative sampling reaches 1 - TV and gives up the text of plain decoding for it.
    """

    card = Card(
        paper="Blockwise Parallel Decoding; SpecExec; Coupling without Communication and Drafter-Invariant Decoding",
        lossless=True,
        catalogue=(114,),
        arxiv="1811.03115",
    )

    @property
    def drafting(self) -> Drafting:
        """Any draft will do, so the best is a guess at the very draw that will be made."""
        return Drafting.FORESEE

    def follow(self, draft: ScoredDraft, start: int, position: int) -> Stretch:
        """As with drafts that were not drawn: where they come from makes no difference."""
        return self.agree(draft, start, position)
