"""The places for children of one node, filled one after another: what trees that draw their tokens share."""

from __future__ import annotations

import torch

from laconic.speculation.base import Context, Drafting, Go, Grown, Judge, Node, Row
from laconic.speculation.draws import Draws

MOST = 4096
"""Nodes of a sampled tree at most: each has a sub-stream of random numbers."""


class Slots:
    """At most ``most`` children of ``parent``; each can be valued before its token is drawn.

    Under ``Drafting.SAMPLE`` tokens are drawn from ``row.probs`` without replacement, under ``REPEAT`` independently.
    Greedy requests, foreseen draws and rows without a distribution give ``row.top`` in order.

    The children of every node are drawn with random numbers of their own that no earlier round has used (keyed as
    ``Draws`` says). Where slots of several branches compete, numbers shared with cousins or with later rounds would
    make the existence of a slot, and the place where a round ends, hang on the very numbers that its token is drawn
    with. With fresh ones decisions may hang on all that was drawn before: whatever that was, the next token has
    exactly the law that the verifier divides by.
    """

    __slots__ = ("_context", "_drafting", "_limit", "_nodes", "_rest", "filled", "known", "probs", "row", "waits")

    def __init__(self, row: Row, parent: int, nodes: Grown, context: Context, most: int, drafting: Drafting) -> None:
        self.row = row
        self.filled = 0
        """Children so far."""
        self.known: list[tuple[int, float]] = []
        """Tokens in the order in which they will be taken, with their probabilities; empty under ``REPEAT``."""
        self.probs: torch.Tensor | None = None
        """What tokens are drawn from, ``[vocab]``; None where they are not drawn."""
        self.waits: list[float] = []
        """``SAMPLE``: how long after the first each of the tokens came; rates are their probabilities in the row."""
        self._nodes, self._context, self._drafting = nodes, context, drafting
        self._rest = 1.0
        self._limit = most
        if context.sampling.greedy or drafting is Drafting.FORESEE or row.probs is None:
            self.known = row.top(most)
            self._limit = len(self.known)
            return
        self.probs = row.probs
        if drafting is Drafting.SAMPLE:
            tokens, waits = context.draws.waits(row.probs, len(context.tokens), Draws.DRAFT, parent + 1)
            order = waits.argsort()[:most]
            drawn = tokens[order].tolist()
            self.known = [(token, float(row.probs[token])) for token in drawn]
            self._limit = len(drawn)
            self.waits = (waits[order] - waits[order[0]]).tolist()

    @property
    def left(self) -> bool:
        """Whether there is another child to be had."""
        return self.filled < self._limit

    @property
    def mass(self) -> float:
        """Chance, by the row, that the target comes to the next child once it is at the parent.

        Where tokens are drawn without replacement, what the children before it leave of the row; else the next token's
        own probability.
        """
        return self._rest if self.probs is not None else self.known[self.filled][1]

    @property
    def confidence(self) -> float:
        """Chance that the target takes the next child, at most: a bound that does not look at the token to be drawn.

        Where tokens are drawn, the probability of the likeliest token that is still to be had.
        """
        if self.probs is None:
            return self.mass
        if self._drafting is Drafting.REPEAT:  # how many there are must not depend on which they are
            return float(self.probs.max())
        rest = self.probs.clone()
        rest[[token for token, _ in self.known[: self.filled]]] = 0
        return float(rest.max())

    def ask(self, judge: Judge | None, depth: int, path: float) -> Go:
        """What a length policy says of the next child at ``depth``, ``path`` the probability of the tokens above."""
        return judge(Node(depth, self.row.probs, self.confidence, path)) if judge is not None else Go.ON

    def take(self) -> tuple[int, float]:
        """Fill the next place: a token and its probability in the row."""
        if self.probs is not None and self._drafting is Drafting.REPEAT:
            draws, start = self._context.draws, len(self._context.tokens)
            token = draws.pick(self.probs, start, Draws.DRAFT, len(self._nodes.tokens))
            share = float(self.probs[token])
        else:
            token, share = self.known[self.filled]
            self._rest = max(self._rest - share, 0.0)
        self.filled += 1
        return token, share
