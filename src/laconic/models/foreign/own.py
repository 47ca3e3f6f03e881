"""A draft model in its own tokens, whatever stands before it; and what joins these to the target's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from laconic.models.base import LanguageModel
from laconic.models.foreign.model import ForeignModel
from laconic.models.foreign.reading import Reading
from laconic.models.foreign.slot import Reads
from laconic.models.wrapper import Wrapper

_BYTES = 4


class Writes(Protocol):
    """See models.foreign.back.Back."""

    def spell(self, token: int) -> bytes:
        """What a token of theirs stands for."""
        ...

    def length(self, token: int) -> int:
        """Bytes of a token of ours."""
        ...

    def control(self, token: int) -> int | None:
        """The control token of ours that is called as this one of theirs."""
        ...

    def whole(self, tokens: Sequence[int]) -> int:
        """How many of some tokens of ours are what they are, whatever text follows."""
        ...

    def tokens(self, before: Sequence[int], written: bytes) -> list[int]:
        """Ours for ``written``."""
        ...


class Same:
    """Reads tokens as they are: two models with one vocabulary."""

    begun = Reading()

    def extend(self, reading: Reading, tokens: Sequence[int]) -> Reading:
        """The text goes on."""
        return reading._replace(since=(*reading.since, *tokens))

    def cut(self, reading: Reading) -> Reading:
        """Nothing is ever read otherwise."""
        return reading


class SameBack:
    """Writes tokens as they are: a token is spelled as its number, in four bytes."""

    def spell(self, token: int) -> bytes:
        """Its number."""
        return token.to_bytes(_BYTES, "big")

    def length(self, token: int) -> int:
        """Always the same."""
        return _BYTES

    def control(self, token: int) -> int | None:
        """None: all tokens are text."""
        return None

    def whole(self, tokens: Sequence[int]) -> int:
        """All of them."""
        return len(tokens)

    def tokens(self, before: Sequence[int], written: bytes) -> list[int]:
        """The numbers."""
        return [int.from_bytes(written[at : at + _BYTES], "big") for at in range(0, len(written), _BYTES)]


@dataclass(frozen=True, slots=True)
class Own:
    """``model`` in its own tokens, how it reads ours, and what it writes in ours."""

    model: LanguageModel
    reads: Reads
    writes: Writes


def own(model: LanguageModel) -> Own:
    """A draft model in its own tokens. One that shares the target's vocabulary has no others.

    Wrappers around it stay around it (see Wrapper.around).
    """
    wrappers: list[Wrapper] = []
    inner = model
    while isinstance(inner, Wrapper):
        wrappers.append(inner)
        inner = inner.model
    if not isinstance(inner, ForeignModel):
        return Own(model, Same(), SameBack())
    found = inner.model
    for wrapper in reversed(wrappers):
        found = wrapper.around(found)
    return Own(found, inner.reader, inner.back)
