"""laconic's own rule: draft one more token only while it is worth more than it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, Go, LengthPolicy, Node, Verdict
from laconic.speculation.length.calibration import Calibration, Cell, Counts, bin_of, depth_of
from laconic.speculation.pace import Pace

_MOST = 48
"""Tokens drafted at most in a round: a bound on memory, beyond what pays anywhere."""
_FIRST = 4
"""Tokens drafted in rounds before anything has been measured."""
_TRY = 16
"""Rounds without a draft after which one is tried again: what is never drafted is never learned."""


@dataclass(slots=True)
class Balance:
    """State of one request."""

    pace: Pace
    own: Counts = field(default_factory=Counts)
    cells: list[Cell] = field(default_factory=list)
    """Cells of the tokens drafted in this round, in order."""
    chance: float = 1.0
    """That all of them are accepted."""
    silent: int = 0
    """Rounds since the last draft."""


@knobs
class Marginal(LengthPolicy):
    """Weigh every further draft token: its chance to be accepted times what a token is worth, against its cost.

    With r tokens a second written at present, a token is worth 1/r seconds. A token drafted at depth k is accepted
    with probability P_k, the product of the chances down to it; scoring it makes the target pass longer by s seconds,
    looking for the next one costs a pass of the draft model, d seconds. A token whose row is there is drafted while
    ``P_k / r > s``; the one after it is looked for while ``P_k c / r > s + d``, c its expected chance. Where chances
    fall along the chain this is the schedule with the highest rate: the rate is the fixed point of the rule
    (Dinkelbach 1967), which the running mean of the measured rate follows.

    Nothing is set by hand. Chances are the drafter's own confidences, calibrated online for each request over a
    prior that all requests share. r, s and d are measured at the batch and context at hand. Where not even the first
    token pays, decoding is plain, but for a trial every sixteen rounds.
    """

    card = Card(
        paper="laconic's own; the rate as a fixed point: Dinkelbach, On Nonlinear Fractional Programming (1967)",
        lossless=True,
        timed=True,
    )

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration()

    def start(self, context: Context, pace: Pace) -> Balance:
        """Begin with what other requests have shown."""
        return Balance(pace)

    def budget(self, state: Balance) -> int:
        """None where a first token is not expected to pay, else the bound; ``go_on`` ends drafts."""
        state.cells.clear()
        state.chance = 1.0
        state.silent += 1
        pace = state.pace
        if not pace.known:
            return _FIRST
        worth = self._calibration.first(state.own) * pace.token
        if worth <= pace.node + pace.draft_pass and state.silent < _TRY:
            return 0
        return _MOST

    def go_on(self, state: Balance, node: Node) -> Go:
        """Compare worth and cost of this token, and of a look at the next."""
        pace, calibration = state.pace, self._calibration
        cell = bin_of(node.confidence), depth_of(node.depth)
        if node.path is None and node.depth == 0:
            state.cells.clear()
            state.chance = 1.0
        chance = calibration.chance(state.own, cell) * (state.chance if node.path is None else node.path)
        if pace.known and chance * pace.token <= pace.node and node.depth:
            return Go.STOP
        if node.path is None:
            state.cells.append(cell)
            state.chance = chance
        if pace.known and chance * calibration.ahead(cell) * pace.token <= pace.node + pace.draft_pass:
            return Go.LAST
        return Go.ON

    def observe(self, state: Balance, verdict: Verdict, seconds: float) -> None:
        """Count what held; trees are drafted by what chains have shown."""
        state.silent = 0
        if state.cells:
            self._calibration.learn(state.own, state.cells[: len(verdict.tree)], verdict.accepted)
