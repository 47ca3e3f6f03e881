"""One sequence of a model that reads it in another vocabulary."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from laconic.models.base import ScoreTree, Slot
from laconic.models.foreign.reading import Reading
from laconic.models.prefix import common_prefix

_BACK = 64
"""Tokens that can be taken back without reading the whole text again."""
_BLANK = 0
"""A token of theirs for a text in which nothing can be read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A pass over a tree of our tokens, in theirs.

    ``tree`` is what the model behind scores. Node i of ours ends at the last of its nodes ``ways[i]``, which are what
    is not cached of the text down to it, below the first ``bases[i]`` cached tokens.
    """

    ours: ScoreTree
    tree: ScoreTree
    ways: list[list[int]]
    bases: list[int]


class Reads(Protocol):
    """See models.foreign.reading.Reader."""

    @property
    def begun(self) -> Reading:
        """A text in which nothing stands yet."""
        ...

    def extend(self, reading: Reading, tokens: Sequence[int]) -> Reading:
        """The text goes on with ``tokens`` of ours."""
        ...

    def cut(self, reading: Reading) -> Reading:
        """The same with what will hardly be read otherwise settled."""
        ...


class ForeignSlot:
    """A sequence of our tokens in the cache of a model with other ones.

    ``inner`` caches ``cached``, a beginning of the text as that model read it last; what has become of it since is
    settled when the next pass is made. Where the text outgrows the model's ``room``, its beginning is no longer read.
    """

    def __init__(self, reader: Reads, inner: Slot, room: int) -> None:
        self.reader, self.inner, self.room = reader, inner, room
        self.cached: list[int] = []
        self._tokens: list[int] = []
        self._settled: list[int] = []
        self._reading = reader.begun
        self._before: deque[Reading] = deque(maxlen=_BACK)
        """How the text was read before each of its last tokens."""
        self._skipped = 0
        """Tokens of theirs at the beginning that are no longer read."""
        self._plan: Plan | None = None

    @property
    def length(self) -> int:
        """Committed tokens of ours."""
        return len(self._tokens)

    @property
    def tokens(self) -> list[int]:
        """Committed tokens of ours; a copy."""
        return self._tokens.copy()

    @property
    def nbytes(self) -> int:
        """Bytes of the cache behind."""
        return self.inner.nbytes

    @property
    def told(self) -> list[int]:
        """The committed text in their tokens, as far as it is read."""
        start, tail = self._parts(self._reading)
        return [*self._settled[self._skipped : self._skipped + start], *tail]

    def append(self, tokens: Sequence[int]) -> None:
        """The text goes on with tokens that no pass has seen."""
        first = len(tokens) - _BACK
        if first > 0:  # all but the last few at once: they will hardly be taken back one by one
            self._write(tokens[0], tokens[:first])
            self._tokens += tokens[1:first]
            self._before.clear()
        for token in tokens[max(first, 0) :]:
            self._write(token, (token,))

    def commit(self, path: Sequence[int]) -> None:
        """Keep nodes of the last pass; see models.base.Slot."""
        if not path:
            return
        plan, last = self._plan, path[-1]
        assert plan is not None, "commit without a pass"
        self._forget(plan.bases[last])
        self.inner.commit(plan.ways[last])
        self.cached += [plan.tree.tokens[node] for node in plan.ways[last]]
        for node in path:
            self._write(plan.ours.tokens[node], (plan.ours.tokens[node],))
        self._plan = None

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` tokens of ours."""
        if not 0 <= count <= len(self._tokens):
            raise ValueError(f"cannot roll back {count} of {len(self._tokens)} tokens")
        kept = self._tokens[: len(self._tokens) - count]
        if count > len(self._before):
            self._tokens, self._settled, self._reading = [], [], self.reader.begun
            self._before.clear()
            self.append(kept)
            return
        self._tokens = kept
        for _ in range(count):
            self._reading = self._before.pop()

    def fork(self) -> ForeignSlot:
        """An independent copy of the committed tokens."""
        made = ForeignSlot(self.reader, self.inner.fork(), self.room)
        made.cached, made._tokens, made._settled = self.cached.copy(), self._tokens.copy(), self._settled.copy()
        made._reading, made._before, made._skipped = self._reading, self._before.copy(), self._skipped
        return made

    def close(self) -> None:
        """Give the place back."""
        self.inner.close()

    def behind(self, room: int) -> list[int]:
        """Their tokens that are settled and not cached; ``room`` more will come. What is cached wrongly is dropped."""
        start, tail = self._parts(self._reading)
        if start + len(tail) + room > self.room:
            self._skipped = min(self._reading.settled, self._skipped + start + len(tail) + room - self.room // 2)
            self._forget(0)
            start, tail = self._parts(self._reading)
        settled = self._settled[self._skipped : self._skipped + start]
        kept = common_prefix(self.cached, settled)
        if kept < len(settled):
            self._forget(kept)
        return settled[kept:]

    def unread(self) -> list[int]:
        """Their tokens of the committed text that are not cached, the last one in any case; call ``behind`` first."""
        told = self.told
        kept = min(common_prefix(self.cached, told), len(told) - 1)
        self._forget(kept)
        return told[kept:]

    def wrote(self, tokens: Sequence[int]) -> None:
        """The model behind has scored a chain of its tokens after what is cached: keep them."""
        self.inner.commit(range(len(tokens)))
        self.cached += tokens

    def plan(self, ours: ScoreTree) -> Plan:
        """How a tree of our tokens is scored. What is cached beyond where its first nodes begin is dropped."""
        readings: list[Reading] = []
        for node, (token, parent) in enumerate(zip(ours.tokens, ours.parents, strict=True)):
            above = readings[parent] if parent >= 0 else self._at(ours.bases[node] if ours.bases else -1)
            readings.append(self.reader.extend(above, (token,)))
        agreed = common_prefix(self.cached, self._settled[self._skipped :])
        bases, rests = [], []
        for reading in readings:
            start, tail = self._parts(reading)
            same = start + common_prefix(self.cached[start:], tail) if agreed >= start else agreed
            base = min(same, start + len(tail) - 1)  # the last token is scored in any case, for its row
            settled = self._settled[self._skipped + base : self._skipped + start]
            bases.append(base)
            rests.append([*settled, *tail[max(0, base - start) :]])
        self._forget(max(bases))
        self._plan = _joined(ours, bases, rests, len(self.cached))
        return self._plan

    def _parts(self, reading: Reading) -> tuple[int, list[int]]:
        """How many of the settled tokens that are read belong to a reading, and what comes after these."""
        start = max(0, reading.settled - self._skipped)
        tail = list(reading.tail[max(0, self._skipped - reading.settled) :])
        return start, tail if start or tail else [_BLANK]

    def _at(self, base: int) -> Reading:
        """How the first ``base`` tokens are read; -1 stands for all."""
        back = len(self._tokens) - base
        if base < 0 or back == 0:
            return self._reading
        if back <= len(self._before):
            return self._before[-back]
        return self.reader.extend(self.reader.begun, self._tokens[:base])

    def _forget(self, length: int) -> None:
        """Keep only so many of the cached tokens."""
        if length < len(self.cached):
            self.inner.rollback(len(self.cached) - length)
            del self.cached[length:]

    def _write(self, token: int, tokens: Sequence[int]) -> None:
        """The text goes on with ``tokens``, the first of which is ``token``; what is settled is kept."""
        self._before.append(self._reading)
        self._tokens.append(token)
        reading = self.reader.cut(self.reader.extend(self._reading, tokens))
        del self._settled[reading.settled :]
        self._settled += reading.since
        self._reading = reading._replace(settled=len(self._settled), since=())


def _joined(ours: ScoreTree, bases: Sequence[int], rests: Sequence[Sequence[int]], cached: int) -> Plan:
    """The texts ``rests[i]`` below ``bases[i]`` cached tokens in one tree, in which like beginnings are one."""
    tokens: list[int] = []
    parents: list[int] = []
    roots: list[int] = []
    known: dict[tuple[int, int, int], int] = {}
    ways: list[list[int]] = []
    for base, rest in zip(bases, rests, strict=True):
        way: list[int] = []
        for token in rest:
            place = (-1 if way else base, way[-1] if way else -1, token)
            if place not in known:
                known[place] = len(tokens)
                roots.append(place[0])
                parents.append(place[1])
                tokens.append(token)
            way.append(known[place])
        ways.append(way)
    branches = any(base not in (-1, cached) for base in roots)
    return Plan(ours, ScoreTree(tokens, parents, roots if branches else ()), ways, list(bases))
