"""laconic's own rule: draft one more token only while it is worth more than it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, Go, LengthPolicy, Node, Verdict
from laconic.speculation.length.calibration import Calibration, Cell, Counts, Habit, bin_of, depth_of
from laconic.speculation.pace import Pace

_MOST = 96
"""Tokens drafted at most in a round: a bound on memory, beyond what pays anywhere."""
_FIRST = 4
"""Tokens drafted in rounds before anything has been measured."""
_TRY = 4
"""Rounds without a draft after which one is tried again: what is never drafted is never learned."""
_PATIENCE = 128
"""The same once trials have failed: their distance doubles up to this."""
_EXPLORE = 8
"""One in so many first tokens that do not seem to pay is drafted all the same."""
_RECENT = 0.85
"""Weight that a round keeps with each later one in what a request's tokens cost of late; about seven count."""
_USUAL = 10.0
"""Tokens at everyone's cost that stand beside them."""
_SHARED = 4.0
"""Rounds that all requests' drafts together count for in what one request may expect."""


@dataclass(slots=True)
class Round:
    """What the requests that draft together share."""

    requests: int
    looks: list[int] = field(default_factory=list)
    """How many of them wanted a row at each depth: a pass of the draft model serves them all."""

    def look(self, depth: int) -> None:
        """Count one."""
        while len(self.looks) <= depth:
            self.looks.append(0)
        self.looks[depth] += 1


@dataclass(slots=True)
class Balance:
    """State of one request."""

    pace: Pace
    context: Context
    own: Counts = field(default_factory=Counts)
    habit: Habit = field(default_factory=lambda: Habit(0.0, 0.0, 0.0))
    seconds: float = 0.0
    """Decayed sum of this request's shares of recent rounds."""
    written: float = 0.0
    """Decayed sum of what it wrote in them."""
    length: int = 0
    """Tokens of the text when the last round began."""
    cells: list[Cell] = field(default_factory=list)
    """Cells of the tokens drafted in this round, in order."""
    chance: float = 1.0
    """That all of them are accepted; chains only."""
    round: Round = field(default_factory=lambda: Round(1))
    silent: int = 0
    """Rounds since the last draft."""
    patience: int = _TRY
    refused: int = 0
    """First tokens that did not seem to pay."""


@knobs
class Marginal(LengthPolicy):
    """Weigh every further draft token: its chance to be accepted times what a token is worth, against its cost.

    With r tokens a second written at present, an accepted token saves 1/r seconds. Drafted at depth k it is accepted
    with probability P_k, the product of the chances down to it; scoring it makes the target pass longer by s seconds,
    looking for the next one costs a pass of the draft model, d seconds, shared by all requests that want one. A token
    whose row is there is drafted while ``P_k / r > s``; the one after it is looked for while ``P_k c / r > s + d``, c
    its expected chance. Chances only fall along a path, so no later token can make up for one that does not pay, and
    this is the schedule with the highest rate: the rate is the fixed point of the rule (Dinkelbach 1967), which the
    running mean of the measured rate follows. It is taken over the last rounds of the request, since a hard passage
    must be written at the rate that is possible there. The same rule sizes trees: every node is weighed by the chance
    of its path.

    Nothing is set by hand. Chances are the drafter's own confidences, calibrated online for each request over a
    prior that all requests share. r, s and d are measured at the batch, width and context at hand, so under load drafts
    shorten by themselves. A request whose drafts have not paid as a whole decodes plainly, but for a trial after
    four rounds, later and later while trials fail.
    """

    card = Card(
        paper="laconic's own; the rate as a fixed point: Dinkelbach, On Nonlinear Fractional Programming (1967)",
        lossless=True,
        timed=True,
    )

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration()

    @cached_property
    def _habit(self) -> Habit:
        return Habit()

    def start(self, context: Context, pace: Pace) -> Balance:
        """Begin with what other requests have shown."""
        return Balance(pace, context, length=len(context.tokens))

    def budget(self, state: Balance) -> int:
        """None where drafts are not expected to pay, else the bound; ``go_on`` ends drafts."""
        return self.budgets([state])[0]

    def budgets(self, states: Sequence[Balance]) -> list[int]:
        """As ``budget``, for requests that share their passes."""
        shared = Round(len(states))
        return [self._budget(state, shared) for state in states]

    def _budget(self, state: Balance, shared: Round) -> int:
        state.round = shared
        state.cells.clear()
        state.chance = 1.0
        state.silent += 1
        if not state.pace.known:
            shared.look(0)
            return _FIRST
        written = len(state.context.tokens) - state.length
        state.length += written
        if written > 0:
            state.seconds = _RECENT * state.seconds + state.pace.last / shared.requests
            state.written = _RECENT * state.written + written
        if state.silent < state.patience and not self._pays(state, shared.requests):
            return 0
        shared.look(0)
        return _MOST

    def _pays(self, state: Balance, requests: int) -> bool:
        """Whether drafts like the last ones, by all requests, would bring more than they cost."""
        pace, own, all_ = state.pace, state.habit, self._habit
        rounds = own.rounds + _SHARED
        drafted = (own.drafted + _SHARED * all_.drafted / all_.rounds) / rounds
        accepted = (own.accepted + _SHARED * all_.accepted / all_.rounds) / rounds
        longer = pace.target_pass(requests * (1 + drafted)) - pace.target_pass(requests)
        return accepted * self._worth(state) > (longer + drafted * pace.draft_pass) / requests

    def _worth(self, state: Balance) -> float:
        """Seconds that one more accepted token saves: what this request's tokens cost of late, beside what all do."""
        return (state.seconds + _USUAL * state.pace.token) / (state.written + _USUAL)

    def go_on(self, state: Balance, node: Node) -> Go:
        """Compare worth and cost of this token, and of a look at the next."""
        pace, calibration, depth = state.pace, self._calibration, node.depth
        cell = bin_of(node.confidence), depth_of(depth)
        chance = calibration.chance(state.own, cell) * (state.chance if node.path is None else node.path)
        go = Go.ON
        if pace.known:
            worth, score = chance * self._worth(state), pace.node(state.round.requests * (depth + 2))
            if worth <= score and (depth or not self._explores(state)):
                if depth == 0 and not state.cells:
                    self._settle(state, 0, 0)
                return Go.STOP
            looks = state.round.looks
            share = max(looks[depth], 1) if depth < len(looks) else 1
            if worth * calibration.ahead(cell) <= score + pace.draft_pass / share:
                go = Go.LAST
        state.cells.append(cell)
        if node.path is None:
            state.chance = chance
        if go is Go.ON:
            state.round.look(depth + 1)
        return go

    def _explores(self, state: Balance) -> bool:
        """Whether a first token is drafted although it does not seem to pay: now and then, or that were never known."""
        state.refused += 1
        return state.refused % _EXPLORE == 0

    def observe(self, state: Balance, verdict: Verdict, seconds: float) -> None:
        """Count what held."""
        if state.cells:
            self._calibration.learn(state.own, state.cells, verdict.tree, verdict.path)
        self._settle(state, len(verdict.tree), verdict.accepted)

    def _settle(self, state: Balance, drafted: int, accepted: int) -> None:
        """Note what a round that looked for a draft has brought."""
        state.patience = _TRY if accepted or state.silent < state.patience else min(2 * state.patience, _PATIENCE)
        state.silent = 0
        for habit in (state.habit, self._habit):
            habit.add(max(drafted, 1), accepted)
