"""REST: continue as texts in a datastore do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from laconic.errors import StoreError
from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Grown, Judge, Row, TokenTree, Tools, TreeShape
from laconic.speculation.drafters.datastore import BUILD, DEPTH, Datastore
from laconic.speculation.drafters.few import NOTHING, Ints, few_rows
from laconic.speculation.drafters.growing import grow


@dataclass(slots=True)
class Retrieval:
    """State of one request."""

    context: Context
    shape: TreeShape


@knobs
class Rest(Drafter):
    """Retrieve what followed the last tokens in texts that were stored beforehand.

    Source: REST (He et al. 2023). A datastore holds texts as tokens with all their places sorted, so that those behind
    the longest known end of the text (16 tokens at most) are found by bisection; of their continuations the frequent
    ones are drafted. ``laconic fit datastore FILES... FOLDER`` builds one from files of text or of recorded answers,
    with the model's own tokenizer; it is mapped into memory and shared by whoever reads it. Where the authors build one
    tree out of the most frequent prefixes, here the run's shape grows it from the same counts. A token that followed
    c of n places has a chance of c / (n + 1): one place more, where something new follows. Its drafts are not drawn.
    """

    card = Card(paper="REST: Retrieval-Based Speculative Decoding", lossless=True, arxiv="2311.08252")
    files: ClassVar[frozenset[str]] = frozenset({"datastore"})
    hints: ClassVar[dict[str, str]] = {"datastore": BUILD}

    datastore: str
    """Folder that ``laconic fit datastore`` wrote."""
    min_match: Annotated[int, Field(ge=1, le=DEPTH)] = 2
    """Shortest known end of the text that is drafted from, tokens."""
    most: Annotated[int, Field(ge=1)] = 1000
    """Places looked at in a round; of more, as many that are evenly spread."""

    @property
    def expands(self) -> bool:
        """True: any continuation can be followed."""
        return True

    @cached_property
    def _store(self) -> Datastore:
        return Datastore.load(self.datastore)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise StoreError for a datastore that cannot be read, or whose tokens this target does not have."""
        if self._store.about.vocabulary > target.vocab_size:
            raise StoreError(
                f"the datastore at '{self.datastore}' has tokens up to {self._store.about.vocabulary - 1}, this model "
                f"has {target.vocab_size}: it was made with another tokenizer ('{self._store.about.tokenizer}').",
                BUILD,
            )

    def start(self, context: Context, tools: Tools) -> Retrieval:
        """Nothing to remember: the datastore never changes."""
        return Retrieval(context, tools.shape)

    def propose(
        self, states: Sequence[Retrieval], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A tree for each request whose last tokens are known."""
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def _draft(self, state: Retrieval, budget: int, judge: Judge | None) -> TokenTree:
        context, tokens = state.context, self._store.tokens
        if budget <= 0:
            return EMPTY
        found, length = self._store.find(context.tokens[-DEPTH:], self.most)
        if length < self.min_match:
            return EMPTY
        nodes = Grown()
        places: dict[int, Ints] = {-1: found}
        """Where each node's next token stands."""

        def row(node: int) -> Row:
            if node >= 0:
                above = places[nodes.parents[node]]
                places[node] = above[tokens[above] == nodes.tokens[node]] + 1
            follow = tokens[places[node]]
            known, counts = np.unique(follow[follow != NOTHING], return_counts=True)
            shares = counts / (len(follow) + 1)
            at = len(context.tokens) + nodes.below(node)
            return few_rows(known[None].astype(np.int64), shares[None], context, [at])[0]

        def rows(wanted: list[int]) -> list[Row]:
            return [row(node) for node in wanted]

        return grow(state.shape, nodes, budget, context, judge, rows, self.name)
