"""Put a word of confidence where the model is about to doubt a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Continue, Controller, Inject, Probe, View
from laconic.thinking.hint.cues import Words, begins_with
from laconic.types import Request


def _phrases(given: object) -> object:
    return tuple(part.strip() for part in given.split("/")) if isinstance(given, str) else given


_CONFIDENCE = ("I am sure of this step.", "This is right so far.", "This is clear.")
_DOUBT = (
    "wait", "hmm", "but", "however", "alternatively", "maybe", "let me check", "let me verify", "let me double-check",
    "let me recheck", "double-check", "just to be safe", "one more check",
)  # fmt: skip
_Phrase = Annotated[str, Field(min_length=1)]
Phrases = Annotated[tuple[_Phrase, ...], BeforeValidator(_phrases), Field(min_length=1)]


@dataclass(slots=True)
class Confidence:
    """State of one request: tokens of the longest cue, of each phrase, what is left, and the phrases written so far."""

    look: int
    lengths: tuple[int, ...]
    room: int
    written: int = 0


@knobs
class ConfidenceInjection(Controller):
    """At the end of a step, ask how the next one would begin; where that is with a word of doubt, write confidence.

    Confidence Injection, one of the two ways in which ConCISE makes short chains of thought to train on, here used
    while answering. The question is asked inside the thought and rides on scoring passes, so it costs none of its own
    where the model goes on writing. The model writes on after the phrase and may doubt all the same: it is asked again
    at the end of its next step. The paper writes such phrases before points that are prone to reflection; here the
    model's own likeliest next words say which these are, whatever is drawn in sampling. The phrases are laconic's and
    take turns.
    """

    card = Card(
        paper="ConCISE: Confidence-guided Compression in Step-by-step Efficient Reasoning",
        catalogue=(244,),
        lossless=False,
    )
    needs = Needs(thinking=True)
    asks: ClassVar[bool] = True

    phrases: Phrases = _CONFIDENCE
    """What is written, in turn; written one/another."""
    words: Words = _DOUBT
    """Words and phrases of doubt with which a step may begin, in any case: wait/hmm/let me check."""
    most: Annotated[int, Field(ge=1)] = 8
    """Phrases in one thought at most."""
    apart: bool = True
    """Whether a phrase is a step of its own; otherwise the step goes on right behind it."""

    def start(self, request: Request, text: Text) -> Confidence:
        """Refuse a request that is too short for any phrase."""
        lengths = tuple(len(text.encode(self._written(phrase))) for phrase in self.phrases)
        room = request.limits.max_new_tokens
        if min(lengths) >= room:
            raise RequestError(
                f"the shortest phrase of '{self.name}' has {min(lengths)} tokens, the request allows {room} in all.",
                "Raise max_new_tokens, or use a shorter phrase.",
            )
        look = max(len(text.encode(word.capitalize())) for word in self.words)
        return Confidence(look, lengths, room)

    def decide(self, state: Confidence, view: View) -> Action:
        """Ask at the end of a step; write the next phrase where a cue would follow."""
        if view.belief is not None:
            return self._answer(state, view.belief.answer)
        turn = state.written % len(self.phrases)
        fits = len(view.written) + state.lengths[turn] < state.room
        if not view.boundary or state.written >= self.most or not fits:
            return Continue()
        return Probe("", "\n", max_tokens=state.look, close=False)

    def _answer(self, state: Confidence, next_words: str) -> Action:
        cue = begins_with(next_words, self.words)
        if cue is None:
            return Continue()
        phrase = self.phrases[state.written % len(self.phrases)]
        state.written += 1
        return Inject(self._written(phrase), f"the next step would begin with {cue!r}")

    def _written(self, phrase: str) -> str:
        return f"{phrase}\n\n" if self.apart else phrase
