"""Stop thinking once the model is about to stop by itself."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.base import Belief, Watched
from laconic.thinking.exit.probed import Asked, QuietExit
from laconic.types import Request


@knobs
class ClosingRank(QuietExit):
    """At the end of a step, see how near the closing tag is to being the next token; stop when it is near enough.

    Near is: among the ``rank`` likeliest tokens at each of the last ``patience`` looks, or once as probable as
    ``prob``. A look is one token long and closes nothing. A tag of several tokens is judged by its first alone, which
    other words may share. Models mostly close right after a sentence and not after a blank line; ``text`` then sets the
    place (``\\n``, or a word of conclusion). The default rank is for the bundled model, with 640 tokens in all, and was
    chosen on its thoughts; a model of another vocabulary needs its own. That the tag's rank can serve as a sign is
    common knowledge of the field; which rank, how often in a row and where to look are laconic's own choice.
    """

    card = Card(paper="laconic's own (rank of the closing tag)", lossless=False)

    rank: Annotated[int, Field(ge=0)] = 32
    """Stop when the tag is among so many likeliest tokens; 0 goes by the probability alone."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Looks in a row at which it must be."""
    prob: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Stop at once when the tag is at least as probable."""
    _: KW_ONLY
    text: str = ""
    """What is added to the thought, in the probe alone, before the tag is looked for; ``\\n`` ends a line."""

    def begun(self) -> str:
        """The text, ends of lines put in: a spec's values lose white space at their ends."""
        return self.text.replace("\\n", "\n")

    def start(self, request: Request, text: Text) -> Asked:
        """Look out for the model's own closing tag."""
        return Asked(next=self.tokens or None, watch=text.format.closes)

    def settled(self, asked: Asked) -> str | None:
        """Compare the last looks with rank and probability."""
        found = [_seen(look.belief) for look in asked.looks[-self.patience :]]
        last = found[-1]
        if last.prob >= self.prob:
            return f"the closing tag has probability {last.prob:.3g}"
        if len(found) < self.patience or any(seen.rank >= self.rank for seen in found):
            return None
        return f"the closing tag is number {last.rank + 1} of all tokens"


def _seen(belief: Belief) -> Watched:
    assert belief.watched is not None, "the probe has a word to watch"
    return belief.watched
