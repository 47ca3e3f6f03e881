"""The places for children of one node, filled one after another: what trees that draw their tokens share."""

from __future__ import annotations

import torch

from laconic.speculation.base import Context, Drafting, Go, Grown, Judge, Node, Row, TokenTree, hidden_of
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
            start = len(context.tokens)
            tokens, waits = context.draws.arrivals(row.probs, most, start, Draws.DRAFT, parent + 1)
            self.known = [(token, float(row.probs[token])) for token in tokens.tolist()]
            self._limit = len(self.known)
            self.waits = (waits - waits[0]).tolist()

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


class SlotTree:
    """A tree of at most ``budget`` tokens that is grown slot by slot; ``judge`` is asked before each slot is filled.

    A shape in which elder siblings decide whether there is a next one says ``repeat=False``: for verifiers that want
    independent draws nothing is drawn then, and the likeliest tokens are taken.
    """

    __slots__ = ("_budget", "_context", "_drafting", "_judge", "_nodes", "path", "slots")

    def __init__(
        self, nodes: Grown, budget: int, context: Context, judge: Judge | None, *, repeat: bool = True
    ) -> None:
        self._nodes, self._budget, self._context, self._judge = nodes, min(budget, MOST), context, judge
        independent = context.drafting is Drafting.REPEAT
        self._drafting = Drafting.FORESEE if independent and not repeat else context.drafting
        self.path = {-1: 1.0}
        """Probability of all tokens down to each node."""
        self.slots: dict[int, Slots] = {}
        """Places below each node that was opened."""

    @property
    def room(self) -> int:
        """Tokens that may still be added."""
        return max(self._budget - len(self._nodes.tokens), 0)

    def open(self, node: int, row: Row, most: int) -> Slots:
        """Make at most ``most`` places for children of ``node``, whose next tokens ``row`` is about."""
        slots = self.slots[node] = Slots(row, node, self._nodes, self._context, most, self._drafting)
        return slots

    def fill(self, parent: int) -> tuple[Go, int]:
        """Fill the next place below ``parent``: the new node (-1 under ``STOP``), and whether to look below it."""
        slots, path = self.slots[parent], self.path[parent]
        go = Go.ON
        if self._judge is not None:
            row = slots.row
            go = self._judge(Node(self._nodes.below(parent), row.probs, slots.confidence, path, hidden_of(row)))
        if go is Go.STOP:
            return go, -1
        token, share = slots.take()
        node = self._nodes.add(token, parent)
        self.path[node] = path * share
        return Go.LAST if token in self._context.ends else go, node

    def grown(self) -> TokenTree:
        """All that was added."""
        drawn_from = [q for parent in self._nodes.parents if (q := self.slots[parent].probs) is not None]
        return TokenTree(self._nodes.tokens, self._nodes.parents, drawn_from or None)
