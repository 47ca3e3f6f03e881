"""What is known of each member of a hybrid: what it costs, how far its word holds, and what asking it brings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.speculation.base import Drafter, Go, Judge, Node, TokenTree
from laconic.speculation.drafters.offers import Offer
from laconic.speculation.length.calibration import Calibration, Counts, bin_of, depth_of
from laconic.speculation.pace import Pace

_CHEAP = 0.05
"""Share of a target pass up to which a member's drafts cost next to nothing."""
_MEMORY = 0.95
"""Weight that a round keeps with each later one; about twenty count."""
_OUTLIER = 3.0
"""Longest time that is believed, in usual times."""
_SHARED = 8.0
"""Rounds that all requests together count for in the promise of one."""
_TRIALS = 4
"""Rounds in which a member is asked before anything is known of it."""
_PATIENCE, _MOST_PATIENCE = 8, 128
"""Rounds left out before a member is tried again; doubled while trials bring nothing."""
_TREE = 4
"""Nodes of a tree that are thought to share a pass of the draft model."""


def gain(made: Offer, pace: Pace) -> float:
    """Seconds that the best beginning of a draft saves on average; tokens while no costs are known."""
    if not pace.known:
        return made.expected
    worth, node = pace.token, pace.node(1 + len(made.paths))
    best = total = 0.0
    for path in made.paths:
        total += path * worth - node
        best = max(best, total)
    return best


@dataclass(slots=True)
class Promise:
    """What asking a member has brought lately, in one request or in all."""

    rounds: float = 0.0
    accepted: float = 0.0
    """Tokens of its drafts that were accepted."""
    added: float = 0.0
    """Those beyond what the other members' drafts would have given."""
    nodes: float = 0.0
    waited: int = 0
    """Rounds since it was asked."""
    patience: int = _PATIENCE

    def add(self, accepted: int, others: int, nodes: int) -> None:
        """Count a round in which it was asked: ``others`` is what would have been accepted without it."""
        self.rounds = _MEMORY * self.rounds + 1
        self.accepted = _MEMORY * self.accepted + accepted
        self.added = _MEMORY * self.added + max(0, accepted - others)
        self.nodes = _MEMORY * self.nodes + nodes
        self.patience = _PATIENCE if accepted > others else min(2 * self.patience, _MOST_PATIENCE)

    def due(self, everyone: Promise) -> bool:
        """Whether it is time for a trial."""
        return everyone.rounds < _TRIALS or self.waited >= self.patience

    def worth(self, everyone: Promise, pace: Pace, *, adds: bool) -> float:
        """Seconds that asking saves, the asking itself not counted; ``adds`` where its nodes join those of others."""
        share = _SHARED / max(everyone.rounds, 1.0)
        rounds = self.rounds + _SHARED
        mine, all_ = (self.added, everyone.added) if adds else (self.accepted, everyone.accepted)
        tokens = (mine + share * all_) / rounds
        if not pace.known:
            return tokens
        nodes = 0.0 if adds else (self.nodes + share * everyone.nodes) / rounds
        return tokens * pace.token - nodes * pace.node(1 + nodes)


class Member:
    """A drafter among others; shared by all requests."""

    def __init__(self, drafter: Drafter) -> None:
        self.drafter = drafter
        self.calibration = Calibration()
        self.promise = Promise()
        self.seconds = 0.0
        """Time that a draft of one request takes."""
        self.rounds = self.drafted = self.accepted = 0
        self._asked = 0
        drafters = [policy for policy in drafter.walk() if isinstance(policy, Drafter)]
        self.draws = any(policy.knows_distribution for policy in drafters)
        """Whether its tokens may be drawn from a distribution."""
        self._passes = any(policy.needs.draft_model for policy in drafters)

    def slow(self, pace: Pace) -> bool:
        """Whether asking it costs something."""
        return self._passes or (pace.known and self.seconds > _CHEAP * pace.target_pass(1))

    def ask(self, states: Sequence[Any], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """Its drafts; notes how long they took."""
        if not states:
            return []
        begun = time.perf_counter()
        trees = self.drafter.propose(states, budgets, judges)
        seconds = (time.perf_counter() - begun) / len(states)
        self._asked += 1
        if self._asked == 2:
            self.seconds = seconds
        elif self._asked > 2:  # the first call also sets up what later ones reuse
            self.seconds += (1 - _MEMORY) * (min(seconds, _OUTLIER * self.seconds) - self.seconds)
        return trees

    def rule(self, own: Counts, pace: Pace) -> Judge:
        """Which nodes of its tree are worth a pass of its own: those that pay by themselves."""

        def judge(node: Node) -> Go:
            cell = bin_of(node.confidence), depth_of(node.depth)
            chance = self.calibration.chance(own, cell) * (1.0 if node.path is None else node.path)
            cost = pace.node(1) + pace.draft_pass / _TREE if pace.known else 0.0
            return Go.ON if not pace.known or chance * pace.token > cost else Go.STOP

        return judge
