"""What a completions endpoint answers, read with care: servers differ in what they tell beyond the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from laconic.errors import BadReply

Named = int | str
"""A token by its id or, where the server does not tell ids, by its text."""

_ID = "token_id:"
"""How a server marks an id where the API has a token's text."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says of one token: its log probability, and those of the likeliest tokens in its place."""

    token: Named
    logprob: float
    top: Mapping[Named, float]

    def entropy(self) -> float:
        """Entropy in nats of what is known of the distribution.

        Everything outside the likeliest tokens counts as one token more, so that this is a lower bound: exact where
        they are all there is, and close where they hold nearly all of the probability.
        """
        probs = [math.exp(value) for value in (self.top or {self.token: self.logprob}).values()]
        rest = 1 - sum(probs)
        return -sum(p * math.log(p) for p in [*probs, rest] if p > 0)


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply. ``text`` ends before a stop string.

    ``tokens`` are ids where the server tells them, and ``said`` is one entry a token where it gives probabilities.
    ``matched`` is the stop string that ended it; None means the end token, or that the server does not tell which it
    was: ``told`` says whether it does.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    tokens: tuple[int, ...] | None = None
    said: tuple[Said, ...] | None = None
    matched: str | None = None
    told: bool = False


def completion(reply: Any) -> Completion:
    """Read a reply of ``/completions``. Raises BadReply, naming what is wrong with it."""
    try:
        choice = reply["choices"][0]
        text, finish = choice["text"], choice["finish_reason"]
        said = _said(choice.get("logprobs"))
        ids = choice.get("token_ids")
        tokens = None if ids is None else tuple(map(int, ids))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BadReply(f"the server's reply is not a completion ({type(error).__name__}: {error}).") from error
    if not isinstance(text, str):
        raise BadReply("the server's reply has no text.")
    if finish not in ("stop", "length"):
        raise BadReply(f"the server ended a completion with {finish!r}, not by 'stop' or 'length'.")
    if tokens is None and said and all(isinstance(one.token, int) for one in said):
        tokens = tuple(int(one.token) for one in said)
    told = next((name for name in ("stop_reason", "matched_stop") if name in choice), None)  # vLLM's name, and SGLang's
    matched = choice[told] if told else None
    return Completion(text, finish, tokens, said, matched if isinstance(matched, str) else None, told is not None)


def _said(given: Mapping[str, Any] | None) -> tuple[Said, ...] | None:
    if not given or given.get("token_logprobs") is None:
        return None
    values: Sequence[float] = given["token_logprobs"]
    names: Sequence[str] = given["tokens"]
    tops: Sequence[Mapping[str, float] | None] = given.get("top_logprobs") or [None] * len(values)
    return tuple(
        Said(_named(name), float(value), {_named(key): float(p) for key, p in (top or {}).items()})
        for name, value, top in zip(names, values, tops, strict=True)
    )


def _named(token: str) -> Named:
    return int(token[len(_ID) :]) if token.startswith(_ID) else token
