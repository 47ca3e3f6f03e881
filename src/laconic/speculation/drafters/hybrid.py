"""Several drafters at once: the best draft of each round stands, or all of them in one tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import (
    EMPTY,
    Context,
    Drafter,
    Drafting,
    Judge,
    TokenTree,
    Tools,
    Verdict,
)
from laconic.speculation.drafters.member import Member, Promise, gain
from laconic.speculation.drafters.offers import Ear, Offer, agreed, heard, judged, learn, merged, offer
from laconic.speculation.length.calibration import Counts
from laconic.speculation.pace import Pace

_EXPLORE = 16
"""One in so many drafts goes to the length policy with the nodes that do not seem to pay."""
_MOST = 64
"""Tokens that a member without cost is asked for at most in a round."""


@dataclass(slots=True)
class Mix:
    """State of one request: what every member knows of it, and what it offered in this round."""

    context: Context
    pace: Pace
    merges: bool
    """Whether the run's shape has branches, so that drafts of several members fit into one."""
    states: list[Any]
    own: list[Counts]
    promises: list[Promise]
    offers: dict[int, Offer] = field(default_factory=dict)
    """Of this round, by member; those of sampled drafts are not kept."""
    scored: dict[int, TokenTree] = field(default_factory=dict)
    """By member, its part of what the target scores."""
    judged: int = 0
    """Drafts that a length policy was asked about."""
    guest: int | None = None
    """The member with costs that was asked."""

    @property
    def draws(self) -> bool:
        """Whether draft tokens are drawn from the draft distribution."""
        return not self.context.sampling.greedy and self.context.drafting is not Drafting.FORESEE


