"""Quantisation: all entries stay, those of the last tokens as they were written, the others in few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, cast

from pydantic import Field, InstanceOf

from laconic.kv.base import KV, Codec, Telling
from laconic.kv.growing import Growing
from laconic.models.four_bits import GROUP
from laconic.models.past import Held, Past, PastLayer
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


class Quantiser(Growing):
    """Keeps one request's cache as :class:`Quantised` has it."""

    def __init__(self, policy: Quantised, told: Telling) -> None:
        self._policy = policy
        super().__init__(told, policy.recent, GROUP, stepwise=policy.stepwise)

    def copied(self) -> Quantiser:
        """See the base."""
        return Quantiser(self._policy, self._told)

    def cut(self, last: int) -> int:
        """Whole groups."""
        return self._covered + max(last - self._covered, 0) // GROUP * GROUP

    def layer(self, index: int, held: Held, new: slice, covered: int) -> PastLayer:
        """Coded."""
        return self._policy.codec.encode(held.keys[new].contiguous(), held.values[new].contiguous())

    def joined(self, old: PastLayer, new: PastLayer) -> PastLayer:
        """See the base."""
        return self._policy.codec.joined([old, new])
