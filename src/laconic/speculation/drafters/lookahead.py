"""Lookahead decoding: the target iterates on guesses of its own future, and n-grams that turn up on the way draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Grown, Judge, TokenTree, Tools, Verdict


class Pool:
    """N-grams by their first token, the latest ``most`` of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._after: dict[int, dict[tuple[int, ...], None]] = {}

    def add(self, gram: Sequence[int]) -> None:
        """Keep one; it becomes the latest of its first token."""
        first, *rest = gram
        known = self._after.setdefault(first, {})
        known.pop(tuple(rest), None)
        known[tuple(rest)] = None
        if len(known) > self._most:
            del known[next(iter(known))]

    def after(self, token: int) -> list[tuple[int, ...]]:
        """What has followed this token, the latest first."""
        return list(self._after.get(token, ()))[::-1]


@dataclass(slots=True)
class Window:
    """State of one request. ``levels[r][j]`` is the r-th guess on the way of column j, the oldest first.

    ``sent`` is the tree of the round, and for each column of it the nodes on its way.
    """

    context: Context
    pool: Pool
    levels: list[list[int]] = field(default_factory=list)
    sent: tuple[TokenTree, list[list[int]]] | None = None


class Grafted:
    """A tree in which no two siblings are the same token."""

    def __init__(self, budget: int) -> None:
        self.nodes = Grown()
        self._budget = budget
        self._below: dict[tuple[int, int], int] = {}

    def put(self, token: int, parent: int) -> int | None:
        """The node of ``token`` below ``parent``, there or new; None where there is no room."""
        node = self._below.get((parent, token))
        if node is None and len(self.nodes.tokens) < self._budget:
            node = self._below[parent, token] = self.nodes.add(token, parent)
        return node


@knobs
class Lookahead(Drafter):
    """Guess the next ``window`` tokens at once, have the target correct them pass by pass, and draft what comes of it.

    Source: Lookahead Decoding (Fu et al. 2024), Jacobi iteration with a memory. Below the last token hangs a chain of
    ``window`` guesses, and below each of these its own latest corrections, ``ngram`` - 1 levels in all; each pass gives
    every column one more. A column's tokens and that one are an n-gram, kept in a pool, and the ``guesses`` latest that
    begin with the last token of the text are drafted beside the window. No model and no training, but the window's
    tokens are scored in every pass, so it needs a target to which twenty more tokens cost little. Where the budget is
    too small for the whole window, the columns that fit are used.

    The prompt's n-grams are in the pool from the start. Guesses are the target's likeliest tokens at any temperature,
    so drafts are functions of the text: exact under every verifier.
    """

    card = Card(
        paper="Break the Sequential Dependency of LLM Inference Using Lookahead Decoding",
        lossless=True,
        arxiv="2402.02057",
    )
    needs = Needs(target_rows=True)

    window: Annotated[int, Field(ge=1, le=64)] = 5
    """Guesses ahead, tokens."""
    ngram: Annotated[int, Field(ge=2, le=16)] = 4
    """Tokens of an n-gram."""
    guesses: Annotated[int, Field(ge=1, le=64)] = 5
    """N-grams drafted at once, and kept for each first token."""

    def start(self, context: Context, tools: Tools) -> Window:
        """Remember the n-grams of the prompt; the window begins with its last tokens."""
        state = Window(context, Pool(self.guesses))
        text = context.tokens
        for i in range(len(text) - self.ngram + 1):
            state.pool.add(text[i : i + self.ngram])
        state.levels = [[text[i % len(text)] for i in range(-self.window, 0)]]
        return state

    def propose(
        self, states: Sequence[Window], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """The n-grams of the last token, then as many columns of the window as there is room for."""
        return [self._draft(state, budget) for state, budget in zip(states, budgets, strict=True)]

    def _draft(self, state: Window, budget: int) -> TokenTree:
        state.sent = None
        if budget <= 0:
            return EMPTY
        tree = Grafted(budget)
        for gram in state.pool.after(state.context.tokens[-1]):
            node: int | None = -1
            for token in gram:
                node = None if node is None else tree.put(token, node)
        first, ways = -1, []
        for column in zip(*state.levels, strict=True):
            way: list[int] = []
            above = first
            for token in column:
                found = tree.put(token, above)
                if found is None:
                    break
                way.append(found)
                above = found
            if not way:
                break
            first = way[0]
            if len(way) == len(column):
                ways.append(way)
        made = TokenTree(tree.nodes.tokens, tree.nodes.parents, source=self.name)
        state.sent = made, ways
        return made

    def observe(self, states: Sequence[Window], verdicts: Sequence[Verdict]) -> None:
        """One more correction for every column that was scored whole, and the n-grams that they make."""
        for state, verdict in zip(states, verdicts, strict=True):
            if state.sent is None or verdict.rows is None:
                continue
            made, ways = state.sent
            state.sent = None
            tree = verdict.tree
            if list(tree.tokens) != list(made.tokens) or list(tree.parents) != list(made.parents):
                continue  # somebody left nodes out
            columns = [list(column) for column in zip(*state.levels, strict=True)]
            for column, way in zip(columns, ways, strict=False):
                column.append(int(verdict.rows.best[way[-1] + 1]))
                if len(column) == self.ngram:
                    state.pool.add(column)
                    del column[0]
            whole = max(map(len, columns))
            kept = [column for column in columns if len(column) == whole]
            state.levels = [list(level) for level in zip(*kept, strict=True)]

    def finish(self, state: Window) -> None:
        """Forget everything."""
        state.pool = Pool(self.guesses)
        state.levels.clear()
        state.sent = None
