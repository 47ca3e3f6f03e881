"""What reasons over several calls: the contract of reasoners, what one needs of an engine, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from laconic.errors import UnmetNeed
from laconic.models.text import Message
from laconic.policy import Policy
from laconic.types import FinishReason, Limits, Result, Sampling, Usage

Prompt = str | Sequence[Message]
Count = Callable[[str], int]
"""Tokens of a text."""

_STRIDE = 7919
"""Between the seeds of one question's calls: the seeds of neighbouring questions shall not be those of its calls."""
_CHARACTERS = 3
"""Characters to a token where there is no tokenizer to ask. English has about four, so a text comes out short."""


class Generates(Protocol):
    """Who answers: :class:`laconic.Engine`, or anything else with this one method."""

    def generate(
        self, prompt: Prompt, *, sampling: Sampling | None = None, limits: Limits | None = None, thinking: bool = True
    ) -> Result:
        """Answer one prompt."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One question to the model. ``opening`` is a text that its thought begins with; it counts with the prompt."""

    messages: tuple[Message, ...]
    sampling: Sampling
    limits: Limits
    thinking: bool = True
    opening: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """Calls that ran side by side, and the notes as they were afterwards.

    ``kind`` says what was asked: ``segment`` (thinking), ``draft`` (several of these), ``merge`` (the model rewrites
    the notes), or ``answer`` (an answer from the notes, with no more thinking).
    """

    kind: str
    results: tuple[Result, ...]
    notes: str = ""

    @property
    def sequential(self) -> int:
        """Tokens of the longest call: what one waits for where calls run side by side."""
        return max(result.usage.generated for result in self.results)


@dataclass(frozen=True, slots=True)
class Solved:
    """A question that was reasoned about. ``usage`` is the sum over all calls; ``result`` is the call that answered."""

    result: Result
    rounds: tuple[Round, ...]
    usage: Usage

    @property
    def answer(self) -> str:
        """What was answered."""
        return self.result.answer

    @property
    def text(self) -> str:
        """All that the last call wrote."""
        return self.result.text

    @property
    def finish_reason(self) -> FinishReason:
        """How the last call ended."""
        return self.result.finish_reason

    @property
    def sequential(self) -> int:
        """Tokens written one after the other: the longest call of each round, summed."""
        return sum(round.sequential for round in self.rounds)

    @property
    def context(self) -> int:
        """Tokens of the longest text that any call had before it, prompt included."""
        return max(r.usage.prompt + r.usage.generated for round in self.rounds for r in round.results)

    def as_dict(self) -> dict[str, Any]:
        """Answer, counts and every round, ready for JSON."""
        return {
            "answer": self.answer,
            "finish_reason": self.finish_reason,
            "sequential": self.sequential,
            "context": self.context,
            "usage": self.usage.as_dict(),
            "rounds": [
                {"kind": round.kind, "texts": [result.text for result in round.results], "notes": round.notes}
                for round in self.rounds
            ],
        }


class Reasoner(Policy):
    """Answers a question with several calls of an engine; the engine's own controllers act within each."""

    def solve(
        self, question: Prompt, engine: Generates, *, sampling: Sampling | None = None, limits: Limits | None = None
    ) -> Solved:
        """Answer ``question``. ``limits.max_new_tokens`` bounds the tokens that are written one after the other.

        Raises RequestError for limits that leave no room, and UnmetNeed for an engine that cannot do what is needed.
        """
        raise NotImplementedError


def solved(rounds: Sequence[Round], result: Result) -> Solved:
    """Add up what all calls took."""
    usage = Usage()
    for round in rounds:
        for each in round.results:
            usage.add(each.usage)
    return Solved(result, tuple(rounds), usage)


def messages_of(question: Prompt) -> tuple[Mapping[str, str], ...]:
    """A question as chat messages."""
    return ({"role": "user", "content": question},) if isinstance(question, str) else tuple(question)


def seeded(sampling: Sampling, call: int) -> Sampling:
    """The sampling of one of a question's calls; that of the first is the question's own."""
    return replace(sampling, seed=sampling.seed + _STRIDE * call)


def counter(engine: Generates) -> Count:
    """How to count tokens: with the engine's tokenizer, or, where it shows none, by the length of the text."""
    text = getattr(engine, "text", None)
    return (lambda s: len(text.encode(s))) if text is not None else (lambda s: -(-len(s) // _CHARACTERS))


def context_of(engine: Generates) -> int | None:
    """The most tokens that the model can read and write, if the engine tells."""
    return getattr(getattr(engine, "target", None), "context", None)


def require_thinking(name: str, engine: Generates) -> None:
    """Raise UnmetNeed if the engine's model is known to have no thinking phase."""
    text = getattr(engine, "text", None)
    if text is not None and not text.format.thinks:
        raise UnmetNeed(
            f"'{name}' needs a model with a thinking phase; no thinking tags were found.",
            "Name the tags with format=Format(opens, closes) (--format), or do without thinking methods.",
        )


def ask(name: str, engine: Generates, calls: Sequence[Call]) -> tuple[Result, ...]:
    """Answer calls, in one batch where the engine has any. Raises UnmetNeed for an opening that it cannot write."""
    if all(hasattr(engine, part) for part in ("request", "fitted", "run")):
        requests = [_request(engine, call) for call in calls]
        return tuple(cast(Any, engine).run(requests, batch=len(requests)))
    if any(call.opening for call in calls):
        raise UnmetNeed(
            f"'{name}' begins thoughts with its notes, which this engine cannot do.",
            "Use place=prompt, or an engine that runs the model itself.",
        )
    return tuple(
        engine.generate(call.messages, sampling=call.sampling, limits=call.limits, thinking=call.thinking)
        for call in calls
    )


def _request(engine: Any, call: Call) -> Any:
    """A request of the engine's own; what its controllers do to the question comes before the opening."""
    made = engine.fitted(
        engine.request(call.messages, sampling=call.sampling, limits=call.limits, thinking=call.thinking)
    )
    if not call.opening:
        return made
    text = engine.text
    form = text.format
    tokens = text.encode(("" if made.phase == "thinking" else form.opens + form.lead) + call.opening)
    phase = "answer" if call.opening.endswith(form.ending) else "thinking"
    return replace(made, prompt=(*made.prompt, *tokens), phase=phase)
