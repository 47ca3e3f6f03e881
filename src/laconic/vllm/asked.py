"""What a request to vLLM asks of laconic: fields of its ``vllm_xargs``, which may hold plain values only."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from laconic.errors import RequestError, did_you_mean
from laconic.policy import joined
from laconic.vllm.inside import Think

NAME = "laconic"
THINK, ANSWER_ROOM = "laconic.think", "laconic.answer_room"
FIELDS = (THINK, ANSWER_ROOM)
SEED, EXPECTED, PART, EFFORT = "_laconic_seed", "_laconic_expected", "_laconic_part", "_laconic_effort"
"""What the server adds: dice that are equal on every rank, tokens that will probably be written, that a request is part
of one whose controllers it decides itself, and the effort that its client named."""
OURS = secrets.randbits(62)
"""The value of PART in this process, which no client knows."""


def left_alone(params: Any) -> dict[str, Any]:
    """Extra arguments with which a request is none of laconic's business, here and in the workers."""
    return {**(params.extra_args or {}), PART: OURS}


def check_own(params: Any) -> None:
    """Raise RequestError where a client has sent what only the server adds: workers trust in it."""
    given: Mapping[str, Any] = params.extra_args or {}
    for name in (SEED, EXPECTED, PART):
        if name in given and given.get(PART) != OURS:
            raise RequestError(f"'{name}' is not for clients.", "Leave it out.")


@dataclass(frozen=True, slots=True)
class Asked:
    """The controllers of a request, and the tokens kept for its answer (None: laconic's default, 0: none).

    ``own`` says that they come from laconic's own fields or settings, not from vLLM's budget alone; ``named``, that
    the client has named one of laconic's fields. Who has not is never refused on laconic's account.
    """

    think: Think = ()
    answer_room: int | None = None
    own: bool = True
    named: bool = field(default=True, compare=False)

    @staticmethod
    def of(params: Any, otherwise: str = "", efforts: Mapping[str, str] = MappingProxyType({})) -> Asked | None:
        """What vLLM's sampling parameters ask for; None for a request that is none of laconic's business.

        ``laconic.think`` names controllers as ``--think`` does, joined by ``+``; ``none`` names none, and the server
        still sees to it that the thought is answered. ``otherwise`` is what the server does where a request names
        nothing, ``efforts`` where it names no more than an effort. vLLM's own ``thinking_token_budget`` is taken over
        as ``budget``, since it holds under drafts here. Raises RequestError and MethodError subclasses.
        """
        given: Mapping[str, Any] = params.extra_args or {}
        if PART in given:
            return None
        for name in given:
            if name.lower().startswith(NAME) and name not in FIELDS:
                raise RequestError(f"'{name}' is no field of laconic's.", did_you_mean(name, FIELDS))
        if params.thinking_token_budget is None:
            otherwise = efforts.get(str(given.get(EFFORT)), otherwise)
        named = any(name in given for name in FIELDS)
        own = named or bool(otherwise)
        budget = params.thinking_token_budget
        if budget is None and not own:
            return None
        think, room = given.get(THINK, otherwise), given.get(ANSWER_ROOM)
        if not isinstance(think, str):
            raise RequestError(f"{THINK} is a text, not {think!r}.", "Join methods by +: budget:256+loop-break.")
        if room is not None and (not isinstance(room, int) or isinstance(room, bool) or room < 0):
            raise RequestError(f"{ANSWER_ROOM} is a number of tokens, not {room!r}.", "0 keeps no room.")
        methods = () if think.strip() in ("", "none") else joined(think)
        budgets = () if budget is None else (f"budget:{max(budget, 1)}",)  # the shortest thought there is
        return Asked((*budgets, *methods), room, own, named)
