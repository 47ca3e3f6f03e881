"""The drafting of a round: what the drafter ``draft-model`` and the loop do, at the cost of a draft model's passes."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.bench.simulate.active import Active
from laconic.bench.simulate.costs import PassCost
from laconic.bench.simulate.draft import Guess
from laconic.bench.simulate.host import HostCost
from laconic.bench.simulate.memory import Bounds
from laconic.speculation.base import EMPTY, LengthPolicy
from laconic.speculation.drafters.writing import UNREAD_WITH_DRAFT


class Drafter:
    """Drafts for all requests in lock step, as long as ``policy`` says."""

    def __init__(self, policy: LengthPolicy, cost: PassCost, host: HostCost) -> None:
        self.policy, self.cost, self.host = policy, cost, host
        self.spread = any(part.needs.draft_distribution for part in policy.walk())

    def draft(self, active: Sequence[Active], bounds: Bounds) -> tuple[float, int]:
        """Give every request its draft; returns the seconds that took, and the passes of the draft model."""
        policy = self.policy
        for a in active:
            a.tree = EMPTY
        free = [a for a in active if a.room > 0]
        budgets = policy.budgets([a.state for a in free])
        most = bounds.longest_draft([len(a.context.tokens) for a in active], max(budgets, default=0))
        granted = [(a, min(n, a.room, most)) for a, n in zip(free, budgets, strict=True) if min(n, most) > 0]
        if not granted:
            return self.host.drafting(len(active), 0, 0, 0), 0
        asked = [a for a, _ in granted]
        judges = [policy.judge(a.state) for a in asked]
        guesses = [
            Guess(a.script, a.served.written, a.context, n, judge, self.spread)
            for (a, n), judge in zip(granted, judges, strict=True)
        ]
        seconds, passes, took_part = self._grow(asked, guesses)
        seconds += self.host.drafting(len(active), passes, took_part, took_part if any(judges) else 0)
        trees = [guess.tree or EMPTY for guess in guesses]
        for a, guess, tree in zip(asked, guesses, policy.select([a.state for a in asked], trees), strict=True):
            a.tree = tree
            # The last drafted token is in the draft model's cache only where it was asked what comes after it.
            a.read = len(a.context.tokens) + min(guess.hits, guess.passes - 1)
        return seconds, passes

    def _grow(self, asked: Sequence[Active], guesses: Sequence[Guess]) -> tuple[float, int, int]:
        """Advance all drafts together, pass by pass; returns seconds, passes, and requests summed over passes."""
        seconds, passes, took_part = 0.0, 0, 0
        sizes: list[int] = []
        for a in asked:
            unread = len(a.context.tokens) - min(a.read, len(a.context.tokens) - 1)
            if unread > UNREAD_WITH_DRAFT:
                seconds += self.cost.prefill(unread - 1)
                unread = 1
            sizes.append(unread)
        contexts = [len(a.context.tokens) - size for a, size in zip(asked, sizes, strict=True)]
        live = list(range(len(guesses)))
        while live:
            seconds += self.cost.seconds([sizes[i] for i in live], [contexts[i] for i in live], later=passes > 0)
            passes, took_part = passes + 1, took_part + len(live)
            for i in live:
                contexts[i] += sizes[i]
                sizes[i] = 1
            live = [i for i in live if guesses[i].advance()]
        return seconds, passes, took_part
