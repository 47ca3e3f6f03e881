"""Multi-sample consensus: draft what other answers to the same question agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laconic.policy import Card, knobs
from laconic.speculation.base import EMPTY, Context, Drafter, Grown, Judge, Row, TokenTree, Tools, TreeShape, Verdict
from laconic.speculation.drafters.few import few_rows
from laconic.speculation.drafters.growing import grow
from laconic.speculation.drafters.siblings import Family, Place


@dataclass(slots=True)
class Member:
    """State of one request: an answer in a family."""

    context: Context
    shape: TreeShape
    prompt: tuple[int, ...]
    family: Family
    number: int

    def read(self) -> None:
        """Let the family know what was written."""
        self.family.read(self.number, self.context.tokens[len(self.prompt) :])


@knobs
class Consensus(Drafter):
    """Draft by a vote of the other answers to the same question, where they stood behind the same tokens.

    Source: Speculative Decoding for Multi-Sample Inference (Li et al. 2025), for self-consistency and best of n.
    Requests with equal prompts are siblings; their answers are remembered, finished ones too, until the last of them
    leaves. The places behind the longest of 8, 4, 3 or 2 tokens that this answer ends in vote for what follows, each
    with the weight of how many tokens before it agree (16 at most; the authors weigh by probability, too), and one vote
    of average weight is for something new. The run's shape grows the consensus: ``chain`` their likeliest path, trees
    its rivals. A request without siblings drafts nothing.
    """

    card = Card(paper="Speculative Decoding for Multi-Sample Inference", lossless=True, catalogue=(84,))

    @property
    def expands(self) -> bool:
        """True: any continuation can be followed."""
        return True

    @cached_property
    def _families(self) -> dict[tuple[int, ...], Family]:
        """By prompt."""
        return {}

    def start(self, context: Context, tools: Tools) -> Member:
        """Find the siblings."""
        prompt = tuple(context.tokens)
        family = self._families.setdefault(prompt, Family())
        return Member(context, tools.shape, prompt, family, family.join())

    def propose(
        self, states: Sequence[Member], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """A tree for each request that has siblings with a place behind the same tokens."""
        for state in states:
            state.read()
        return [self._draft(*request) for request in zip(states, budgets, judges, strict=True)]

    def observe(self, states: Sequence[Member], verdicts: Sequence[Verdict]) -> None:
        """Let siblings know what was written."""
        for state in states:
            state.read()

    def finish(self, state: Member) -> None:
        """The last of a family takes its answers along."""
        state.read()
        state.family.alive -= 1
        if not state.family.alive:
            self._families.pop(state.prompt, None)

    def _draft(self, state: Member, budget: int, judge: Judge | None) -> TokenTree:
        context, family = state.context, state.family
        found = family.find(state.number)
        if budget <= 0 or not found:
            return EMPTY
        nodes = Grown()
        voters: dict[int, list[tuple[Place, int]]] = {-1: found}
        """Who has a say below each node: places of the next token, and their weights."""
        unknown = sum(weight for _, weight in found) / len(found)

        def row(node: int) -> Row:
            if node >= 0:
                above, token = voters[nodes.parents[node]], nodes.tokens[node]
                voters[node] = [((a, at + 1), w) for (a, at), w in above if family.token((a, at)) == token]
            votes: dict[int, float] = {}
            for place, weight in voters[node]:
                said = family.token(place)
                if said is not None:
                    votes[said] = votes.get(said, 0.0) + weight
            shares = np.array([list(votes.values())]) / (sum(votes.values()) + unknown)
            position = len(context.tokens) + nodes.below(node)
            return few_rows(np.array([list(votes)], dtype=np.int64), shares, context, [position])[0]

        def rows(wanted: list[int]) -> list[Row]:
            return [row(node) for node in wanted]

        return grow(state.shape, nodes, budget, context, judge, rows, self.name)
