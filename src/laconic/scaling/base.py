"""Contract of scaling: a policy looks at the attempts at a question, and says which to start and stop, and when to end.

The runner (:mod:`laconic.scaling.answering`) carries it out, over laconic's own loop or over a server. It asks a policy
whenever something has come up: an attempt has ended, a probe has found what one would answer now, or, for those that
``watch``, a pass has been made. Between two of its questions the board stands still.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from laconic.judges.base import Judge
from laconic.models.text import Message
from laconic.policy import Policy
from laconic.thinking.base import Belief
from laconic.thinking.exit.settled import Settled
from laconic.types import Event, FinishReason, Logprob, Result, Usage

State = Literal["running", "done", "stopped", "failed"]
"""An attempt is done when it has written its answer, stopped when somebody has ended it before, failed when its server
has dropped it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What an attempt would have answered after so many thinking tokens, and how likely that is to be wrong.

    ``tokens`` is all that it had written by then.
    """

    thinking: int
    belief: Belief
    doubt: float
    tokens: int = 0


@dataclass(slots=True)
class Attempt:
    """One attempt, as policies see it."""

    number: int
    """From 0, in the order in which they were started; it decides the seed."""
    state: State = "running"
    tokens: int = 0
    """Tokens that it has written so far; what it took over from its parent is not counted again."""
    thinking: int = 0
    """Tokens of its whole thought that the model chose."""
    answering: bool = False
    """Whether its thought is closed."""
    parent: int = -1
    """The attempt of which it began as a copy; -1 where it began by itself."""
    taken: int = 0
    """Tokens that it took over from that one."""
    waits: bool = False
    """Whether it waits to be told to go on; only where the policy ``walks``."""
    ends: list[int] = field(default_factory=list)
    """Where its waits were, in tokens from the beginning of its text, those of what it took over included."""
    steps: Callable[[], Sequence[str]] = tuple
    """The steps of its thought so far, where the policy ``walks``."""
    text: Callable[[int], str] = str
    """Its text from so many tokens on."""
    ended: int = -1
    """How many attempts had ended before it did; -1 while it runs."""
    answer: str = ""
    """What it answered; empty while it has not, and where no answer can be found in what it wrote."""
    looks: list[Look] = field(default_factory=list)
    """What probes have found, oldest first; there are some where the policy ``probes`` or ``reads``."""
    concluded: bool = False
    """Whether its thought was ended by the policy."""
    chances: Sequence[float] = ()
    """The model's probability of each token, for policies that need ``chances``."""
    logprobs: Callable[[], Sequence[Logprob | None]] = tuple
    """Those of its tokens with the likeliest others in their place, for policies with ``alternatives``."""
    reason: str = ""
    """Why it was stopped or failed."""
    result: Result | None = None
    """All that it wrote, once it has ended."""


