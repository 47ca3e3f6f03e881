"""What idle lanes shall do: the published ways to overlap drafting and checking, which differ in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from laconic.bench.overlap.lanes import Job
from laconic.bench.overlap.state import State, Tail


class Overlap(Protocol):
    """Asked whenever a worker is idle; ``mine`` are the request's jobs that are under way."""

    def check(self, state: State, mine: Sequence[Job]) -> Job | None:
        """What the target shall look at next; None where it shall wait for drafts."""
        ...

    def draft(self, state: State, mine: Sequence[Job]) -> Job | None:
        """What the drafter shall extend next; None where it shall wait for the target."""
        ...


def _checking(mine: Sequence[Job]) -> bool:
    return any(job.kind == "check" for job in mine)


def _drafting(mine: Sequence[Job]) -> bool:
    return any(job.kind == "draft" for job in mine)


def _check(state: State, end: Tail, begin: Tail = ()) -> Job:
    return Job("check", state.number, tuple(state.text), (end,), begin)


def _extend(state: State, *ends: Tail) -> Job:
    return Job("draft", state.number, tuple(state.text), ends)


@dataclass(frozen=True, slots=True)
class Plain:
    """No drafts: one token a pass."""

    def check(self, state: State, mine: Sequence[Job]) -> Job | None:
        """The next token."""
        return None if mine else _check(state, ())

    def draft(self, state: State, mine: Sequence[Job]) -> Job | None:
        """Never."""
        return None


@dataclass(frozen=True, slots=True)
class Serial:
    """First ``length`` draft passes, then a check, and so on. With several texts over the same lanes it is SEED (59):
    while the target checks one text, drafters of the others are at work, and whoever is ready first is checked first.
    """

    length: int

    def check(self, state: State, mine: Sequence[Job]) -> Job | None:
        """The whole draft, once it is there."""
        tip = state.tip()
        return None if mine or len(tip) < self.length else _check(state, tip)

    def draft(self, state: State, mine: Sequence[Job]) -> Job | None:
        """The next token of it, while nothing is checked."""
        tip = state.tip()
        return None if mine or len(tip) >= self.length else _extend(state, tip)


@dataclass(frozen=True, slots=True)
class Pearl:
    """PEARL (16): drafting never waits for the target. Up to ``length`` tokens ahead of what is checked.

    After a refusal the target goes on at once, without a draft (*pre-verify*); else it checks all that was drafted
    meanwhile (*post-verify*). With ``branches`` above 1 the drafter's passes also carry on from its next guesses at the
    place where it was least sure (SpecBranch, 70), so that a refusal there finds a draft ready.
    """

    length: int
    branches: int = 1

    def check(self, state: State, mine: Sequence[Job]) -> Job | None:
        """All that is drafted and unchecked, at most ``length``; nothing of it after a refusal."""
        if _checking(mine):
            return None
        tip = () if state.refused else state.tip()[: self.length]
        return _check(state, tip)

    def draft(self, state: State, mine: Sequence[Job]) -> Job | None:
        """The next token behind the last, and of every branch."""
        if _drafting(mine):
            return None
        ends = [state.tip(), *(state.tip(branch) for branch in self._branches(state))]
        most = len(state.checked_to) + self.length
        due = [end for end in ends if len(end) < most]
        return _extend(state, *due) if due else None

    def _branches(self, state: State) -> list[Tail]:
        """The other ways to go on where the draft was least sure of its own."""
        known = [at for at in state.chain() if at in state.guesses and len(state.guesses[at]) > 1]
        if self.branches < 2 or not known:
            return []
        root = min(known, key=lambda at: state.guesses[at][0][1])
        return [(*root, token) for token, _ in state.guesses[root][1 : self.branches]]


@dataclass(frozen=True, slots=True)
class Mirror:
    """Mirror-SD (81): from the middle of its pass the target tells which tokens may come behind what it checks, and the
    drafter carries on from these meanwhile, up to ``length`` tokens each; the rest is PEARL.
    """

    length: int
    width: int = 4

    def check(self, state: State, mine: Sequence[Job]) -> Job | None:
        """As in PEARL."""
        return Pearl(self.length).check(state, mine)

    def draft(self, state: State, mine: Sequence[Job]) -> Job | None:
        """Behind the tokens that the target has named, as soon as it has; before that, behind the draft."""
        if _drafting(mine):
            return None
        named = state.signals.get(state.checked_to, ())[: self.width]
        ends = [state.tip((*state.checked_to, token)) for token in named] or [state.tip()]
        most = len(state.checked_to) + self.length
        due = [end for end in ends if len(end) < most]
        return _extend(state, *due) if due else None


@dataclass(frozen=True, slots=True)
class Pool:
    """DSI (148): every ``block`` drafted tokens are checked as soon as they are there, whatever of the text before them
    is not checked yet, by as many target workers as there are. Over a pipeline of stages it is PipeInfer (56).

    Drafting runs at most ``ahead`` tokens beyond the certain text.
    """

    block: int = 1
    ahead: int = 64

    def check(self, state: State, mine: Sequence[Job]) -> Job | None:
        """The next block behind those under way; the next token itself where none is."""
        if not _checking(mine):
            return _check(state, state.tip()[: self.block])
        chain = [at for at in state.chain() if len(at) > len(state.checked_to)]
        if len(chain) < self.block:
            return None
        return _check(state, chain[self.block - 1], chain[0])

    def draft(self, state: State, mine: Sequence[Job]) -> Job | None:
        """The next token, always."""
        tip = state.tip()
        return None if _drafting(mine) or len(tip) >= self.ahead else _extend(state, tip)
