"""Carries a collaboration policy out: two scribes at one thought, each taking in what the other writes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from laconic.collaboration.base import Collaborated, Collaboration, Looks, Piece, Side, Thought
from laconic.collaboration.scribe import METHOD, Scribe
from laconic.engine import Engine, Prompt
from laconic.errors import UnmetNeed
from laconic.judges.base import Bound, Judge
from laconic.policy import registry
from laconic.types import Event, Usage


class Pair:
    """A large and a small model that answer together.

    >>> pair = Pair(Engine.load("bundled"), Engine.load("bundled-draft"))
    >>> pair.answer("What is 37 * 48 + 15?", "spec-reason").share

    Both must think; their tokenizers, chat templates and tags may differ, since text passes between them. Each may be a
    model of this process or behind a server. Each drafts and controls its own steps as its engine does.
    """

    def __init__(self, large: Engine, small: Engine) -> None:
        self.large, self.small = large, small
        for side, engine in (("large", large), ("small", small)):
            if not engine.text.format.thinks:
                raise UnmetNeed(
                    f"the {side} model has no thinking phase, and thoughts are what the two share.",
                    "Name its tags with format=Format(opens, closes), or use a model that thinks.",
                )

    def answer(self, prompt: Prompt, policy: str | Collaboration, **options: Any) -> Collaborated:
        """Answer one prompt. ``options`` are those of :meth:`Engine.request`; both models are asked alike."""
        made = registry.build("collaboration", policy)
        assert isinstance(made, Collaboration)
        requests = {"large": self.large.request(prompt, **options), "small": self.small.request(prompt, **options)}
        question = requests["large"].question
        thought = Thought(() if question is None else question.messages, requests["large"].sampling.seed)
        begun = time.perf_counter()
        scribes: dict[Side, Scribe] = {}
        judges = {judge: judge.bind(self.large) for judge in made.walk() if isinstance(judge, Judge)}
        try:
            scribes["large"] = Scribe(self.large, requests["large"])
            scribes["small"] = Scribe(self.small, requests["small"])
            _think(made, thought, scribes, judges)
            other: Side = "small" if made.answers == "large" else "large"
            speaker = scribes.pop(made.answers)
            try:
                _catch_up(speaker, thought)
                result = speaker.end("the thought is over")
            finally:
                speaker.close()
            left = scribes.pop(other).close()
        finally:
            for scribe in scribes.values():
                scribe.close()
            for judge in judges.values():
                judge.close()
        usages: dict[Side, Usage] = {made.answers: result.usage, other: left.usage}
        refused = sum(piece.tokens for piece in thought.written if piece.refused)
        own = thought.tokens("large")
        note = Event(
            METHOD, "answer", result.usage.generated, f"{made.spec()}: {own} tokens of the thought by the large model"
        )
        return Collaborated(
            result.answer, result, tuple(thought.written), usages["small"], usages["large"], refused,
            time.perf_counter() - begun, (*result.events, *left.events, note),
        )  # fmt: skip


def _think(policy: Collaboration, thought: Thought, scribes: dict[Side, Scribe], judges: dict[Judge, Bound]) -> None:
    """Turn by turn, until the thought ends in one of them."""
    state = policy.start(thought)
    while True:
        turn = policy.turn(state, thought)
        scribe = scribes[turn.side]
        _catch_up(scribe, thought)
        if scribe.closed:  # there is no room left
            return
        before = scribe.mark()
        text, tokens, closes = scribe.write(turn.most, whole=turn.whole)
        piece = Piece(turn.side, text, tokens, closes)
        if turn.side == "small":
            large = scribes["large"]
            _catch_up(large, thought)
            point = large.mark()
            looks = _Looks(large, thought, piece, judges)
            verdict = policy.stands(state, thought, piece, looks)
            piece = replace(piece, score=verdict.score, refused=not verdict.stands)
            if piece.refused:
                scribe.back(before)
                large.back(point)
        thought.written.append(piece)
        if piece.refused:
            continue
        thought.pieces.append(piece)
        if closes:
            return


def _catch_up(scribe: Scribe, thought: Thought) -> None:
    """Let a scribe take in what the other has written since."""
    text = thought.text
    if len(text) > len(scribe.read):
        scribe.take(text[len(scribe.read) :])


@dataclass(slots=True)
class _Looks(Looks):
    large: Scribe
    thought: Thought
    piece: Piece
    bound: dict[Judge, Bound]
    _likelihood: float | None = None

    def _taken(self) -> None:
        if len(self.large.read) < len(self.thought.text) + len(self.piece.text):
            self.large.take(self.piece.text)

    def digits(self, ask: str) -> list[float]:
        """One pass over the piece and what is asked."""
        self._taken()
        chances, mean = self.large.digits(ask)
        self._likelihood = mean if self._likelihood is None else self._likelihood
        return chances

    def likelihood(self) -> float:
        """One pass over the piece."""
        if self._likelihood is None:
            self._taken()
            self._likelihood = self.large.weigh("")[1]
        if self._likelihood != self._likelihood:
            raise UnmetNeed("a server does not say how likely a text is.", "Use digits or a judge.")
        return self._likelihood

    def judged(self, judge: Judge) -> float:
        """The judge's own reading."""
        texts = [piece.text for piece in self.thought.pieces] + [self.piece.text]
        return self.bound[judge].score(self.thought.messages, texts)