@dataclass(slots=True)
class Board:
    """All that is known of the attempts at one question."""

    messages: tuple[Message, ...]
    most: int
    """How many attempts may be started in all; under way at once, where the policy ``walks``."""
    walks: bool = False
    seed: int = 0
    """Seed of the question's sampling: what a policy draws, it draws from this."""
    attempts: list[Attempt] = field(default_factory=list)
    judged: Callable[[Judge, Attempt], float] | None = None
    """Has an attempt scored by a judge that the policy has among its knobs."""
    told: Callable[[tuple[Message, ...], int, int | None], str] | None = None
    """Asks the model something besides, without a thought, for at most so many tokens: greedily, or sampled as attempts
    are, with a number that tells one draw from another. Empty where there is no room for it, and an event says so."""
    scores: dict[tuple[Judge, int, int], float] = field(default_factory=dict)
    """What judges have said, by the number of the attempt and how long it was."""

    def ask(self, messages: Sequence[Message], most: int, draw: int | None = None) -> str:
        """What the model says to something besides; see ``told``."""
        assert self.told is not None
        return self.told(tuple(messages), most, draw)

    @property
    def question(self) -> str:
        """The last message of the user; empty where there is none."""
        return next((str(m["content"]) for m in reversed(self.messages) if m.get("role") == "user"), "")

    def instead(self, text: str) -> tuple[Message, ...]:
        """The messages with another text in place of the user's last."""
        at = max((at for at, m in enumerate(self.messages) if m.get("role") == "user"), default=-1)
        return tuple({**m, "content": text} if n == at else m for n, m in enumerate(self.messages))

    def score(self, judge: Judge, attempt: Attempt) -> float:
        """What a judge says of an attempt that has ended or waits, once. Raises JudgeError where it is no score."""
        key = judge, attempt.number, attempt.tokens
        if key not in self.scores:
            assert self.judged is not None
            self.scores[key] = self.judged(judge, attempt)
        return self.scores[key]

    @property
    def running(self) -> list[Attempt]:
        """Attempts that are being written."""
        return [attempt for attempt in self.attempts if attempt.state == "running"]

    @property
    def done(self) -> list[Attempt]:
        """Attempts that have written an answer or what there is in place of one, in the order in which they ended."""
        return sorted((a for a in self.attempts if a.state == "done"), key=lambda attempt: attempt.ended)

    @property
    def waiting(self) -> list[Attempt]:
        """Attempts that wait to be told to go on."""
        return [attempt for attempt in self.running if attempt.waits]

    @property
    def left(self) -> int:
        """How many more may be started now."""
        return self.most - len(self.running if self.walks else self.attempts)


@dataclass(frozen=True, slots=True)
class Branch:
    """An attempt that goes on from what another has written: all of it, or the first ``at`` tokens.

    ``most`` is as in :class:`Acts`.
    """

    number: int
    at: int = -1
    most: int = 0


@dataclass(frozen=True, slots=True)
class Acts:
    """What to do now: start so many more, stop some (number to reason), or end it all with what there is (``enough``).

    Where the policy ``walks``: have attempts that wait go on (``go``: number to where they wait again: 0 for the end of
    their step, else after so many tokens, whatever steps end within, and -1 for never), and begin others as copies of
    them (``branch``). These are made before any goes on. A policy that does nothing while no attempt moves is
    done, too.
    """

    start: int = 0
    stop: Mapping[int, str] = field(default_factory=dict)
    enough: str = ""
    go: Mapping[int, int] = field(default_factory=dict)
    branch: Sequence[Branch] = ()
    others: Sequence[tuple[Message, ...]] = ()
    """Attempts to start, as far as there is room, that are asked with these messages in place of the question's."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that attempts agree on. ``weight`` is its share of the vote, or whatever else the policy ranks by.

    ``numbers`` are the attempts behind it, the one that speaks for all first.
    """

    answer: str
    weight: float
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """The answers so far, the likeliest first, while attempts run.

    ``confidence`` is how sure the policy is of the first: its share of the vote, as a rule; 0 while there is none.
    """

    candidates: tuple[Candidate, ...] = ()
    confidence: float = 0.0
    attempts: int = 0
    running: int = 0
    tokens: int = 0
    """Written by all attempts together."""

    @property
    def answer(self) -> str:
        """The answer that stands; empty while there is none."""
        return self.candidates[0].answer if self.candidates else ""


Ask = Callable[[tuple[Message, ...], int], Result]
"""Asks the model something more, greedily and without a thought, for at most so many tokens."""