@knobs
class Hybrid(Drafter):
    """Ask several drafters, and take the draft that should bring the most tokens a second, round by round.

    laconic's own; the idea is the fall-back drafter of SuffixDecoding, with measured promises in place of a threshold.
    Members whose drafts cost next to nothing all draft; what a member says of its tokens is calibrated online by what
    the target really wrote, also where its draft was not the one that was scored. A draft is worth the tokens that
    should be accepted, at the time that tokens have taken of late, less the time that its nodes add to a pass. A
    member that costs passes of a draft model, or more than a twentieth of a target pass, is asked where what it has
    brought lately, in this request and in all, is worth more than that and than its own time. Left out, it is tried
    again from time to time, ever less often while trials bring nothing. Of equals the first stands. A member that
    proposes nothing costs nothing.

    With a shape that has branches, members' trees are merged into one: shared prefixes once, and of all nodes the
    likeliest, as many as the budget has room for. A member with costs is then asked for what it adds to the others.

    The run's length policy, where it judges single tokens, is asked about those of the draft that was chosen that seem
    to pay, with their calibrated chances. A chain of a member with costs it judges as that grows. Where draft tokens
    are drawn from a distribution, to drop a draft for what was drawn would bias the output: a member that draws is
    chosen or left out before it is asked, and its tree is never merged. Members that listen hear every round, the
    others what became of their own part.
    """

    card = Card(paper="laconic's own; after SuffixDecoding's hybrid", lossless=True, timed=True)
    several = frozenset({"drafters"})
    hints: ClassVar[Mapping[str, str]] = {
        "drafters": "Write hybrid:[suffix]+[prompt-lookup], each member's spec in brackets."
    }

    drafters: Annotated[tuple[pydantic.InstanceOf[Drafter], ...], Field(min_length=1)]
    """The members, in the order that decides between equals: ``[suffix]+[draft-model]``."""

    @pydantic.field_validator("drafters")
    @classmethod
    def _once(cls, given: tuple[Drafter, ...]) -> tuple[Drafter, ...]:
        for at, drafter in enumerate(given):
            if drafter in given[:at]:
                raise ValueError(f"'{drafter.spec()}' is there twice")
        return given

    @cached_property
    def _members(self) -> list[Member]:
        return [Member(drafter) for drafter in self.drafters]

    @property
    def knows_distribution(self) -> bool:
        """Whether every member does."""
        return all(drafter.knows_distribution for drafter in self.drafters)

    @property
    def expands(self) -> bool:
        """Whether any member does; the chain of one that does not is a branch."""
        return any(drafter.expands for drafter in self.drafters)

    @property
    def knows_hidden(self) -> bool:
        """Whether every member does."""
        return all(drafter.knows_hidden for drafter in self.drafters)

    def report(self) -> dict[str, Any] | None:
        """How many rounds each member drafted in, and what was accepted of it."""
        members = [
            {"drafter": m.drafter.spec(), "rounds": m.rounds, "drafted": m.drafted, "accepted": m.accepted}
            for m in self._members
        ]
        says = ", ".join(f"{m['drafter']} {m['accepted']} of {m['drafted']} in {m['rounds']} rounds" for m in members)
        return (
            {"members": members, "says": f"accepted by member: {says}"}
            if any(m.rounds for m in self._members)
            else None
        )

    def start(self, context: Context, tools: Tools) -> Mix:
        """Start every member."""
        count = len(self.drafters)
        states = [drafter.start(context, tools) for drafter in self.drafters]
        return Mix(
            context,
            tools.pace,
            tools.shape.needs.expand,
            states,
            [Counts() for _ in range(count)],
            [Promise() for _ in range(count)],
        )

    def propose(self, states: Sequence[Mix], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """Ask the members without cost, then those that are worth theirs, and let the best draft of each stand."""
        for state in states:
            state.offers, state.scored, state.guest = {}, {}, None
        for number, member in enumerate(self._members):
            asked = [i for i, state in enumerate(states) if not self._costs(number, state)]
            self._ask_freely(number, member, [states[i] for i in asked], [budgets[i] for i in asked])
        for state in states:
            state.guest = self._worth_asking(state)
        trees = [EMPTY] * len(states)
        for number, member in enumerate(self._members):
            asked = [i for i, state in enumerate(states) if state.guest == number]
            rules = [self._rule(states[i], number, judges[i]) for i in asked]
            drafts = member.ask([states[i].states[number] for i in asked], [budgets[i] for i in asked], rules)
            for i, tree in zip(asked, drafts, strict=True):
                trees[i] = tree
        return [self._settled(*each) for each in zip(states, trees, budgets, judges, strict=True)]

    def _costs(self, number: int, state: Mix) -> bool:
        """Whether a member is asked only where that pays: it takes time, or what it draws may not be dropped."""
        member = self._members[number]
        return member.slow(state.pace) or (state.draws and member.draws)

    def _ask_freely(self, number: int, member: Member, states: Sequence[Mix], budgets: Sequence[int]) -> None:
        ears = [Ear() for _ in states]
        drafts = member.ask([state.states[number] for state in states], [min(_MOST, n) for n in budgets], ears)
        for state, tree, ear in zip(states, drafts, ears, strict=True):
            if len(tree):
                made = offer(tree, ear.confidences, member.calibration, state.own[number])
                state.offers[number] = made

    def _worth_asking(self, state: Mix) -> int | None:
        """The member with costs that promises most beyond what is offered already; None if there is none that pays."""
        base = max((gain(made, state.pace) for made in state.offers.values()), default=0.0)
        base = max(base, 0.0)
        chosen, best = None, 0.0
        for number, member in enumerate(self._members):
            if not self._costs(number, state):
                continue
            promise = state.promises[number]
            if promise.due(member.promise):
                return number
            promised = promise.worth(member.promise, state.pace, adds=state.merges) - member.seconds
            promised -= 0.0 if state.merges else base
            if promised > best:
                chosen, best = number, promised
        return chosen

    def _rule(self, state: Mix, number: int, judge: Judge | None) -> Judge | None:
        """What stops a member with costs: the run's length policy, unless that is asked about the merged tree later."""
        if not state.merges or state.draws:
            return judge
        return self._members[number].rule(state.own[number], state.pace)

    def _settled(self, state: Mix, tree: TokenTree, budget: int, judge: Judge | None) -> TokenTree:
        """The draft of a round: that of the guest if it has one, the best offer, or all in one."""
        guest = state.guest
        for number, promise in enumerate(state.promises):
            promise.waited = 0 if number == guest else promise.waited + 1
        if guest is not None and not len(tree):
            self._paid(state, guest, 0, 0, 0)
            state.guest = None
        elif guest is not None and (state.draws or not state.merges):
            state.scored[guest] = tree
            return tree
        elif guest is not None:
            state.offers[guest] = offer(tree, (), self._members[guest].calibration, state.own[guest])
        if not state.offers:
            return EMPTY
        if state.merges:
            made = merged(state.offers.values(), budget, state.context.ends, self.name)
            state.scored = {number: each.tree for number, each in state.offers.items()}
        else:
            best = max(state.offers, key=lambda number: (gain(state.offers[number], state.pace), -number))
            made = state.offers[best]
            state.scored = {best: made.tree}
        return made.tree if judge is None else judged(made, judge, self._floor(state, made), chain=not state.merges)

    def _floor(self, state: Mix, made: Offer) -> float:
        """The chance below which a node costs more than it brings, and no length policy need be troubled with it.

        One that saw every round a draft of somebody's that does not pay would take it for the drafter's best.
        """
        state.judged += 1
        if not state.pace.known or state.judged % _EXPLORE == 0:
            return 0.0
        return state.pace.node(1 + len(made.paths)) / state.pace.token

    def _paid(self, state: Mix, guest: int, accepted: int, others: int, nodes: int) -> None:
        for promise in (state.promises[guest], self._members[guest].promise):
            promise.add(accepted, others, nodes)

    def observe(self, states: Sequence[Mix], verdicts: Sequence[Verdict]) -> None:
        """Hold every offer against what was written, and tell members what became of their part."""
        for state, verdict in zip(states, verdicts, strict=True):
            if verdict.tree.given:
                state.offers, state.scored, state.guest = {}, {}, None
            self._learn(state, verdict)
        for number, member in enumerate(self._members):
            told = [self._told(number, *each) for each in zip(states, verdicts, strict=True)]
            member.drafter.observe([state.states[number] for state in states], told)
        for state in states:
            state.offers, state.scored, state.guest = {}, {}, None

    def _told(self, number: int, state: Mix, verdict: Verdict) -> Verdict:
        if self._members[number].drafter.listens:
            return verdict
        if number not in state.scored:
            return Verdict(EMPTY, (), verdict.next_token)
        return heard(state.scored[number], verdict) if verdict.tree.source == self.name else verdict

    def _learn(self, state: Mix, verdict: Verdict) -> None:
        written = verdict.tokens
        for number, made in state.offers.items():
            learn(self._members[number].calibration, state.own[number], made, written)
        right = {number: len(agreed(tree, written[:-1])) for number, tree in state.scored.items()}
        for number, accepted in right.items():
            member = self._members[number]
            member.rounds += 1
            member.drafted += len(state.scored[number])
            member.accepted += accepted
        if state.guest is not None:
            offers = (made.tree for number, made in state.offers.items() if number != state.guest)
            others = max((len(agreed(tree, written[:-1])) for tree in offers), default=0)
            self._paid(state, state.guest, right[state.guest], others, len(state.scored[state.guest]))

    def credit(self, states: Sequence[Mix], tokens: int, seconds: float) -> None:
        """Tell every member."""
        for number, drafter in enumerate(self.drafters):
            drafter.credit([state.states[number] for state in states], tokens, seconds)

    def complete(
        self, state: Mix, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        """The guess of the first member that has one."""
        for drafter, inner in zip(self.drafters, state.states, strict=True):
            if found := drafter.complete(inner, base, tokens, most, ends):
                return found
        return []

    def finish(self, state: Mix) -> None:
        """Release what the members hold."""
        for drafter, inner in zip(self.drafters, state.states, strict=True):
            drafter.finish(inner)
