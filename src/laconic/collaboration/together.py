"""Carries a collaboration policy out: two scribes at one thought, each taking in what the other writes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

from laconic.collaboration.base import Collaborated, Collaboration, Looks, Piece, Side, Thought
from laconic.collaboration.scribe import METHOD, Scribe
from laconic.engine import Engine, Prompt
from laconic.errors import UnmetNeed
from laconic.judges.base import Judge
from laconic.policy import registry
from laconic.thinking.memory.base import seeded
from laconic.types import Event, Request, Result, Usage


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
        requests: dict[Side, Request] = {
            "large": self.large.request(prompt, **options),
            "small": self.small.request(prompt, **options),
        }
        question = requests["large"].question
        thought = Thought(() if question is None else question.messages, requests["large"].sampling.seed)
        begun = time.perf_counter()
        made.suits(self.large.target, self.small.target)
        for judge in made.walk():
            if isinstance(judge, Judge):
                self.large.judge(judge)  # what cannot be had is refused before any work
        scribes = _Scribes({"large": self.large, "small": self.small}, requests)
        other: Side = "small" if made.answers == "large" else "large"
        try:
            _think(made, thought, scribes)
            speaker = scribes[made.answers]
            _catch_up(speaker, thought)
            result = speaker.end()
        finally:
            left = scribes.close()
        usages: dict[Side, Usage] = {made.answers: result.usage}
        usages[other] = left[other].usage if other in left else Usage()
        events = (*result.events, *(left[other].events if other in left else ()))
        refused = sum(piece.tokens for piece in thought.written if piece.refused)
        own = thought.tokens("large")
        note = Event(
            METHOD, "answer", result.usage.generated, f"{made.spec()}: {own} tokens of the thought by the large model"
        )
        return Collaborated(
            result.answer, result, tuple(thought.written), usages["small"], usages["large"], refused,
            time.perf_counter() - begun, (*events, note),
        )  # fmt: skip


class _Scribes:
    """Both scribes, each begun when it is first needed."""

    def __init__(self, engines: dict[Side, Engine], requests: dict[Side, Request]) -> None:
        self._engines, self._requests = engines, requests
        self._begun: dict[Side, Scribe] = {}

    def __getitem__(self, side: Side) -> Scribe:
        if side not in self._begun:
            self._begun[side] = Scribe(self._engines[side], self._requests[side])
        return self._begun[side]

    def engine(self, side: Side) -> Engine:
        """The engine of a side."""
        return self._engines[side]

    def anew(self, side: Side, draw: int) -> None:
        """Have a side begin again with other draws; what it has written is gone."""
        if side in self._begun:
            self._begun.pop(side).close()
        request = self._requests[side]
        self._begun[side] = Scribe(self._engines[side], replace(request, sampling=seeded(request.sampling, draw)))

    @property
    def closed(self) -> bool:
        """Whether the thought has ended in either, or there is no room for more of it."""
        return any(scribe.closed for scribe in self._begun.values())

    def close(self) -> dict[Side, Result]:
        """End both, whatever they are at; returns what each has written."""
        return {side: scribe.close() for side, scribe in self._begun.items()}


def _think(policy: Collaboration, thought: Thought, scribes: _Scribes) -> None:
    """Turn by turn, until the thought ends in one of them."""
    state = policy.start(thought)
    while True:
        turn = policy.turn(state, thought)
        if turn.draw:
            scribes.anew(turn.side, turn.draw)
        scribe = scribes[turn.side]
        _catch_up(scribe, thought)
        if scribes.closed:
            return
        if turn.ahead:
            if _ahead(policy, state, thought, scribes, turn.ahead):
                return
            continue
        before = scribe.mark()
        text, tokens, closes = scribe.write(turn.most, whole=turn.whole, guarded=turn.side != policy.answers)
        piece = Piece(turn.side, text, tokens, closes)
        if turn.side == "small":
            looks = _Looks(scribes, thought, piece)
            verdict = policy.stands(state, thought, piece, looks)
            piece = replace(piece, score=verdict.score, refused=not verdict.stands)
            if piece.refused:
                scribe.back(before)
                looks.take_back()
        thought.written.append(piece)
        if piece.refused:
            continue
        thought.pieces.append(piece)
        if closes or scribes.closed:
            return


def _ahead(policy: Collaboration, state: Any, thought: Thought, scribes: _Scribes, steps: int) -> bool:
    """Steps of the small model, up to the first that does not stand, and one of the large; says if it ends there."""
    small, large = scribes["small"], scribes["large"]
    _catch_up(large, thought)
    drafts: list[Piece] = []
    marks = []
    while len(drafts) < steps and not (drafts and drafts[-1].closes):
        marks.append(small.mark())
        text, tokens, closes = small.write(guarded=policy.answers != "small")
        drafts.append(Piece("small", text, tokens, closes or small.closed))
    written = large.beside([draft.text for draft in drafts])
    at = 0
    for at, draft in enumerate(drafts):
        looks = _Looks(scribes, thought, draft, instead=written[at][0])
        verdict = policy.stands(state, thought, draft, looks)
        if draft.closes != written[at][2]:  # one ends the thought here and the other does not
            verdict = replace(verdict, stands=False)
        thought.written.append(replace(draft, score=verdict.score, refused=not verdict.stands))
        if not verdict.stands:
            break
        thought.pieces.append(thought.written[-1])
        if draft.closes:
            large.adopt(-1, large.read)
            return True
    else:
        at = len(drafts)
    refused = drafts[at:]
    thought.written += [replace(draft, refused=True) for draft in refused[1:]]
    if refused:
        small.back(marks[at])
    text, tokens, closes = written[at]
    thought.written.append(Piece("large", text, tokens, closes))
    thought.pieces.append(thought.written[-1])
    large.adopt(at, thought.text)
    return closes or scribes.closed


def _catch_up(scribe: Scribe, thought: Thought) -> None:
    """Let a scribe take in what the other has written since."""
    text = thought.text
    if len(text) > len(scribe.read):
        scribe.take(text[len(scribe.read) :])


@dataclass(slots=True)
class _Looks(Looks):
    """What is said of a piece; the large model takes it in when it is first asked."""

    scribes: _Scribes
    thought: Thought
    piece: Piece
    instead: str = ""
    _point: Any = None
    _logs: list[float] | None = None

    def _large(self) -> Scribe:
        large = self.scribes["large"]
        if self._point is None:
            _catch_up(large, self.thought)
            self._point = large.mark()
            large.take(self.piece.text, looks=True)
        return large

    def take_back(self) -> None:
        """Let the large model forget the piece, if it has read it."""
        if self._point is not None:
            self.scribes["large"].back(self._point)

    def digits(self, ask: str) -> list[float]:
        """One pass over the piece and what is asked."""
        chances, logs = self._large().digits(ask)
        self._logs = logs if self._logs is None else self._logs
        return chances

    def chances(self) -> list[float]:
        """One pass over the piece."""
        if self._logs is None:
            self._logs = self._large().weigh("")[1]
        if self._logs is None:
            raise UnmetNeed("a server does not say how likely a text is.", "Use digits or a judge.")
        return [math.exp(log) for log in self._logs]

    def likelihood(self) -> float:
        """One pass over the piece."""
        self.chances()
        logs = self._logs or [0.0]
        return math.exp(sum(logs) / len(logs))

    def judged(self, judge: Judge, *, instead: bool = False) -> float:
        """The judge's own reading."""
        texts = [piece.text for piece in self.thought.pieces] + [self.instead if instead else self.piece.text]
        return self.scribes.engine("large").judge(judge).score(self.thought.messages, texts)
