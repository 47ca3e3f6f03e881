"""laconic's own rule: draft one more token only while it is worth more than it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, Go, Judge, LengthPolicy, Node, Verdict
from laconic.speculation.length.calibration import Calibration, Cell, Counts, bin_of, depth_of
from laconic.speculation.length.uniform import LENGTHS, Acceptance, Uniform, expected
from laconic.speculation.pace import Pace

_MOST = 96
"""Tokens drafted at most in a round: a bound on memory, beyond what pays anywhere."""
_FIRST = 4
"""Tokens drafted in rounds before anything has been measured."""
_TRY = 4
"""Rounds without a draft after which one is tried again: what is never drafted is never learned."""
_PATIENCE = 128
"""The same once trials have failed: their distance doubles up to this."""
_TREE = 4
"""Nodes of a tree that are thought to share a pass of the draft model."""
_EXPLORE = 8
"""One in so many first tokens that do not seem to pay is drafted all the same."""
_RECENT = 0.85
"""Weight that a round keeps with each later one in what a request's tokens cost of late; about seven count."""
_USUAL = 10.0
"""Tokens at everyone's cost that stand beside them."""
_SHARED = 8.0
"""Tokens that all requests' drafts together count for in the rate of one."""
_OWN, _ALL = 0.95, 0.998
"""Weight that a round keeps with each later one in a request's rate of acceptance, and in that of all."""


@dataclass(slots=True)
class Balance:
    """State of one request."""

    pace: Pace
    context: Context
    own: Counts = field(default_factory=Counts)
    acceptance: Acceptance = field(default_factory=lambda: Acceptance(0.0, 0.0))
    seconds: float = 0.0
    """Decayed sum of this request's shares of recent rounds."""
    written: float = 0.0
    """Decayed sum of what it wrote in them."""
    length: int = 0
    """Tokens of the text when the last round began."""
    rounds: int = 0
    """Rounds of ``pace`` by then."""
    cells: list[Cell] = field(default_factory=list)
    """Cells of the tokens drafted in this round, in order."""
    chance: float = 1.0
    """That all of them are accepted; chains only."""
    alone: bool = True
    """Whether no other request drafts in this round."""
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
    looking for the next one costs a pass of the draft model, d seconds. A token whose row is there is drafted while
    ``P_k / r > s``; the one after it is looked for while ``P_k c / r > s + d``, c its expected chance. Chances only
    fall along a path, so no later token can make up for one that does not pay, and this is the schedule with the
    highest rate: the rate is the fixed point of the rule (Dinkelbach 1967), which the running mean of the measured
    rate follows. It is taken over the last rounds of the request, since a hard passage must be written at the rate that
    is possible there. The same rule sizes trees: every node is weighed by the chance of its path.

    Requests of a batch share the passes of the draft model. They draft alike, at the length with the most tokens a
    second by the same costs and the rate of acceptance of late (SmartSpec's goodput).

    There is no length and no threshold to set. Chances are the drafter's own confidences, calibrated online for each
    request over a prior that all requests share. r, s and d are measured at the batch, width and context at hand, so
    under load drafts shorten by themselves, down to none. What is fixed is how it learns: how fast old rounds fade, how
    much a prior weighs, how often a draft is tried again. These constants, some thirty, stand at the heads of this
    file, ``calibration``, ``uniform`` and ``pace``. A request alone whose drafts have not paid decodes plainly, but for
    a trial after four rounds, later and later while trials fail.
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
    def _acceptance(self) -> Acceptance:
        return Acceptance(4.0, 5.0)

    @cached_property
    def _uniform(self) -> Uniform:
        return Uniform()

    def start(self, context: Context, pace: Pace) -> Balance:
        """Begin with what other requests have shown."""
        return Balance(pace, context, length=len(context.tokens), rounds=pace.rounds)

    def budget(self, state: Balance) -> int:
        """None where drafts are not expected to pay, else the bound; ``go_on`` ends drafts."""
        return self.budgets([state])[0]

    def budgets(self, states: Sequence[Balance]) -> list[int]:
        """As ``budget``; requests that share their passes draft alike.

        Draft passes are made for whoever wants one, so requests that stop and go on by themselves waste what the others
        pay; and to ask about every token of every request costs more than it saves. Where passes cost nothing more up
        to some width, the rule would also have two fixed points, to stop there, and to go on for as long as one more
        token costs less than the average one; comparing lengths finds the better.
        """
        for state in states:
            self._begin(state, len(states))
        if len(states) == 1:
            (state,) = states
            pays = not state.pace.known or state.silent >= state.patience or self._pays(state)
            return [(_MOST if state.pace.known else _FIRST) if pays else 0]
        if not states or not states[0].pace.known:
            return [_FIRST] * len(states)
        return [self._uniform.length(states[0].pace, len(states), self._acceptance.rate)] * len(states)

    def _begin(self, state: Balance, requests: int) -> None:
        """Note what the last round has written, and at what cost."""
        state.alone = requests == 1
        state.cells.clear()
        state.chance = 1.0
        state.silent += 1
        latest = state.pace.rounds == state.rounds + 1  # else the text is of several rounds, the time of one
        state.rounds = state.pace.rounds
        if not state.pace.known:
            return
        written = len(state.context.tokens) - state.length
        state.length += written
        if written > 0 and latest:
            state.seconds = _RECENT * state.seconds + state.pace.last / requests
            state.written = _RECENT * state.written + written

    def _pays(self, state: Balance) -> bool:
        """Whether a draft of some length would bring more than it costs."""
        pace, own = state.pace, state.acceptance
        rate = (own.accepted + _SHARED * self._acceptance.rate) / (own.tested + _SHARED)
        worth, plain = self._worth(state), pace.target_pass(1)
        return any(
            (expected(rate, length) - 1) * worth > pace.target_pass(1 + length) - plain + length * pace.draft_pass
            for length in LENGTHS
        )

    def judge(self, state: Balance) -> Judge | None:
        """In a batch the length is everyone's, and nothing is asked."""
        return super().judge(state) if state.alone else None

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
            worth, score = chance * self._worth(state), pace.node(1 + len(state.cells))
            look = pace.draft_pass if node.path is None else pace.draft_pass / _TREE
            if worth * calibration.ahead(cell) <= score + look:
                go = Go.LAST
            if worth <= score and (depth or not self._explores(state)):
                if depth == 0 and not state.cells:
                    self._settle(state, 0, 0)
                return Go.STOP
        state.cells.append(cell)
        if node.path is None:
            state.chance = chance
        return go

    def _explores(self, state: Balance) -> bool:
        """Whether to draft a first token that does not seem to pay, lest what was underrated once stay so for ever."""
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
        state.acceptance.add(max(drafted, 1), accepted, _OWN)
        self._acceptance.add(max(drafted, 1), accepted, _ALL)
