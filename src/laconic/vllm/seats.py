"""The requests of vLLM's batch by their row in it, as far as laconic has to do with them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from laconic.vllm.asked import EXPECTED
from laconic.vllm.host import log
from laconic.vllm.inside import Following

_PARKED = 256
"""Requests remembered at most that have left the batch and may come back to it."""


@dataclass(slots=True)
class Seat:
    """One request. ``output`` is vLLM's own list of what it has written, which grows.

    ``following`` is None for a request that laconic does not control, and for one whose control has failed: then
    ``failed`` says why, and the request is made to end.
    """

    prompt: list[int]
    output: list[int]
    following: Following | None = None
    failed: str = ""
    most: int = 1 << 40
    """Tokens that it may write."""
    ends: Set[int] = frozenset()
    """Tokens that end it."""
    expected: Sequence[int] = ()
    """What it will probably write."""
    drafting: Any = None
    """What a drafter keeps about it."""
    params: Any = None
    """vLLM's sampling parameters of it."""

    @staticmethod
    def of(params: Any, prompt: Sequence[int] | None, output: list[int]) -> Seat:
        """A request with these sampling parameters."""
        extra: Mapping[str, Any] = params.extra_args or {}
        ends = {*(params.stop_token_ids or ()), getattr(params, "eos_token_id", None)}
        most, expected = params.max_tokens or 1 << 40, tuple(extra.get(EXPECTED, ()))
        return Seat(list(prompt or ()), output, most=most, ends=ends, expected=expected, params=params)

    @property
    def over(self) -> bool:
        """Whether it is known to have ended."""
        if len(self.output) >= self.most or not self.ends.isdisjoint(self.output):  # more may be written beyond an end
            return True
        return self.following is not None and self.following.done

    def goes_on(self, params: Any, output: Sequence[int]) -> bool:
        """Whether a request with these parameters and this output is this one, after what is known of it."""
        known = self.output[: self.output.index(-1)] if -1 in self.output else self.output
        return self.params is params and list(output[: len(known)]) == known

    def catch_up(self) -> None:
        """Take in what vLLM has written since the last time."""
        if self.following is None:
            return
        seen = self.following.written - len(self.prompt)
        new = self.output[seen:]
        if new and -1 not in new:  # a place that is held for a token under way
            self.try_to(lambda following: following.arrived(new))

    def try_to(self, act: Callable[[Following], object]) -> None:
        """Do something with the control of the request. Whatever it raises ends this request and no other."""
        if self.following is None:
            return
        try:
            act(self.following)
        except Exception as error:
            log.exception("control of a request failed, the request is ended")
            self.failed, self.following = f"{type(error).__name__}: {error}", None


@dataclass(slots=True)
class Seats:
    """All of them. ``taken`` makes a Seat of an added request, given its parameters, prompt and output.

    A request that leaves the batch may have ended, or make way for others and come back. Those that have not ended are
    parked, and known again by the list of their output or, where asynchronous scheduling has made a new one, by what is
    in it.
    """

    taken: Callable[[Any, Sequence[int] | None, list[int]], Seat]
    left: Callable[[Seat], None] = lambda _: None
    """Told of requests that are gone for good."""
    rows: dict[int, Seat] = field(default_factory=dict)
    _parked: OrderedDict[int, Seat] = field(default_factory=OrderedDict)

    def __iter__(self) -> Iterator[tuple[int, Seat]]:
        return iter(sorted(self.rows.items()))

    def sync(self, update: Any) -> None:
        """Follow vLLM's BatchUpdate: requests that left, came, and changed their row, in this order.

        A row that somebody else comes to is not among those that were left, and who left may be among those who come.
        """
        one_way = [other for _, other, direction in update.moved if direction.name != "SWAP"]
        for row in (*update.removed, *(row for row, *_ in update.added), *one_way):
            self._leave(row)
        for row, params, prompt, output in update.added:
            parked = self._back(params, output)
            self.rows[row] = parked if parked is not None else self.taken(params, prompt, output)
        for one, other, _ in update.moved:
            first, second = self.rows.pop(one, None), self.rows.pop(other, None)
            if first is not None:
                self.rows[other] = first
            if second is not None:
                self.rows[one] = second

    def drafts(self, given: Sequence[Sequence[int]] | None) -> list[list[int]]:
        """The draft tokens of each row, none where vLLM names none."""
        size = max([*self.rows, len(given or ()) - 1], default=-1) + 1
        return [list(given[row]) if given and row < len(given) else [] for row in range(size)]

    def _back(self, params: Any, output: list[int]) -> Seat | None:
        """The seat of a request that has come back, with the list that grows from now on."""
        same = (key for key, seat in self._parked.items() if output and seat.goes_on(params, output))
        key = id(output) if id(output) in self._parked else next(same, None)
        if key is None:
            return None
        seat = self._parked.pop(key)
        seat.output = output
        return seat

    def _leave(self, row: int) -> None:
        seat = self.rows.pop(row, None)
        if seat is not None:
            self._park(seat)

    def _park(self, seat: Seat) -> None:
        seat.catch_up()
        if seat.over:
            self.left(seat)
            return
        self._parked[id(seat.output)] = seat  # the seat holds the list, so that no other can have its id
        while len(self._parked) > _PARKED:
            self.left(self._parked.popitem(last=False)[1])
