"""Contract of judges: the question and the steps so far in, a number from 0 (worthless) to 1 (right) out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import Field

from laconic.errors import InvalidKnob, JudgeError
from laconic.models.text import Message
from laconic.policy import Policy, knobs

if TYPE_CHECKING:
    from laconic.engine import Engine


class Bound(Protocol):
    """A judge with all that it needs."""

    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """How good ``steps`` are as the beginning, or the whole, of a reply to ``question``."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Judge(Policy):
    """Scores steps. :meth:`bind` gives it the engine that writes them, which it may ask."""

    reads_answers: ClassVar[bool] = True
    """Whether it is shown an attempt's answer behind the steps of its thought."""

    def bind(self, engine: Engine) -> Bound:
        """The judge at work beside ``engine``. Raises UnmetNeed or ModelError where it cannot be."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Asking:
    """A model's judge at work: ``engine`` judges, and is the judge's ``own`` where it is not the one that writes."""

    judge: Any
    engine: Engine
    own: bool

    def score(self, question: Sequence[Message], steps: Sequence[str]) -> float:
        """See :class:`Bound`."""
        raise NotImplementedError

    def close(self) -> None:
        """Close a server's connections."""
        if self.own and hasattr(self.engine, "close"):
            self.engine.close()


@knobs
class ModelJudge(Judge):
    """A judge that asks a model: the one that writes the steps, or another."""

    asking: ClassVar[type[Asking]]
    """The judge at work."""
    files = frozenset({"model", "url"})

    model: str = ""
    """Path or name of the model that judges; empty for the one that writes the steps."""
    url: str = ""
    """The server behind which it runs; empty for here."""
    context: Annotated[int, Field(ge=0)] = 0
    """Most characters of the steps that are shown, from their end; 0 for all."""

    def bind(self, engine: Engine) -> Bound:
        """Beside the engine that judges."""
        return self.asking(self, *self.asked(engine))

    def asked(self, engine: Engine) -> tuple[Engine, bool]:
        """The engine that judges, and whether it is one of the judge's own."""
        from laconic.engine import Engine as Own
        from laconic.remote import RemoteEngine

        if self.url:
            return RemoteEngine.load(self.url, self.model or None), True
        return (Own.load(self.model), True) if self.model else (engine.using(think=()), False)

    def shown(self, steps: Sequence[str]) -> str:
        """Steps as one text."""
        text = "".join(steps)
        return text[-self.context :] if self.context else text


def checked(name: str, value: float) -> float:
    """A judge's score. Raises JudgeError for one that is no number from 0 to 1."""
    if not math.isfinite(value) or not 0 <= value <= 1:
        raise JudgeError(f"judge '{name}' says {value}, which is no number from 0 to 1.", "Use another judge.")
    return value


def asked_of(question: Sequence[Message]) -> str:
    """The last message of the user. Raises InvalidKnob where there is none."""
    found = next((str(m["content"]) for m in reversed(question) if m.get("role") == "user"), None)
    if found is None:
        raise InvalidKnob("there is no question to judge steps by.", "Ask one.")
    return found
