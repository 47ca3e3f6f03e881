"""What a slot carries besides keys and values: recurrent states, and enough of its last passes to take tokens back.

Keys and values of a token can be forgotten by shortening a row. A recurrent state cannot, so a slot remembers its last
passes: the state before each, what its mixers read, and how many of those tokens the text kept. The state after any
token of these passes is a replay away; earlier points are made anew from the text itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from laconic.models.base import ScoreTree
from laconic.models.mixers import Layout, Mixers, Read, States
from laconic.models.slot_pass import SlotPass

_PASSES = 8
"""Passes remembered. Requests take back what they wrote since an open check point; few passes are made meanwhile."""

Refill = Callable[[Sequence[int]], States]
"""Makes the states after a text from nothing."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """``count`` tokens from ``start`` on that the text kept of row ``row`` of a pass; no pass for a mere state."""

    start: int
    states: States
    read: Read | None = None
    row: int = 0
    count: int = 0

    @property
    def end(self) -> int:
        """The length up to which this tells of states."""
        return self.start + self.count


class Carried:
    """The recurrent states of one slot."""

    def __init__(self, mixers: Mixers, refill: Refill) -> None:
        self._mixers = mixers
        self._refill = refill
        self.tokens: list[int] = []
        self._kept: deque[_Kept] = deque([_Kept(0, mixers.empty(1))], maxlen=_PASSES)
        self._scored: tuple[Round, int] | None = None

    def at(self, length: int) -> States:
        """The states after the first ``length`` tokens, ``[1, ...]`` each."""
        for kept in reversed(self._kept):
            if kept.start == length:
                return kept.states
            if kept.start < length <= kept.end:
                states = self._after(kept, length - kept.start)
                if length == len(self.tokens):  # asked again, as a rule, by the next pass
                    self._kept.append(_Kept(length, states))
                return states
        states = self._refill(self.tokens[:length]) if length else self._mixers.empty(1)
        self._kept.append(_Kept(length, states))
        return states

    def scored(self, now: Round, slot: int) -> None:
        """A pass has scored a tree of this slot, the ``slot``-th of the pass."""
        self._scored = now, slot

    def commit(self, path: Sequence[int]) -> None:
        """Keep these nodes of the last pass."""
        if not path:
            return
        assert self._scored is not None, "nothing has been scored"
        now, slot = self._scored
        row, start = now.row(slot, path)
        self._kept.append(_Kept(start, now.before[row], now.read, row, len(path)))
        self.tokens += [now.trees[slot].tokens[node] for node in path]

    def filled(self, tokens: Sequence[int], states: States) -> None:
        """``tokens`` have been read in a pass of their own, after which the states are these."""
        self.tokens += tokens
        self._kept.append(_Kept(len(self.tokens), states))

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` tokens."""
        if not count:
            return
        del self.tokens[len(self.tokens) - count :]
        length = len(self.tokens)
        left = (
            replace(kept, count=min(kept.count, length - kept.start)) for kept in self._kept if kept.start <= length
        )
        self._kept = deque(left, maxlen=_PASSES)

    def fork(self) -> Carried:
        """An independent copy; states are never changed once made."""
        other = Carried(self._mixers, self._refill)
        other.tokens, other._kept = self.tokens.copy(), self._kept.copy()
        return other

    @property
    def nbytes(self) -> int:
        """Bytes of the states and of what is kept for replays; a pass of several slots counts with each."""
        reads = {id(kept.read): kept.read for kept in self._kept if kept.read is not None}
        states = {id(t): t for kept in self._kept for state in kept.states.values() for t in state.values()}
        return sum(read.nbytes for read in reads.values()) + sum(t.nbytes for t in states.values())

    def _after(self, kept: _Kept, count: int) -> States:
        read = kept.read
        assert read is not None
        if count == read.width:  # the whole row, and nothing was filled up behind it
            return _row(read.after, kept.row)
        return self._mixers.replay(read, [kept.row], count)


class Round:
    """One pass over trees, as the mixers see it: every way from a root to a leaf is a row."""

    def __init__(self, trees: Sequence[ScoreTree], slots: Sequence[Carried]) -> None:
        self.trees = trees
        self._ways = [(slot, way) for slot, tree in enumerate(trees) for way in tree.ways()]
        self._starts = [_base(trees[slot], way[0], len(slots[slot].tokens)) for slot, way in self._ways]
        self.before = [slots[slot].at(start) for (slot, _), start in zip(self._ways, self._starts, strict=True)]
        self.read: Read | None = None

    def layout(self, now: SlotPass, rows: Sequence[int]) -> Layout:
        """Where the ways lie in a pass; ``rows`` are those of the slots in it."""
        places = [[rows[slot] * now.width + node for node in way] for slot, way in self._ways]
        return Layout(places, (now.rows, now.width), now.positions.device)

    def stacked(self) -> States:
        """The states before each row."""
        if len(self.before) == 1:
            return self.before[0]
        return {
            layer: {key: torch.cat([states[layer][key] for states in self.before]) for key in state}
            for layer, state in self.before[0].items()
        }

    def row(self, slot: int, path: Sequence[int]) -> tuple[int, int]:
        """The row in which ``path`` of a slot's tree was read, and the length of the text that it continues."""
        wanted = list(path)
        for row, (whose, way) in enumerate(self._ways):
            if whose == slot and way[: len(wanted)] == wanted:
                return row, self._starts[row]
        raise ValueError(f"nodes {wanted} are no path of the last pass")


def _base(tree: ScoreTree, root: int, length: int) -> int:
    return tree.bases[root] if tree.bases and tree.bases[root] >= 0 else length


def _row(states: States, row: int) -> States:
    return {layer: {key: t[row : row + 1] for key, t in state.items()} for layer, state in states.items()}
