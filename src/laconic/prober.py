"""How probes ride on the loop's passes: when they go along, what they are guessed to find, and what they found.

A probe needs passes of the target. Riding on passes that are made anyway it costs few of its own, so three things are
decided here, by measured costs (`Pace`): whether a request writes on beside its probe, whether the probe of a step
rides with the draft that ends the step (asked *ahead*), and how far the drafter guesses what it will find.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq

from laconic.models.base import LanguageModel, Scores
from laconic.models.text import Text
from laconic.probe import Ride
from laconic.sequence import Branch, CheckPoint, Sequence
from laconic.speculation.base import Drafter
from laconic.speculation.pace import Pace
from laconic.thinking.base import Probe

MAX_OPEN_CHECKS = 3
"""Undecided check points after which a request waits for its probe rather than write on."""
_AFTER_EXPECTED = 6
"""Tokens drafted at most below an expected answer: a full stop and the end token as a rule."""
_USUAL_END, _USUAL_ANSWER = 3, 6
"""Draft passes that the end of an answer, and an answer to a probe, are thought to take."""


class Prober:
    """The probes of all requests of a loop, whose list of ``active`` ones it shares.

    ``riding`` False sends every probe in a pass of its own.
    """

    def __init__(
        self,
        text: Text,
        drafter: Drafter,
        target: LanguageModel,
        draft_model: LanguageModel | None,
        pace: Pace,
        *,
        active: Seq[Sequence],
        riding: bool,
    ) -> None:
        self._text = text
        self._drafter = drafter
        self._draft_model = draft_model
        self._pace = pace
        self._active = active
        self._target, self._context = target, target.context
        self._riding = riding
        self._counted = self.draft_passes

    @property
    def draft_passes(self) -> int:
        """Passes of the draft model so far, and of the target through part of its layers."""
        return (self._draft_model.passes if self._draft_model else 0) + getattr(self._target, "part_passes", 0)

    def new_passes(self) -> int:
        """Those since the last time of asking: also what a drafter has made beside the target's passes."""
        before, self._counted = self._counted, self.draft_passes
        return self._counted - before

    def waits(self, s: Sequence) -> bool:
        """Whether a request must not write on before an open check point is decided."""
        if not s.checks:
            return s.finish is not None
        if s.finish is not None or not self._riding or s.pending > s.space:
            return True
        if len(s.checks) > MAX_OPEN_CHECKS or s.checks[-1].hard:
            return True
        return s.ride is not None and not self._pace.writes_beside(len(self._active) - 1, len(s.ride.branch))

    def ask_ahead(self, s: Sequence) -> None:
        """Let the probe of the first step that ends in a request's draft ride on the pass that verifies the draft."""
        if not s.foretells or not len(s.tree) or s.checks or not self._riding:
            return
        found = s.next_probe(self._context)
        if found is None or found.point + len(found.ride.branch) > self._context:
            return
        if not self._pace.asks_ahead(len(self._active) - 1, len(found.ride.branch)):
            self._pace.forget_ahead()
            return
        s.ahead = found
        path = s.path_to(found.node)
        self._suppose(s, found.ride, len(s.tokens), path[: len(path) - found.ride.back])

    def guess(self) -> None:
        """Let the drafter guess the answers that probes ask for, where the last guess did not hold or there is none."""
        for s in self._active:
            if s.ride is not None and s.ride.room:
                self._suppose(s, s.ride, s.checks[0].point.length, [])

    def to_the_end(self, s: Sequence, expected: list[int], room: int) -> list[int]:
        """What a controller expects, and what the drafter thinks comes after it: mostly the end of the answer."""
        most = min(_AFTER_EXPECTED, room - len(expected)) if self._pays(_USUAL_END) else 0
        return expected + self._complete(s, len(s.tokens), expected, most, self._text.eos.__contains__)

    def read(self, scores: Scores, i: int, s: Sequence) -> None:
        """Hand the probe of the i-th request its rows, the last of the request's nodes."""
        ride = s.riding
        if ride is None:
            return
        branch, rows, hidden = ride.branch, scores.of(i), scores.hidden_of(i)
        first = len(rows) - len(branch)
        s.usage.probed += len(branch)
        ride.read(rows[first:], None if hidden is None else hidden[first:])
        if not ride.back:
            point = s.checks[0].point.length if s.ahead is None else s.ahead.point
            s.branch = Branch(scores, i, first, branch, point)
        if s.ride is not None:
            self._answer(s, s.ride)

    def ask(self, s: Sequence, check: CheckPoint, probe: Probe) -> None:
        """Send the probe of a request's oldest check point on its way, or take it up where it was asked ahead."""
        ahead = s.ahead
        if ahead is not None and (ahead.point, ahead.turn) == (check.point.length, check.turn):
            s.ahead = None
            self._pace.asked_ahead(reached=True)
            ahead.ride.become(probe)
            s.ride = ahead.ride
        else:
            s.ride = Ride(probe, self._text, s.tokens[check.point.length - 1])
        self._answer(s, s.ride)

    def decided(self, s: Sequence) -> None:
        """All that could be decided after a pass is: a probe asked ahead that nobody took up was asked in vain."""
        if s.ahead is not None:
            self._pace.asked_ahead(reached=False)
            s.ahead = None

    def give_up(self, s: Sequence) -> None:
        """Drop a request's probe, since its thought ends whatever it would find."""
        s.ride, s.ahead, s.branch = None, None, None

    def _answer(self, s: Sequence, ride: Ride) -> None:
        """Let the oldest check point know what its probe has found, if that is all known."""
        belief = ride.belief()
        if belief is not None:
            self._pace.looked(whole=len(belief.probs) > 1)
            s.checks[0].belief = belief
            s.ride = None

    def _suppose(self, s: Sequence, ride: Ride, base: int, path: list[int]) -> None:
        """Let the drafter guess what a probe will find behind ``base`` tokens of the text and ``path``.

        Where the thought is likely enough to end there, also how the text will end: then nothing is left to write.
        Where a probe mostly ends with its first token, no guess at all.
        """
        if not ride.begun and not self._pace.spares(_USUAL_ANSWER, self._pace.whole):
            ride.forget()
            return
        if not self._pays(_USUAL_ANSWER):
            return
        ends = ride.probe.close and self._pace.spares(_USUAL_END, 1 - self._pace.stays)
        known, beyond = [*path, *ride.known], _AFTER_EXPECTED if ends else 0
        most = min(ride.room + beyond, self._context - base - len(known))
        ride.suppose(self._complete(s, base, known, most, ride.ends(beyond)))

    def _pays(self, draft_passes: int) -> bool:
        """Whether so many draft passes cost less than the target pass that they may save."""
        pace = self._pace
        return not pace.known or draft_passes * pace.draft_pass < pace.target_pass(len(self._active))

    def _complete(
        self, s: Sequence, base: int, tokens: list[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:  # fmt: skip
        if most <= 0:
            return []
        found = self._drafter.complete(s.drafter_state, base, tokens, most, ends)
        s.usage.draft_passes += self.new_passes()
        return found
