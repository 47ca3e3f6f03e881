"""Keepers that lose nothing: what is old enough goes over into the past in another form, a few tokens at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.kv.base import Telling
from laconic.models.past import Held, Past, PastLayer, Plain


class Growing:
    """Base of them. ``recent`` tokens at least stay as they were written, and ``step`` or more go over at a time."""

    looks = 0

    def __init__(self, told: Telling, recent: int, step: int, *, stepwise: bool) -> None:
        self._told, self._recent, self._step, self._stepwise = told, recent, step, stepwise
        self.restart()

    def restart(self) -> None:
        """Nothing is written yet."""
        self.since = self._covered = 0
        self._layers: tuple[PastLayer | None, ...] = ()
        self.stop = self._next(0)

    def copied(self) -> Growing:
        """One like this, at the beginning."""
        raise NotImplementedError

    def fork(self) -> Growing:
        """An independent copy; what has gone over is never changed."""
        other = self.copied()
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
        """The length at which there may be something to go over."""
        full = max(self._covered + self._recent + self._step, length + 1)
        prompt = max(self._told.prompt - 1, 1)
        return max(full, prompt) if length < prompt and not self._stepwise else full

    def cut(self, last: int) -> int:
        """How many tokens of the text go over, if the first ``last`` may; no fewer than have."""
        raise NotImplementedError

    def layer(self, index: int, held: Held, new: slice, covered: int) -> PastLayer:
        """A layer's entries ``new`` of ``held`` in their other form; ``covered`` tokens in all have gone over then."""
        raise NotImplementedError

    def joined(self, old: PastLayer, new: PastLayer) -> PastLayer:
        """Both, one behind the other."""
        raise NotImplementedError

    def reduce(self, length: int, layers: Sequence[Held | None]) -> Past | None:
        """The past with what can go over of the first ``length`` tokens; see Keeper."""
        self.since = length
        covered = self.cut(length - self._recent)
        moved = covered > self._covered
        if moved:
            old = self._layers or (None,) * len(layers)
            self._layers = tuple(
                None if held is None else self._grown(index, one, held, covered)
                for index, (one, held) in enumerate(zip(old, layers, strict=True))
            )
            self._covered = covered
        self.stop = self._next(length)
        return Past(self._covered, self._layers) if moved else None

    def _grown(self, index: int, old: PastLayer | None, held: Held, covered: int) -> PastLayer:
        """A layer's past up to ``covered`` tokens, of which ``old`` holds the first ones."""
        new = slice(held.past, held.past + covered - self._covered)
        if held.attention.window is not None:
            return in_view(held, new.stop, covered, held.attention.window)
        made = self.layer(index, held, new, covered)
        return made if old is None else self.joined(old, made)


def in_view(held: Held, count: int, covered: int, window: int) -> Plain:
    """Of the first ``count`` entries of a layer with a sliding window, up to ``covered`` tokens of the text, what that
    may still see, as it was written."""
    first = max(count - window, 0)
    positions = held.keys.new_empty(0, dtype=torch.long).new_tensor(range(covered - count + first, covered))
    return Plain(held.keys[first:count].clone(), held.values[first:count].clone(), positions)
