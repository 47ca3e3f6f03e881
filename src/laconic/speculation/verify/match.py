"""Draw the target's own token; a draft stands where it guessed that token."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.speculation.base import TargetRows, TokenTree, Verdict, Verifier
from laconic.speculation.draws import Draws
from laconic.speculation.verify.descend import descend


@knobs
class Match(Verifier):
    """Take the target's token at each node (its argmax when greedy, else a draw) and descend while it was drafted.

    Source: greedy verification of Stern et al. (2018) and, for draws, SpecInfer's naive sampling and SpecExec. The
    target's token at position t is a function of its row and of uniform t of stream TOKEN, exactly as in plain
    decoding; the draft only decides how many of these tokens one pass yields. So it is exact for any draft at any
    temperature, and with the same seed it gives the very text of plain decoding.
    """

    card = Card(paper="Blockwise Parallel Decoding; SpecExec", lossless=True, catalogue=(114,), arxiv="1811.03115")

    def verify(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
        """The longest drafted path that the target itself takes, and the target's token after it."""
        return descend(rows, tree, draws)
