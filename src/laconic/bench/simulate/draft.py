"""Drafts without a draft model: the real chain shape and the real length policy, fed from a recording."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import cast

import torch

from laconic.bench.simulate.recording import Script, Stray
from laconic.policy import registry
from laconic.speculation.base import Context, Grown, Judge, Row, TokenTree, TreeShape

END, OTHER = 0, 1
"""The only two tokens of a simulation: those that end a text, and all others."""
_STEPS = 60


_UNREAD = torch.ones(1)


class RecordedRow:
    """A Row of a recording. ``spread`` False spares making the distribution, which only few policies read."""

    __slots__ = ("_spread", "best", "confidence", "entropy")

    def __init__(self, best: int, confidence: float, entropy: float, spread: bool) -> None:
        self.best = best
        self.confidence = confidence
        self.entropy = entropy
        self._spread = spread

    @property
    def probs(self) -> torch.Tensor:
        """A distribution of the recorded confidence and entropy; whatever else it has is not recorded.

        Where nobody reads it another one stands for it: that there is one says that a draft pass was made.
        """
        return distribution(self.confidence, self.entropy) if self._spread else _UNREAD

    def top(self, k: int) -> list[tuple[int, float]]:
        """The favourite alone: what else the draft model thought of is not recorded."""
        return [(self.best, self.confidence)] if k > 0 else []


@lru_cache(maxsize=1 << 14)
def distribution(confidence: float, entropy: float) -> torch.Tensor:
    """A distribution whose likeliest token has probability ``confidence`` and whose entropy is ``entropy`` nats.

    As many tokens as needed get ``confidence`` too, one gets x, and a tail shares the rest evenly; x is found by
    bisection, as entropy falls with it. Entropies that no distribution of this confidence has are taken to the nearest.
    """
    top = min(max(confidence, 1e-6), 1.0)
    rest = 1 - top
    if rest <= 1e-9:
        return torch.tensor([1.0])
    surplus = (entropy + top * math.log(top)) / rest + math.log(rest)  # what an even tail of its logarithm's size gives
    tail = max(8, math.ceil(rest / top) + 1, min(1 << 18, math.ceil(2 * math.exp(min(surplus, 12.5)))))

    def values(filled: int, x: float) -> tuple[float, float]:
        """Probability of each token of the tail, and the entropy; ``filled`` tokens have ``top`` besides the first."""
        left = rest - filled * top - x
        each = max(left, 0.0) / tail
        terms = (filled + 1) * _entr(top) + _entr(x) + tail * _entr(each)
        return each, terms

    filled, room = 0, rest
    while room > top and values(filled, top)[1] > entropy:
        filled, room = filled + 1, room - top
    low, high = room / (tail + 1), min(top, room)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if values(filled, middle)[1] > entropy else (low, middle)
    x = (low + high) / 2
    each = values(filled, x)[0]
    return torch.tensor([top] * (filled + 1) + [x] + [each] * tail, dtype=torch.float64).float()


def _entr(p: float) -> float:
    return -p * math.log(p) if p > 0 else 0.0


class Guess:
    """One request's draft in the making, begun after ``written`` tokens of ``script``.

    ``passes`` counts the passes of the draft model that it took part in, ``hits`` the drafted tokens, from the first
    on, that are the text's own.
    """

    __slots__ = (
        "_at",
        "_below",
        "_expand",
        "_grown",
        "_nodes",
        "_rows",
        "_script",
        "_spread",
        "hits",
        "passes",
        "tree",
    )

    def __init__(
        self, script: Script, written: int, context: Context, budget: int, judge: Judge | None, spread: bool
    ) -> None:
        self._script = script
        self._at = written
        self._below: tuple[Stray, int] | None = None
        self._spread = spread
        self._nodes = Grown()
        self._grown = 0
        self._rows: dict[int, Row] = {}
        self._expand = chain_shape().grow(self._nodes, budget, context, judge)
        self.tree: TokenTree | None = None
        self.passes = self.hits = 0
        next(self._expand)

    def advance(self) -> bool:
        """Take part in one more pass of the draft model; returns whether the draft goes on."""
        self.passes += 1
        row = self._row()
        self._rows[self._grown - 1] = row
        try:
            self._expand.send([row])
        except StopIteration as end:
            made: TokenTree = end.value
            self.tree = TokenTree(made.tokens, made.parents, source="draft-model", rows=self._rows)
        if len(self._nodes.tokens) > self._grown:
            self._grown += 1
            self._move()
        return self.tree is None

    def _row(self) -> RecordedRow:
        script = self._script
        if self._below is None:
            t = self._at
            stray = None if script.hits[t] else script.strays[t]
            ends = (script.stopped and t == len(script) - 1) if stray is None else stray.ended and not stray.confidence
            return RecordedRow(END if ends else OTHER, script.confidence[t], script.entropy[t], self._spread)
        stray, depth = self._below
        last = len(stray.confidence) - 1
        if last < 0:  # recorded with a length of 0: as sure as where it strayed
            return RecordedRow(OTHER, script.confidence[self._at], script.entropy[self._at], self._spread)
        i = min(depth, last)
        ends = stray.ended and depth >= last
        return RecordedRow(END if ends else OTHER, stray.confidence[i], stray.entropy[i], self._spread)

    def _move(self) -> None:
        """To the place after the token that has just been drafted."""
        if self._below is not None:
            self._below = (self._below[0], self._below[1] + 1)
        elif self._script.hits[self._at]:
            self._at += 1
            self.hits += 1
        else:
            self._below = (self._script.strays[self._at], 0)


@lru_cache(maxsize=1)
def chain_shape() -> TreeShape:
    """The chain shape: a recording holds chains alone."""
    import laconic.methods  # noqa: F401  (fills the registry)

    return cast(TreeShape, registry.build("shape", "chain"))
