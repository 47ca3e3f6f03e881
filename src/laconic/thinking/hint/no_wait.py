"""Forbid the words with which a thought begins to doubt itself."""

from __future__ import annotations

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Ban, Continue, Controller, View
from laconic.thinking.hint.cues import Cues, Words, cues_of
from laconic.types import Request

_REFLECTION = (
    "wait", "alternatively", "hmm", "but", "however", "alternative", "another", "check", "double-check", "oh", "maybe",
    "verify", "other", "again", "now", "ah", "any",
)  # fmt: skip


@knobs
class NoWait(Controller):
    """While the model thinks, it cannot write words of reflection: "wait", "hmm", "alternatively", ...

    The paper bans every token that contains such a word, but for those that a person takes off the list again. Here a
    token is banned where it would complete the very word, whatever its case and the marks around it, and nowhere
    else. So words of several tokens are covered too, and no other word is lost ("distri-but-ion"); the price is that
    a model may be left with the beginning of one. The answer may use the words. Models that learned
    to reason by distillation are known to suffer from this more than others.
    """

    card = Card(
        paper="Wait, We Don't Need to 'Wait'! Removing Thinking Tokens Improves Reasoning Efficiency (NoWait)",
        arxiv="2506.08343",
        lossless=False,
    )
    needs = Needs(thinking=True)

    words: Words = _REFLECTION
    """Words and phrases that must not be written, in any case: wait/hmm/let me check. The paper's, for QwQ."""

    def start(self, request: Request, text: Text) -> Cues:
        """Where the words are in the vocabulary. Raises RequestError if none is."""
        return cues_of(self, text, self.words)

    def rule(self, state: Cues) -> Ban:
        """No probability for tokens that complete one of the words inside the thought."""
        return Ban(lambda place: state.completing(place.tokens) if place.phase == "thinking" else ())

    def decide(self, state: Cues, view: View) -> Action:
        """The rule does it all."""
        return Continue()
