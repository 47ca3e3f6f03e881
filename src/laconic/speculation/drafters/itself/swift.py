"""Which layers to leave out is searched for while the model writes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field

from laconic.models.base import RunsParts
from laconic.models.partial import LayerPlan
from laconic.policy import Card, knobs
from laconic.speculation.base import Judge, TokenTree, Verdict
from laconic.speculation.drafters.itself.drafter import Own, SelfDrafter
from laconic.speculation.drafters.itself.units import Unit, named_right, plan_of, units_of

_LATELY = 0.05
_FAR_BELOW = 0.5
"""Of the promised share: below it, the search begins anew."""


@dataclass(slots=True)
class Search:
    """What has been found for a model so far. ``score`` is the share of a window that the best plan names right."""

    units: Sequence[Unit]
    count: int
    """Of them left out; 0 for a model of two layers, which has none to leave out."""
    draws: random.Random
    best: frozenset[Unit] = frozenset()
    score: float = -1.0
    tries: int = 0
    idle: int = 0
    """Tries since the last that was better."""
    rounds: int = 0
    right: float = 0.0
    """Share of first drafted tokens that the target took lately; it begins with what the search has promised."""

    def due(self, every: int, patience: int, enough: float) -> bool:
        """Whether this round is one to try another plan in."""
        self.rounds += 1
        return (self.rounds - 1) % every == 0 and self.idle < patience and self.score < enough

    def judge(self, verdict: Verdict) -> None:
        """Hear of a round; texts that the best plan does not suit set the search going again."""
        self.right += _LATELY * ((verdict.accepted > 0) - self.right)
        if self.right < _FAR_BELOW * self.score:
            self.score, self.idle, self.right = -1.0, 0, self.score

    def candidate(self) -> frozenset[Unit]:
        """Evenly spread at first; then some of the best exchanged, few more often than many; now and then anew."""
        if not self.best:
            step = len(self.units) / self.count
            return frozenset(self.units[int((i + 0.5) * step)] for i in range(self.count))
        if self.draws.random() < 0.1:
            return frozenset(self.draws.sample(self.units, self.count))
        left = [unit for unit in self.units if unit not in self.best]
        exchanged = min(1 + int(self.draws.expovariate(1.0)), len(left), self.count)
        gone = self.draws.sample(sorted(self.best), exchanged)
        return self.best.difference(gone) | frozenset(self.draws.sample(left, exchanged))

    def hear(self, candidate: frozenset[Unit], score: float) -> None:
        """A candidate has named this share right."""
        self.tries += 1
        self.idle += 1
        if score > self.score:
            self.best, self.score, self.idle, self.right = candidate, score, 0, score


@knobs
class Swift(SelfDrafter):
    """Draft with the layers that matter most for this text, which are found while it is written.

    A share ``skip`` of all attention and feed-forward parts is left out, never those of the first and the last layer.
    Which ones is searched for between rounds: a candidate reads the last ``window`` tokens of a request in one pass and
    is judged by how many of them it would have written. The search is shared by all requests, and rests after
    ``patience`` tries without a better one, or once ``enough`` are right; it wakes up when what is accepted falls far
    below what the search has promised, as it does when the texts change. The authors mix random search with Bayesian
    optimisation; here neighbours of the best take the latter's place, which needs no model of the scores.
    """

    card = Card(
        paper="SWIFT: On-the-Fly Self-Speculative Decoding for LLM Inference Acceleration",
        catalogue=(188,),
        lossless=True,
        arxiv="2410.06916",
    )

    skip: Annotated[float, Field(gt=0, lt=1)] = 0.45
    """Share of the parts of layers that is left out."""
    window: Annotated[int, Field(ge=1)] = 32
    """Tokens that a candidate is judged by."""
    every: Annotated[int, Field(ge=1)] = 4
    """Rounds from one try to the next."""
    patience: Annotated[int, Field(ge=1)] = 60
    """Tries without a better plan after which the search rests."""
    enough: Annotated[float, Field(gt=0)] = 0.95
    """Share of tokens named right with which it rests."""
    seed: int = 0
    """Of the candidates."""
    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""

    @cached_property
    def _searches(self) -> dict[int, Search]:
        """Of each target, by its id; in a run there is one."""
        return {}

    def _search(self, target: RunsParts) -> Search:
        if id(target) not in self._searches:
            units = units_of(target)
            count = min(max(1, round(self.skip * len(units))), len(units))
            self._searches[id(target)] = Search(units, count, random.Random(self.seed))
        return self._searches[id(target)]

    def plan(self, state: Own) -> LayerPlan | None:
        """The best so far; none before the first try."""
        best = self._search(state.target).best
        return plan_of(best) if best else None

    @torch.inference_mode()
    def propose(self, states: Sequence[Own], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """Draft with the best plan; before that, in every few rounds, try another one on the longest text."""
        if states:
            longest = max(states, key=lambda state: state.slot.length)
            search = self._search(longest.target)
            if search.count and search.due(self.every, self.patience, self.enough):
                candidate = search.candidate()
                score = named_right(longest, plan_of(candidate), self.window)
                if score is not None:
                    search.hear(candidate, score)
        return super().propose(states, budgets, judges)

    def observe(self, states: Sequence[Own], verdicts: Sequence[Verdict]) -> None:
        """Notice when drafts are refused far more often than the search has promised."""
        for state, verdict in zip(states, verdicts, strict=True):
            self._search(state.target).judge(verdict)

    def report(self) -> dict[str, Any] | None:
        """The plan that was found."""
        found = next(iter(self._searches.values()), None)
        if found is None or not found.best:
            return None
        plan = plan_of(found.best)
        return {
            "says": f"{found.score:.0%} of the last {self.window} tokens named right without "
            f"{len(plan.attention)} attentions and {len(plan.mlp)} feed-forward networks, after {found.tries} tries",
            "attention": sorted(plan.attention),
            "mlp": sorted(plan.mlp),
            "tries": found.tries,
            "right": round(found.score, 4),
        }
