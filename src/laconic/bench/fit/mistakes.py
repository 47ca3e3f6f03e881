"""Which refused guesses are mistakes: the target writes on after each of them, and its answer tells.

After AutoJudge (2504.20039): along a text of the target's the draft model's guesses are tried one by one, in order,
wherever they are other tokens than the text's. Where the target, made to write the guess, still comes to the same
answer, the guess stands and the search goes on along the new text; else it is a mistake, and the old text stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from laconic.answers import extract
from laconic.bench.fit.texts import guessed, states
from laconic.bench.grading import same
from laconic.engine import Engine
from laconic.models.base import LanguageModel
from laconic.models.text import Text
from laconic.transcript import Mark, Transcript
from laconic.types import Request


@dataclass(slots=True)
class Walk:
    """The way along one text. ``tokens`` are those after the prompt, with the guesses that stand by now."""

    request: Request
    tokens: list[int]
    answer: str
    at: int = 0
    """Guesses before this place have been tried."""
    trial: list[int] = field(default_factory=list)
    """The text up to the guess that is being tried, and with it."""
    said: float = 0.0
    """The draft model's confidence in that guess."""
    inputs: list[Tensor] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    sayings: list[float] = field(default_factory=list)

    def settle(self, text: Text, more: Sequence[int], state: Tensor) -> None:
        """Judge the trial by the text that the target wrote after it, ``more``."""
        whole = [*self.trial, *more]
        found = answer(text, self.request, whole)
        good = found is not None and same(self.answer, found)
        self.inputs.append(state)
        self.labels.append(float(good))
        self.sayings.append(self.said)
        self.at = len(self.trial)
        if good:
            self.tokens = whole


def walks(
    engine: Engine,
    draft: LanguageModel,
    requests: Sequence[Request],
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
) -> list[Walk]:
    """Try all guesses of ``draft`` along the texts of ``engine``'s target, whose hidden states must be kept.

    Texts without an answer of their own are left out. ``after`` is told what has been done.
    """
    writer = engine.using(drafter="draft-model", length="marginal", shape="chain", verifier="match", think=())
    begun: list[Walk] = []
    for start in range(0, len(requests), batch):
        part = requests[start : start + batch]
        for request, result in zip(part, writer.run(part, batch=batch), strict=True):
            tokens = list(result.tokens)
            found = answer(engine.text, request, tokens)
            if found is not None:
                begun.append(Walk(request, tokens, found))
        after(f"{min(start + batch, len(requests))} of {len(requests)} texts")
    live, tried = begun, 0
    while live := [walk for walk in live if _next(walk, engine, draft)]:
        for start in range(0, len(live), batch):
            trying = live[start : start + batch]
            for walk, more in zip(trying, _continued(writer, trying, batch), strict=True):
                walk.settle(engine.text, more, _state(engine.target, walk))
            tried += len(trying)
            after(f"{tried} guesses tried; {len(live)} texts have more")
    return begun


def answer(text: Text, request: Request, tokens: Sequence[int]) -> str | None:
    """The answer of a finished text; None where it was cut off, or names none."""
    transcript = Transcript(text, request, list(request.prompt))
    if not any(transcript.push(token) is Mark.FINISHED for token in tokens):
        return None
    return extract(transcript.parts().answer) or None


def _next(walk: Walk, engine: Engine, draft: LanguageModel) -> bool:
    """Find the next guess that is not the text's own token; whether there is one that the draft model has room for."""
    if len(walk.request.prompt) + len(walk.tokens) > draft.context:
        return False
    found = guessed(draft, walk.request, walk.tokens, engine.target.vocab_size)
    for t in range(walk.at, len(walk.tokens)):
        if found.guesses[t] != walk.tokens[t]:
            walk.trial, walk.said = [*walk.tokens[:t], found.guesses[t]], found.said[t]
            return True
    return False


def _continued(writer: Engine, part: Sequence[Walk], batch: int) -> list[list[int]]:
    """What the target writes after each trial; nothing after the end of a text, or where no room is left."""
    rooms = [walk.request.limits.max_new_tokens - len(walk.trial) for walk in part]
    open_ = [i for i, walk in enumerate(part) if rooms[i] > 0 and walk.trial[-1] not in writer.text.eos]
    asked = [
        Request(
            (*part[i].request.prompt, *part[i].trial),
            part[i].request.sampling,
            replace(part[i].request.limits, max_new_tokens=rooms[i]),
        )
        for i in open_
    ]
    found: list[list[int]] = [[] for _ in part]
    for i, result in zip(open_, writer.run(asked, batch=batch), strict=True):
        found[i] = list(result.tokens)
    return found


def _state(target: LanguageModel, walk: Walk) -> Tensor:
    """The target's state at the guess on trial."""
    return states(target, walk.request.prompt, [*walk.trial, walk.trial[-1]])[-1]  # the last token is not read
