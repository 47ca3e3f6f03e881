"""Forbid the words with which a thought begins to doubt itself."""

from __future__ import annotations

import math

import torch

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Continue, Controller, LogitRule, Place, View
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

    def rule(self, state: Cues) -> LogitRule:
        """No probability for tokens that complete one of the words inside the thought."""

        def rule(logits: torch.Tensor, place: Place) -> torch.Tensor | None:
            if place.phase != "thinking":
                return None
            banned = state.completing(place.tokens)
            return logits.index_fill(0, banned.to(logits.device), -math.inf) if len(banned) else None

        return rule

    def decide(self, state: Cues, view: View) -> Action:
        """The rule does it all."""
        return Continue()
