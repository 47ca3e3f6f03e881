"""Room for the answer: where a thought must end so that the limit of new tokens does not cost the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from laconic.models.text import Text
from laconic.types import Request

TEXT = "Time is up, so I will answer with what I have.\n"
"""What hands over to the answer, where there is room for it."""
_SMALL = 4
"""The sentence may take this fraction of all new tokens, and no more."""
_EARLY = 10
"""In the last such fraction before the landing a thought ends at the first end of a step, not in the middle of one."""


@dataclass(frozen=True, slots=True)
class Landing:
    """The loop's own end of a thought, counted in tokens after the prompt, injected ones included.

    A thought that is still open ``at`` so many tokens is closed with ``text``, and from ``early`` on at the end of a
    step. After it there is room for ``room`` tokens of the answer. ``cause`` is what sets the end: the limit of new
    tokens, or the model's context where that leaves less.
    """

    at: int
    early: int
    room: int
    text: str
    cause: Literal["limit", "context"]

    def due(self, tokens: int, *, boundary: bool) -> bool:
        """Whether a thought that is open after so many tokens must end; ``boundary`` where a step has just ended."""
        return tokens >= (self.early if boundary else self.at)

    @property
    def reason(self) -> str:
        """What the event says."""
        return f"the {self.cause} leaves room for an answer of {self.room} tokens"


def landing(request: Request, text: Text, context: int, answer_limit: int | None) -> Landing | None:
    """Where a request's thought must end; None for models that do not think, and where there is room for no answer.

    The limit is that of the request or what the model's ``context`` leaves, whichever is less. A controller's own limit
    of the answer (``answer_limit``) needs no more room than that.
    """
    left = context - len(request.prompt)
    most = min(request.limits.max_new_tokens, left)
    room = request.limits.room(most)
    if not text.format.thinks or room == 0:
        return None
    room = room if answer_limit is None else min(room, answer_limit)
    said, cost = TEXT, _cost(TEXT, text)
    if _SMALL * cost > most:
        said, cost = "", _cost("", text)
    at = max(most - room - cost, 1)
    if at + cost >= most:
        return None
    cause: Literal["limit", "context"] = "context" if left < request.limits.max_new_tokens else "limit"
    return Landing(at, at - at // _EARLY, min(room, most - at - cost), said, cause)


def farewell(landing: Landing | None) -> str:
    """What hands over to the answer in the middle of a step; nothing where there is no room for words."""
    return "" if landing is None or not landing.text else _before(landing.text) + landing.text


def fitting(said: str, left: str, text: Text, room: int, wanted: int) -> str:
    """``said``, which a controller writes before the closing tag, or nothing where it would cost the answer.

    ``left`` is written before it. ``room`` tokens may still be written, and ``wanted`` of them are the answer's.
    """
    if said and len(text.encode(f"{left}{said}{text.format.ending}")) + wanted > room:
        return ""
    return said


def _cost(said: str, text: Text) -> int:
    return len(text.encode(_before(said) + said + text.format.ending))


def _before(said: str) -> str:
    return "\n\n" if said else ""


def words(landing: Landing, *, boundary: bool) -> str:
    """What is written before the closing tag; ``boundary`` where a step has just ended."""
    return landing.text if boundary else _before(landing.text) + landing.text
