"""Quantisation: all entries stay, those of the last tokens as they were written, the others in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field, InstanceOf

from laconic.kv.base import KV, Codec, Telling
from laconic.models.four_bits import GROUP
from laconic.models.past import Held, Past, PastLayer, Plain
from laconic.policy import Card, Family, Needs, knobs, registry


@knobs
class Quantised(KV):
    """Store entries in few bits, a group of 64 tokens at a time, as soon as ``recent`` newer ones are there.

    Source: KIVI (Liu et al. 2024), its window in full precision; ``codec`` says how. The prompt is read with its
    entries as they were written and coded when it has been read; ``stepwise`` codes them on the way.
    """

    card = Card(
        paper="KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache", lossless=False, arxiv="2402.02750"
    )
    needs = Needs(reducible_cache=True)
    parts: ClassVar[Mapping[str, Family]] = {"codec": "codec"}

    codec: InstanceOf[Codec] = Field(default_factory=lambda: cast(Codec, registry.build("codec", "kivi")))
    """How entries are coded, in brackets: ``[kivi:bits=2]``."""
    recent: Annotated[int, Field(ge=0)] = 32
    """Last tokens whose entries stay as they were written, at least."""
    stepwise: bool = False
    """Code a prompt's entries while it is read."""

    def start(self, told: Telling) -> Quantiser:
        """The keeper of one request."""
        return Quantiser(self, told)

    def takes(self, length: int) -> bool:
        """Whether there is a whole group."""
        return length >= self.recent + GROUP

    def view(self, told: Telling, held: Sequence[Held | None], length: int) -> Past | None:
        """All whole groups, coded."""
        return Quantiser(self, told).reduce(length, held)


class Quantiser:
    """Keeps one request's cache as :class:`Quantised` has it."""

    looks = 0

    def __init__(self, policy: Quantised, told: Telling) -> None:
        self._policy, self._told = policy, told
        self.restart()

    def restart(self) -> None:
        """Nothing is written yet."""
        self.since = self._covered = 0
        self._layers: tuple[PastLayer | None, ...] = ()
        self.stop = self._next(0)

    def fork(self) -> Quantiser:
        """An independent copy; what is coded is never changed."""
        other = Quantiser(self._policy, self._told)
        other.since, other.stop, other._covered, other._layers = self.since, self.stop, self._covered, self._layers
        return other

    def follow(self, told: Telling) -> None:
        """Go on with another request's text, which begins alike."""
        self._told = told

    @property
    def nbytes(self) -> int:
        """Nothing but what the past itself holds."""
        return 0

    def _next(self, length: int) -> int:
        """The length at which there is another group to be coded."""
        full = max(self._covered + self._policy.recent + GROUP, length + 1)
        prompt = max(self._told.prompt - 1, 1)
        return max(full, prompt) if length < prompt and not self._policy.stepwise else full

    def reduce(self, length: int, layers: Sequence[Held | None]) -> Past | None:
        """The past with what can be coded of the first ``length`` tokens; see Keeper."""
        self.since = length
        groups = (length - self._covered - self._policy.recent) // GROUP
        if groups > 0:
            covered = self._covered + groups * GROUP
            old = self._layers or (None,) * len(layers)
            made = [
                None if held is None else self._layer(one, held, covered) for one, held in zip(old, layers, strict=True)
            ]
            self._layers, self._covered = tuple(made), covered
        self.stop = self._next(length)
        return Past(self._covered, self._layers) if groups > 0 else None

    def _layer(self, old: PastLayer | None, held: Held, covered: int) -> PastLayer:
        """A layer's past up to ``covered`` tokens, of which ``old`` holds the first ones."""
        window, new = held.attention.window, slice(held.past, held.past + covered - self._covered)
        if window is not None:
            return self._in_view(old, held, covered, window)
        made = self._policy.codec.encode(held.keys[new].contiguous(), held.values[new].contiguous())
        return made if old is None else self._policy.codec.joined([old, made])

    def _in_view(self, old: PastLayer | None, held: Held, covered: int, window: int) -> PastLayer:
        """Of a layer with a sliding window, what that may still see, as it was written."""
        count = held.past + covered - self._covered
        first = max(count - window, 0)
        positions = held.keys.new_empty(0, dtype=torch.long).new_tensor(range(covered - count + first, covered))
        return Plain(held.keys[first:count].clone(), held.values[first:count].clone(), positions)