class Scaling(Policy):
    """Decides how many attempts a question is worth, and which answer stands."""

    probes: ClassVar[bool] = False
    """Whether attempts are asked on the way what they would answer now (``Attempt.looks``). Needs a thinking phase."""
    reads: ClassVar[bool] = False
    """Whether attempts show the model's state at the end of each step (``Look.belief.hidden``). It needs
    ``target_hidden`` and a thinking phase."""
    asks: ClassVar[bool] = False
    """Whether it asks the model something besides while attempts run (``Board.ask``), or asks attempts otherwise."""
    walks: ClassVar[bool] = False
    """Whether attempts wait at the end of each step of their thoughts until it says who goes on. Needs a thinking
    phase. Then ``Board.most`` is how many may be under way at once, not how many may be started in all."""
    watches: ClassVar[bool] = False
    """Whether :meth:`acts` is to be asked after every pass."""

    @property
    def alternatives(self) -> int:
        """How many of the likeliest tokens it must know of in each place."""
        return 0

    def looking(self, settled: Settled) -> Settled:
        """How attempts are asked on the way, where the engine's own controllers would ask as ``settled`` does."""
        return settled

    def start(self, board: Board) -> Any:
        """State of one question. Raises RequestError where ``board.most`` attempts are too few for this policy."""
        return None

    def acts(self, state: Any, board: Board) -> Acts:
        """What to do now."""
        raise NotImplementedError

    def concludes(self, state: Any, board: Board, attempt: Attempt, growth: Growth) -> str | None:
        """Why a thought may end after the last of the attempt's looks; None to think on. Of those that probe."""
        return None

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """The answers so far, the one that stands first."""
        raise NotImplementedError

    def confidence(self, state: Any, board: Board, candidates: Sequence[Candidate]) -> float:
        """How sure it is of the first of ``candidates``: its share of their weights."""
        total = sum(candidate.weight for candidate in candidates)
        return candidates[0].weight / total if total > 0 else 0.0

    def last(self, state: Any, board: Board, candidates: Sequence[Candidate], ask: Ask) -> Sequence[Candidate]:
        """The candidates in the order that holds, once all attempts have ended; a policy may ask the model first."""
        return candidates


@dataclass(frozen=True, slots=True)
class Growth:
    """What thinking on promises an attempt by itself, and costs: accuracy that it may bring, and must bring."""

    promise: float
    cost: float


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that has ended: what it wrote, what was read as its answer, and why it ended.

    One that began as a copy took the first ``taken`` tokens over from attempt ``parent`` (from 0; -1 for none).
    """

    result: Result
    answer: str
    state: State
    reason: str = ""
    parent: int = -1
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A question answered by several attempts.

    ``result`` is that of the attempt that speaks for the answer; ``usage`` adds up all attempts and what was asked
    besides (``asked``). Where no attempt has an answer that could be read, ``answer`` is what the first that ended
    wrote, and ``confidence`` is 0. ``passes`` are those of the target, each counted once however many attempts shared
    it; 0 over a server.
    """

    answer: str
    confidence: float
    result: Result
    candidates: tuple[Candidate, ...]
    attempts: tuple[Tried, ...]
    usage: Usage
    passes: int
    seconds: float
    reason: str
    events: tuple[Event, ...] = ()
    asked: tuple[Result, ...] = ()

    @property
    def finish_reason(self) -> FinishReason:
        """How the attempt ended that speaks for the answer."""
        return self.result.finish_reason

    @property
    def text(self) -> str:
        """All that this attempt wrote."""
        return self.result.text

    @property
    def sequential(self) -> int:
        """Tokens of the longest attempt, those that it took over included."""
        return max(len(tried.result.tokens) for tried in self.attempts)

    def as_dict(self) -> dict[str, Any]:
        """Answer, counts, every attempt and why it ended, ready for JSON."""
        return {
            "answer": self.answer,
            "confidence": self.confidence,
            "finish_reason": self.finish_reason,
            "reason": self.reason,
            "passes": self.passes,
            "seconds": self.seconds,
            "usage": self.usage.as_dict(),
            "candidates": [
                {"answer": c.answer, "weight": c.weight, "attempts": list(c.numbers)} for c in self.candidates
            ],
            "attempts": [
                {
                    "text": tried.result.text,
                    "answer": tried.answer,
                    "state": tried.state,
                    "reason": tried.reason,
                    "tokens": tried.result.usage.generated,
                    "parent": tried.parent,
                    "taken": tried.taken,
                    "thinking": tried.result.usage.thinking,
                }
                for tried in self.attempts
            ],
            "asked": [result.text for result in self.asked],
            "events": [f"{event.method}: {event.action}, {event.reason}" for event in self.events],
        }
