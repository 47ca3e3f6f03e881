"""What policies have in common that keep everything and read part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import KV, Telling
from laconic.kv.growing import Growing
from laconic.models.past import Held, Past, PastLayer, Plain
from laconic.models.units import InUnits
from laconic.policy import Needs, knobs


@knobs
class Retrieval(KV):
    """Base of the policies that read, for each query, those units of the past that promise it most.

    Nothing is lost, and nothing is saved of the memory: what shrinks is what a pass reads. A prompt is read as ever,
    and put in units when it has been read; ``stepwise`` does so on the way.
    """

    needs = Needs(reducible_cache=True)

    budget: Annotated[int, Field(ge=1)] = 1024
    """Entries of the past that a query reads in each layer and key head, besides those that are in no unit yet."""
    recent: Annotated[int, Field(ge=0)] = 64
    """Last tokens that are in no unit, at least: all of them are read."""
    whole: Annotated[int, Field(ge=0)] = 2
    """First layers that read everything."""
    stepwise: bool = False
    """Put a prompt in units while it is read."""

    @property
    def unit(self) -> int:
        """Entries of a unit, at most."""
        raise NotImplementedError

    def ends(self, told: Telling, begin: int, last: int) -> list[int]:
        """Where units end that begin at token ``begin`` of the text, each behind the other, ``last`` at most."""
        raise NotImplementedError

    def described(self, keys: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What units of these sizes are described by; see InUnits."""
        raise NotImplementedError

    def start(self, told: Telling) -> Reader:
        """The keeper of one request."""
        return Reader(self, told)

    def takes(self, length: int) -> bool:
        """Whether a query would read less than everything."""
        return length - self.recent > self.budget

    def view(self, told: Telling, held: Sequence[Held | None], length: int) -> Past | None:
        """All of it, in units."""
        return Reader(self, told).reduce(length, held)


class Reader(Growing):
    """Puts one request's cache in units as its policy has them."""

    def __init__(self, policy: Retrieval, told: Telling) -> None:
        self._policy = policy
        self._sizes: list[int] = []
        super().__init__(told, policy.recent, policy.unit, stepwise=policy.stepwise)

    def copied(self) -> Reader:
        """See the base."""
        return Reader(self._policy, self._told)

    def cut(self, last: int) -> int:
        """Behind the last unit that has ended."""
        ends = self._policy.ends(self._told, self._covered, last)
        self._sizes = [end - begin for begin, end in zip([self._covered, *ends], ends, strict=False)]
        return ends[-1] if ends else self._covered

    def layer(self, index: int, held: Held, new: slice, covered: int) -> PastLayer:
        """In units, but for the first layers."""
        keys, values = held.keys[new].contiguous(), held.values[new].contiguous()
        if index < self._policy.whole:
            return Plain(keys.clone(), values.clone())
        low, high = self._policy.described(keys, self._sizes)
        starts = torch.tensor([0, *self._sizes], device=keys.device).cumsum(0)
        return InUnits(keys.clone(), values.clone(), starts, low, high, self._policy.budget)

    def joined(self, old: PastLayer, new: PastLayer) -> PastLayer:
        """See the base."""
        if isinstance(old, InUnits) and isinstance(new, InUnits):
            return InUnits.joined([old, new])
        assert isinstance(old, Plain)
        assert isinstance(new, Plain)
        return Plain(torch.cat([old.keys, new.keys]), torch.cat([old.values, new.values]))
