"""A simulated server: the decode loop's own order of events, in virtual time, with the real length policies.

Between passes requests join, each with a prefill pass of its own, as far as batch and memory allow. A round then asks
the length policy, drafts in lock step (as many draft passes as the longest draft needs), scores all nodes in one target
pass, accepts what the recording says, and lets policy and pace learn. Seconds come from cost models, not from a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from laconic.bench.simulate.active import Active
from laconic.bench.simulate.costs import PassCost
from laconic.bench.simulate.draft import OTHER
from laconic.bench.simulate.drafter import Drafter
from laconic.bench.simulate.history import History, Round, Served
from laconic.bench.simulate.host import NOTHING, HostCost
from laconic.bench.simulate.jobs import Job
from laconic.bench.simulate.memory import Bounds
from laconic.bench.simulate.recording import Script
from laconic.errors import RequestError
from laconic.loop import PROMPT_WITH_DRAFT
from laconic.speculation.base import LengthPolicy, Verdict
from laconic.speculation.pace import Pace


class Server:
    """Serves jobs. ``policy`` None decodes plainly. What policy and pace have learned stays from run to run.

    ``ties`` False leaves out the passes that decide ties, which the engine makes in float32 alone.
    """

    def __init__(
        self,
        target: PassCost,
        draft: PassCost | None = None,
        policy: LengthPolicy | None = None,
        *,
        host: HostCost = NOTHING,
        bounds: Bounds | None = None,
        pace: Pace | None = None,
        ties: bool = True,
    ) -> None:
        if policy is not None and draft is None:
            raise RequestError("drafts need the cost of a draft model's passes.", "Give one, or no policy.")
        self.target, self.policy, self.host = target, policy, host
        self.drafter = Drafter(policy, draft, host) if policy is not None and draft is not None else None
        self.bounds = bounds or Bounds()
        self.ties = ties
        self.pace = pace or Pace()
        self.active: list[Active] = []
        self.now = 0.0
        self.history = History()

    def run(self, jobs: Sequence[Job], clients: int | None = None) -> History:
        """Serve ``jobs``, which come at their times, or one by one from ``clients`` that wait for their answers.

        The clock starts at 0 with every run.
        """
        self.active, self.now, self.history = [], 0.0, History()
        coming = deque(jobs if clients is not None else sorted(jobs, key=lambda job: job.at))
        waiting: deque[Served] = deque()
        free = clients or 0
        while coming or waiting or self.active:
            while coming and (free > 0 if clients is not None else coming[0].at <= self.now):
                job = coming.popleft()
                free -= clients is not None
                free += self._arrive(job, self.now if clients is not None else job.at, waiting)
            self._join(waiting)
            if self.active:
                free += self._round(len(waiting))
            elif coming and not waiting and clients is None:
                self.history.idle += coming[0].at - self.now
                self.now = coming[0].at
        return self.history

    def _arrive(self, job: Job, at: float, waiting: deque[Served]) -> int:
        """Let a request wait; returns 1 where it is refused, and its client is free again."""
        if not self.bounds.holds([job.script.prompt + len(job.script)]):
            self.history.refused.append(job)
            return 1
        served = Served(job, at)
        waiting.append(served)
        self.history.served.append(served)
        return 0

    def _join(self, waiting: deque[Served]) -> None:
        """Prefill whoever fits, in the order of arrival."""
        while waiting:
            lengths = [a.script.prompt + len(a.script) for a in self.active]
            script = waiting[0].job.script
            if not self.bounds.holds([*lengths, script.prompt + len(script)]):
                return
            served = waiting.popleft()
            alone = script.prompt > PROMPT_WITH_DRAFT
            seconds = self.target.prefill(script.prompt - 1) if alone else 0.0
            self.history.rounds.append(Round(self.now, prefill=seconds, host=self.host.join, waiting=len(waiting)))
            self.now += seconds + self.host.join
            served.joined = self.now
            self.active.append(Active(served, self.policy, self.pace))
            self.active[-1].cached = alone or script.prompt == 1

    def _round(self, waiting: int) -> int:
        """One round over all active requests; returns how many have left."""
        active = self.active
        drafting, passes = (
            self.drafter.draft(active, self.bounds) if self.drafter else (self.host.drafting(len(active), 0, 0, 0), 0)
        )
        sizes = [len(a.tree) + 1 + a.given for a in active]
        score = self.target.seconds(sizes, [len(a.context.tokens) - 1 - a.given for a in active])
        nodes, given = sum(sizes), sum(a.given for a in active)
        ties, untying = self._untie()
        rest = self.host.rest(len(active), nodes) + untying
        written, accepted = self._verify(drafting + score, self.now + drafting + score + rest)
        self.pace.record(
            nodes=nodes, given=given, tokens=written, draft_passes=passes, draft=drafting, score=score, rest=rest
        )
        self.history.rounds.append(
            Round(
                self.now,
                0.0,
                drafting,
                score,
                rest,
                len(active),
                waiting,
                nodes,
                given,
                written,
                accepted,
                passes,
                ties,
            )
        )
        self.now += drafting + score + rest
        self.active = [a for a in active if a.served.finished is None]
        return len(active) - len(self.active)

    def _untie(self) -> tuple[int, float]:
        """Passes over whole texts that ties among scored nodes ask for, and their seconds; strays' are not recorded."""
        count, seconds = 0, 0.0
        for a in self.active if self.ties else ():
            if a.script.ties:
                done = a.served.written
                for t in a.script.ties:
                    if done <= t <= done + _held(a.script, done, len(a.tree)):
                        length = a.script.prompt + t - 1
                        seconds += self.target.prefill(length) + self.target.seconds([1], [length])
                        count += 1
        return count, seconds

    def _verify(self, seconds: float, now: float) -> tuple[int, int]:
        """Accept and write, let the policy learn; returns the tokens written and those of them that were drafted."""
        total = agreed = 0
        verdicts = []
        for a in self.active:
            served, script = a.served, a.script
            left = len(script) - served.written
            held = _held(script, served.written, len(a.tree))
            kept = min(held + 1, left)
            served.written += kept
            served.drafted += len(a.tree)
            served.accepted += min(held, kept)
            served.rounds.append((len(a.tree), min(held, kept)))
            total, agreed = total + kept, agreed + min(held, kept)
            a.cached = True
            a.context.tokens += [OTHER] * kept
            if served.first is None:
                served.first = now
            if served.written == len(script):
                served.finished = now
            if len(a.tree):
                verdicts.append((a, Verdict(a.tree, range(held), OTHER)))
        if self.policy is not None:
            for a, verdict in verdicts:
                self.policy.observe(a.state, verdict, seconds)
        return total, agreed


def _held(script: Script, written: int, drafted: int) -> int:
    """How many of so many drafted tokens are the text's own, from the first on."""
    most = min(drafted, len(script) - written)
    held = 0
    while held < most and script.hits[written + held]:
        held += 1
    return held
