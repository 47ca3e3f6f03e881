"""Anchor: a right solution stands among the rollouts of every group."""

from __future__ import annotations

from laconic.policy import Card, knobs
from laconic.training.plans.base import Plan, Planned, Step


@knobs
class Anchor(Plan):
    """The first rollout of every group is the problem's solution from the data, all others are sampled.

    Source: Toward Honest Language Models for Deductive Reasoning (Anchor), as the abstract describes it: a group of
    which no rollout is right teaches nothing, or only what to avoid, and one right solution in it gives the others
    something to be held against. The solution is rewarded like any rollout; that it is learned from as if the model had
    sampled it, without a ratio of probabilities, is this project's reading. A problem without a solution, or with one
    that is longer than a rollout may be, has sampled rollouts alone.
    Trap: what is learned from a solution is imitation, also of its length: with rewards by length a long one is pushed
    away as any long rollout is. ``needed`` keeps it to groups that have nothing right.
    """

    card = Card(paper="Toward Honest Language Models for Deductive Reasoning (Anchor)", lossless=False,
                catalogue=(280,))  # fmt: skip
    solutions = True

    needed: bool = False
    """Whether the solution stands only in groups of which no other rollout is right."""

    def rollouts(self, step: Step) -> list[Planned]:
        """See the class."""
        known = [step.solution(at) for at in range(len(step.asked))]
        known = [each if len(each) <= step.limit else () for each in known]
        problems = [
            at for at in range(len(step.asked)) for _ in range(step.size - (bool(known[at]) and not self.needed))
        ]
        made = step.run([step.request(at, (), step.limit) for at in problems], problems, 0)
        groups: list[list[tuple[int, ...]]] = [[] for _ in known]
        for at, result in zip(problems, made, strict=True):
            groups[at].append(tuple(result.tokens))
        for at, (solution, group) in enumerate(zip(known, groups, strict=True)):
            if not solution:
                continue
            if len(group) < step.size:
                group.insert(0, solution)
            elif not any(step.right(at, each) for each in group):
                group[0] = solution
        return [Planned(at, step.asked[at].prompt, each) for at, group in enumerate(groups) for each in group]
