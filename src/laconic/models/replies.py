"""What a completions endpoint answers, read with care: servers differ in what they tell beyond the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from laconic.errors import BadReply, NoLogprobs

Named = int | str
"""A token by its id or, where the server does not tell ids, by its text."""

_FINISHES: dict[Any, Literal["stop", "length"]] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
}
"""How servers say why a text ended."""
_ID = "token_id:"
"""How a server marks an id where the API has a token's text."""
_LARGEST = 1 << 31
"""Ids are below this with every tokenizer there is."""
_ROUNDING = 0.01
"""How far above 0 the log probability of a certain token may come out of a model with 16-bit numbers."""


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
    written: int | None = None
    """Tokens that the server counts, where it does."""


def completion(reply: Any, max_tokens: int | None = None) -> Completion:
    """Read a reply of ``/completions`` that was to have ``max_tokens`` tokens at most.

    A server that does not say why it ended was stopped by that limit where it wrote as much, else it ended by itself.
    Raises BadReply, naming what is wrong or quoting the server's own error, and NoLogprobs.
    """
    _check_error(reply)
    try:
        choice = reply["choices"][0]
        text = choice["text"]
        said = _said(choice.get("logprobs"))
        ids = choice.get("token_ids")
        tokens = None if ids is None else _ids(ids)
        usage = reply.get("usage") or {}
        written = None if usage.get("completion_tokens") is None else _count(usage["completion_tokens"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadReply(f"the server's reply is not a completion ({type(error).__name__}: {error}).") from error
    if not isinstance(text, str):
        raise BadReply("the server's reply has no text.")
    if tokens is None and said and all(isinstance(one.token, int) for one in said):
        tokens = tuple(int(one.token) for one in said)
    if written is None and tokens is not None:
        written = len(tokens)
    finish = choice.get("finish_reason") or ("length" if written and written == max_tokens else "stop")
    if not isinstance(finish, str) or finish not in _FINISHES:
        raise BadReply(f"the server ended a completion with {finish!r}, not by 'stop' or 'length'.")
    told = next((name for name in ("stop_reason", "matched_stop") if name in choice), None)  # vLLM's name, and SGLang's
    matched = choice[told] if told else None
    matched = matched if isinstance(matched, str) else None
    return Completion(_read(text), _FINISHES[finish], tokens, said, matched, told is not None, written)


def _read(text: str) -> str:
    """A text as it came. Raises BadReply for half of a pair of surrogates, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadReply(f"the server's text holds {text[error.start]!a}, which is no character.") from error
    return text


def _count(value: Any, below: int | None = None) -> int:
    """A number of tokens, or a token's id below a bound. Raises ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (below is not None and value >= below):
        raise ValueError(f"{value!r} is no {'number' if below is None else 'id'} of tokens")
    return value


def _ids(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list):
        raise TypeError(f"token_ids is {type(given).__name__}, not a list")
    return tuple(_count(one, _LARGEST) for one in given)


def _check_error(reply: Any) -> None:
    """Raise the error that a server wrapped into a reply of status 200, in its own words."""
    if not isinstance(reply, dict) or reply.get("choices"):
        return
    error = reply.get("error") or (reply if reply.get("object") == "error" else None)
    if error:
        said = error.get("message", error) if isinstance(error, dict) else error
        raise BadReply(f"the server says: {str(said).strip()[:400]}")


def _said(given: Mapping[str, Any] | None) -> tuple[Said, ...] | None:
    if not given:
        return None
    if isinstance(given.get("content"), list):  # the form of chat completions, which llama.cpp uses everywhere
        return tuple(Said(_name(one), _chance(one["logprob"]), _likeliest(one)) for one in given["content"])
    if given.get("token_logprobs") is None:
        return None
    values: Sequence[float | None] = given["token_logprobs"]
    names: Sequence[str] = given["tokens"]
    tops: Sequence[Mapping[str, float] | None] = given.get("top_logprobs") or [None] * len(values)
    return tuple(
        Said(_named(name), _chance(value), {_named(key): _chance(p) for key, p in (top or {}).items()})
        for name, value, top in zip(names, values, tops, strict=True)
    )


def _likeliest(one: Mapping[str, Any]) -> dict[Named, float]:
    top = one.get("top_logprobs") or []
    found: dict[Named, float] = {}
    for other in top:  # two tokens may be written alike; the likelier comes first
        found.setdefault(_name(other), _chance(other["logprob"]))
    return found


def _name(one: Mapping[str, Any]) -> Named:
    return _count(one["id"], _LARGEST) if isinstance(one.get("id"), int) else _named(one["token"])


def _chance(value: Any) -> float:
    """A log probability. Raises NoLogprobs where it is left out, and ValueError for what is none."""
    if value is None:
        raise NoLogprobs(
            "the server leaves out the probability of a token (null in its logprobs).",
            "Use a method that needs none (answer-agreement, budget).",
        )
    if not isinstance(value, int | float) or isinstance(value, bool) or not value <= _ROUNDING:
        raise ValueError(f"{value!r} is no log probability")
    return min(float(value), 0.0)


def _named(token: str) -> Named:
    return _count(int(token[len(_ID) :]), _LARGEST) if token.startswith(_ID) else _read(token)
