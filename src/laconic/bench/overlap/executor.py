"""The executor: idle lanes are given what the policy wants done, and what comes back is made certain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.bench.overlap.lanes import Job, Lanes
from laconic.bench.overlap.policies import Overlap
from laconic.bench.overlap.state import State, since


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run took: ``seconds``, passes of both kinds, and how busy workers were.

    In draft passes ``guessed`` hypotheses were extended, of which ``wasted`` went another way than the text. ``ends``
    are the seconds at which each text was done.
    """

    texts: tuple[tuple[int, ...], ...]
    seconds: float
    checks: int
    drafts: int
    guessed: int
    wasted: int
    cancelled: int
    busy: dict[str, float]
    ends: tuple[float, ...]

    @property
    def tokens(self) -> int:
        """Tokens written, over all texts."""
        return sum(map(len, self.texts))


class Executor:
    """Runs texts of so many ``lengths`` to their ends, all over the same lanes; who has waited longest is served first.

    Raises RuntimeError where nothing is under way and the policy wants nothing done: it would wait for ever.
    """

    def __init__(
        self, policy: Overlap, lanes: Lanes, lengths: Sequence[int], ends: frozenset[int] = frozenset()
    ) -> None:
        self._policy, self._lanes, self._lengths, self._end = policy, lanes, lengths, ends
        self.states = [State(number) for number in range(len(lengths))]
        self._under_way: list[Job] = []
        self._served = [0.0] * len(lengths)
        self._ends = [0.0] * len(lengths)
        self._counts = {"check": 0, "draft": 0, "guessed": 0, "cancelled": 0}

    def run(self) -> Outcome:
        """Until every text is written."""
        while not all(map(self._over, self.states)):
            self._start()
            if not self._lanes.going:
                raise RuntimeError("the policy waits for nothing")
            job = self._lanes.wait()
            if job.kind == "free":
                continue
            if not job.early:
                self._under_way.remove(job)
            self._hear(job)
        for job in self._under_way:
            self._lanes.cancel(job)
        return Outcome(
            tuple(self._cut(state) for state in self.states),
            max(self._ends),
            self._counts["check"],
            self._counts["draft"],
            self._counts["guessed"],
            sum(state.wasted for state in self.states),
            self._counts["cancelled"],
            dict(self._lanes.busy),
            tuple(self._ends),
        )

    def _start(self) -> None:
        """Give idle workers what the policy wants, the request first whose turn was longest ago."""
        for kind in ("check", "draft"):
            going = True
            while going and self._lanes.idle(kind):
                going = False
                for number in sorted(range(len(self.states)), key=self._served.__getitem__):
                    state = self.states[number]
                    if self._over(state):
                        continue
                    mine = [job for job in self._under_way if job.request == number]
                    job = self._policy.check(state, mine) if kind == "check" else self._policy.draft(state, mine)
                    if job is not None:
                        self._submit(job)
                        going = True
                        break

    def _submit(self, job: Job) -> None:
        state = self.states[job.request]
        if job.kind == "check":
            state.checked_to = job.hypotheses[0]
            self._served[job.request] = self._lanes.now
        self._counts[job.kind] += 1
        self._counts["guessed"] += len(job.hypotheses) if job.kind == "draft" else 0
        self._under_way.append(job)
        self._lanes.submit(job)

    def _hear(self, job: Job) -> None:
        state = self.states[job.request]
        found = since(job.result, state.text[len(job.text) :])
        if job.early:
            state.signals.update(found)
        elif job.kind == "draft":
            state.guesses.update(found)
        else:
            state.truths.update(found)
        if not state.settle():
            return
        if self._over(state) and not self._ends[job.request]:
            self._ends[job.request] = self._lanes.now
        for other in [each for each in self._under_way if each.request == job.request]:
            if not since(dict.fromkeys(other.hypotheses), state.text[len(other.text) :]):
                self._lanes.cancel(other)
                self._under_way.remove(other)
                self._counts["cancelled"] += 1
                state.wasted += len(other.hypotheses) if other.kind == "draft" else 0

    def _over(self, state: State) -> bool:
        if len(state.text) >= self._lengths[state.number]:
            return True
        return bool(self._end) and any(token in self._end for token in state.text)

    def _cut(self, state: State) -> tuple[int, ...]:
        text = tuple(state.text[: self._lengths[state.number]])
        ends = [at for at, token in enumerate(text) if token in self._end]
        return text[: ends[0] + 1] if ends else text
