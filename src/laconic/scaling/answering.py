"""Carries a scaling policy out: starts attempts, moves them on side by side, stops them, and says what stands."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from laconic.errors import RemoteError, RequestError, UnmetNeed
from laconic.judges.base import Judge
from laconic.models.formats import Format
from laconic.models.text import Message
from laconic.scaling.base import Acts, Answered, Attempt, Board, Branch, Candidate, Growth, Scaling, Standing, Tried
from laconic.scaling.groups import read
from laconic.scaling.watch import Chances, Shared, States
from laconic.sequence import Sequence
from laconic.thinking.base import Controller
from laconic.thinking.exit.settled import Settled
from laconic.thinking.hand import Hand
from laconic.thinking.memory.base import seeded
from laconic.transcript import STEP
from laconic.types import Event, Limits, Request, Result, Sampling, Usage

if TYPE_CHECKING:
    from laconic.engine import Engine

CANCELLED = "cancelled"
METHOD = "scaling"
"""Who did it, in events."""
_BESIDES = 1 << 20
"""Number of the first draw of what is asked besides; attempts are numbered from 0."""
TEMPERATURE = 0.7
"""Of attempts, where nobody names one."""


class Mover(Protocol):
    """Moves attempts at one prompt on, wherever their model runs."""

    lags: ClassVar[bool]
    """Whether more of an attempt may have been written, and paid for, than is known of it here."""

    def begin(self, request: Request, *, alone: bool = False) -> Sequence:
        """Let an attempt join; ``alone`` where its prompt is another than the others'."""
        ...

    def move(self) -> list[tuple[Sequence, RemoteError | None]]:
        """A little more of every attempt; returns those that have ended, with the error that ended them if any did."""
        ...

    def branch(self, request: Request, other: Sequence, count: int) -> Sequence:
        """Let an attempt join that goes on from the first ``count`` tokens of another's, which may have ended."""
        ...

    def wait(self, sequence: Sequence) -> None:
        """Leave an attempt as it is, until it is to go on."""
        ...

    def go_on(self, sequence: Sequence) -> None:
        """Have an attempt that waits go on."""
        ...

    def conclude(self, sequence: Sequence, reason: str) -> bool:
        """End an attempt's thought; says whether there is one to end."""
        ...

    def cancel(self, sequence: Sequence) -> None:
        """End an attempt with what it has written."""
        ...

    def close(self) -> None:
        """Give back what attempts share. All of them have ended."""
        ...


class Answering:
    """Attempts at one question under way. Iterate to see which answer stands, then read ``result``.

    Leaving the iteration early, or an exception, ends all attempts; ``result`` is then what there is.
    """

    def __init__(self, engine: Engine, request: Request, scaling: Scaling, most: int) -> None:
        if most < 1:
            raise RequestError(f"the number of attempts must be >= 1, not {most}.", "1 is a single attempt.")
        if request.sampling.greedy and (most > 1 or scaling.walks):
            which = f"the copies that '{scaling.name}' makes" if scaling.walks else f"{most} attempts"
            raise RequestError(
                f"{which} would all be the same at temperature 0.",
                "Give a temperature, or answer without --scaling.",
            )
        check(engine, scaling)
        for judge in scaling.walk():
            if isinstance(judge, Judge):
                engine.judge(judge)  # what cannot be had is refused before any work
        self.scaling = scaling
        self._engine = engine
        self._begun, self._passes = time.perf_counter(), engine.target.passes
        question = request.question
        messages: tuple[Message, ...] = () if question is None else question.messages
        self.board = Board(messages, most, scaling.walks, request.sampling.seed, judged=self._judge, told=self._told)
        self._events: list[Event] = []
        self._asked: list[Result] = []
        self._plain, self._request = request, engine.fitted(request)
        self._state: Any = None if scaling.asks else scaling.start(self.board)
        own = next((c for c in engine.plan.controllers if isinstance(c, Settled)), Settled())
        self._settled = scaling.looking(own)
        self._mover = engine.mover(shares=most > 1 or scaling.walks)
        self._sequences: dict[int, Sequence] = {}
        self._hands: dict[int, Hand] = {}
        """Of attempts that wait at the ends of their steps."""
        self._over: Answered | None = None
        self._closed = False
        self._news = False
        self._reason = ""
        self._error: RemoteError | None = None
        self._lock = threading.Lock() if scaling.probes or scaling.reads else nullcontext()
        """Over a server looks come from another thread; a policy that probes is asked one thing at a time."""

    def __iter__(self) -> Iterator[Standing]:
        """Yield what stands, whenever that may have changed. Once: another time there is nothing left to see."""
        if self._closed:
            return
        try:
            if self.scaling.asks:  # it may ask the model before it begins
                self._state = self.scaling.start(self.board)
            while self._act(self._acts()):
                yield self.standing()
                self._move_on()
            yield self.standing()
        finally:
            self.close()

    def standing(self) -> Standing:
        """The answers so far."""
        board = self.board
        with self._lock:
            found = tuple(self.scaling.candidates(self._state, board))
            sure = self.scaling.confidence(self._state, board, found) if found else 0.0
        tokens = sum(attempt.tokens for attempt in board.attempts)
        return Standing(found, sure, len(board.attempts), len(board.running), tokens)

    def close(self) -> None:
        """End all attempts and free what they hold. Safe to call more than once."""
        if self._closed:
            return
        self._closed = True
        if self.board.running and not self._reason:
            self._reason = CANCELLED
        for attempt in self.board.running:
            self._stop(attempt, self._reason)
        self._mover.close()

    def _judge(self, judge: Judge, attempt: Attempt) -> float:
        """What a judge says; 0 where the attempt cannot be put before it, and an event says why."""
        if attempt.result is None:
            steps = [step + STEP for step in attempt.steps()]
        else:
            result = attempt.result
            steps = [step + STEP for step in result.thinking.split(STEP)] if result.thinking else []
            if judge.reads_answers or not steps:
                steps.append(result.answer)
        try:
            return self._engine.judge(judge).score(self.board.messages, steps)
        except RequestError as error:
            self._events.append(Event(judge.name, "unjudged", attempt.tokens, f"attempt {attempt.number}: {error}"))
            return 0.0

    @property
    def result(self) -> Answered:
        """What has come of it; final once the iteration has ended. Attempts that are under way are ended.

        Raises RequestError if none has been started.
        """
        self.close()
        if self._over is None:
            self._over = self._answered()
        return self._over

    def _acts(self) -> Acts:
        with self._lock:
            self._news = False
            return self.scaling.acts(self._state, self.board)

    def _act(self, acts: Acts) -> bool:
        """Do what the policy says; False where it is over."""
        board = self.board
        parents = {branch.number for branch in acts.branch}
        leaving = {n: reason for n, reason in acts.stop.items() if board.attempts[n].state == "running"}
        for number in leaving.keys() - parents:  # first, so that there are never more than need be
            self._stop(board.attempts[number], leaving[number])
        for branch in () if acts.enough else acts.branch:
            self._begin(branch)
        for number in leaving.keys() & parents:
            self._stop(board.attempts[number], leaving[number])
        for number, most in {} if acts.enough else acts.go.items():
            self._go_on(board.attempts[number], most)
        for _ in range(0 if acts.enough else min(acts.start, board.left)):
            self._begin()
        for messages in () if acts.enough else acts.others[: board.left]:
            self._begin(messages=messages)
        if acts.enough:
            self._finish(acts.enough)
        elif not board.running and not self._reason:
            dropped = sum(attempt.state == "stopped" for attempt in board.attempts)
            count = f"{len(board.attempts) - dropped}" if dropped else f"all {len(board.attempts)}"
            self._reason = f"{count} attempts have ended" + (f", {dropped} were dropped before" if dropped else "")
        elif len(board.waiting) == len(board.running) and not self._reason:
            self._reason = f"no more is asked of {len(board.waiting)} attempts that are not through"
        if self._error is not None and not board.running and all(a.state == "failed" for a in board.attempts):
            raise self._error
        return any(not attempt.waits for attempt in board.running)

    def _begin(self, branch: Branch | None = None, messages: tuple[Message, ...] = ()) -> None:
        board = self.board
        attempt = Attempt(len(board.attempts))
        mine = self._watchers(attempt)
        sampling = seeded(self._request.sampling, attempt.number)
        request = replace(self._otherwise(messages) if messages else self._request, sampling=sampling)
        if mine:
            own = self._engine.controllers(self._request)
            chosen = [each for each in own if not (self.scaling.probes and isinstance(each, Settled))]
            request = replace(request, controllers=(*chosen, *mine))
        if self.scaling.alternatives:
            request = replace(request, logprobs=max(self.scaling.alternatives, request.logprobs or 0))
        if branch is None:
            sequence = self._mover.begin(request, alone=bool(messages))
        else:
            parent = self._sequences[branch.number]
            count = parent.generated if branch.at < 0 else branch.at
            sequence = self._mover.branch(request, parent, count)
            attempt.parent, attempt.taken = branch.number, count
            attempt.ends = [end for end in board.attempts[branch.number].ends if end <= count]
        self._sequences[attempt.number] = sequence
        board.attempts.append(attempt)
        attempt.steps = lambda: sequence.transcript.steps
        attempt.text = lambda begin: sequence.text_between(len(request.prompt) + begin, len(sequence.tokens))
        if branch is not None:
            self._until(attempt, branch.most)
        if sequence.chances is not None:
            attempt.chances = sequence.chances
        attempt.logprobs = lambda: [
            sequence.logprobs.get(at) for at in range(len(request.prompt), len(sequence.tokens))
        ]

    def _otherwise(self, messages: tuple[Message, ...]) -> Request:
        """The request with other messages in place of the question's; as it is where they leave no room, and an event
        says so."""
        question = self._plain.question
        if question is None:
            raise RequestError(f"'{self.scaling.name}' asks otherwise, and there is no question.", "Give messages.")
        try:
            made = self._engine.made(replace(question, messages=messages))
        except RequestError as error:
            self._events.append(Event(METHOD, "unasked", 0, str(error)))
            return self._request
        return self._engine.fitted(replace(self._plain, prompt=made.prompt, question=made.question, phase=made.phase))

    def _watchers(self, attempt: Attempt) -> tuple[Controller, ...]:
        if self.scaling.reads:
            return (States(attempt, self._looked),)
        if self.scaling.walks:
            hand = self._hands[attempt.number] = Hand()
            return (hand, Chances()) if self.scaling.needs.chances else (hand,)
        if self.scaling.probes and self._engine.text.format.thinks:
            return (Shared(self._settled, attempt, self._looked, alone=self.board.most == 1),)
        return (Chances(),) if self.scaling.needs.chances else ()

    def _looked(self, attempt: Attempt, growth: Growth) -> str | None:
        with self._lock:
            self._news = True
            self._keep_up(attempt)
            return self.scaling.concludes(self._state, self.board, attempt, growth)

    def _keep_up(self, asking: Attempt) -> None:
        """Put on the board how far the others are; where that is not known yet, as far as the one that asks."""
        for attempt in self.board.running:
            if attempt is not asking:
                self._read(attempt)
                if self._mover.lags and not attempt.concluded and not attempt.waits:
                    attempt.thinking = max(attempt.thinking, asking.thinking)

    def _go_on(self, attempt: Attempt, most: int) -> None:
        """Have an attempt that waits write on."""
        if attempt.waits:
            attempt.waits = False
            self._until(attempt, most)
            self._mover.go_on(self._sequences[attempt.number])

    def _until(self, attempt: Attempt, most: int) -> None:
        """Where an attempt waits next: at the end of a step (0), after so many tokens, or (-1) never."""
        sequence = self._sequences[attempt.number]
        after = sequence.transcript.thinking + most if most > 0 else None
        self._hands[attempt.number].aim(after, whole=most != 0)
        sequence.refresh_limit()

    def _waits(self, attempt: Attempt) -> None:
        """Let an attempt wait that has come to where it shall."""
        hand, sequence = self._hands.get(attempt.number), self._sequences[attempt.number]
        if hand is None or not hand.waits or attempt.waits:
            return
        if sequence.transcript.phase not in ("before", "thinking"):  # the loop has ended the thought there after all
            hand.waits = False
            return
        hand.forget(sequence.events)
        attempt.waits = self._news = True
        attempt.ends.append(sequence.generated)
        self._mover.wait(sequence)

    def _move_on(self) -> None:
        """Until something comes up."""
        while self.board.running and not self._news:
            ended = self._mover.move()
            for attempt in self.board.running:
                self._read(attempt)
                if not self._sequences[attempt.number].done:
                    self._waits(attempt)
            for sequence, error in ended:
                number = next(n for n, mine in self._sequences.items() if mine is sequence)
                self._end(self.board.attempts[number], error)
            self._news = self._news or bool(ended) or self.scaling.watches

    def _read(self, attempt: Attempt) -> None:
        sequence = self._sequences[attempt.number]
        attempt.tokens = sequence.generated - sequence.taken
        attempt.thinking = sequence.transcript.thinking
        attempt.answering = sequence.transcript.phase == "answer"

    def _end(self, attempt: Attempt, error: RemoteError | None) -> None:
        self._read(attempt)
        attempt.result = self._engine.result(self._sequences[attempt.number])
        attempt.ended = sum(other.ended >= 0 for other in self.board.attempts)
        attempt.state = "done" if error is None else "failed"
        if error is not None:
            attempt.reason = str(error)
            self._events.append(Event(METHOD, "failed", attempt.tokens, f"attempt {attempt.number}: {error}"))
            self._error = error
        else:
            attempt.answer = read(attempt.result)

    def _stop(self, attempt: Attempt, reason: str) -> None:
        sequence = self._sequences[attempt.number]
        self._mover.cancel(sequence)
        self._read(attempt)
        attempt.state, attempt.reason = "stopped", reason
        attempt.ended = sum(other.ended >= 0 for other in self.board.attempts)
        attempt.result = self._engine.result(sequence)

    def _finish(self, reason: str) -> None:
        """It is enough: only who has to write the answer that stands goes on, and that at once."""
        board = self.board
        self._reason = self._reason or reason
        with self._lock:
            found = self.scaling.candidates(self._state, board)
        behind = [board.attempts[number] for number in found[0].numbers] if found else []
        speaker = None
        if not any(attempt.state == "done" for attempt in behind):
            speaker = next((attempt for attempt in behind if attempt.state == "running"), None)
        if speaker is None and not board.done:
            speaker = next(iter(board.running), None)
        for attempt in board.running:
            if attempt is not speaker:
                self._stop(attempt, reason)
        if speaker is not None:
            self._go_on(speaker, -1)
        if speaker is not None and not speaker.concluded:
            speaker.concluded = self._mover.conclude(self._sequences[speaker.number], reason)

    def _ask(self, messages: tuple[Message, ...], most: int, draw: int | None = None) -> Result:
        sampling = Sampling() if draw is None else seeded(self._request.sampling, _BESIDES + draw)
        found = self._engine.using(think=()).generate(messages, sampling=sampling, limits=Limits(most), thinking=False)
        self._asked.append(found)
        return found

    def _told(self, messages: tuple[Message, ...], most: int, draw: int | None) -> str:
        try:
            return self._ask(messages, most, draw).answer
        except RequestError as error:
            self._events.append(Event(METHOD, "unasked", 0, str(error)))
            return ""

    def _answered(self) -> Answered:
        board = self.board
        if not board.attempts:
            raise RequestError("no attempt has been started.", "Iterate to the end, or use Engine.answer.")
        candidates: list[Candidate] = list(self.scaling.candidates(self._state, board))
        if board.done and self._reason != CANCELLED:
            try:
                candidates = list(self.scaling.last(self._state, board, candidates, self._ask))
            except RequestError as error:  # there is no room to ask the model about all attempts: the vote stands
                self._events.append(Event(METHOD, "unasked", 0, str(error)))
        speaker = self._speaker(candidates)
        if candidates and speaker.state == "stopped" and speaker.looks and self._reason != CANCELLED:
            self._write_out(speaker)
        tried = tuple(Tried(_written(a), a.answer, a.state, a.reason, a.parent, a.taken) for a in board.attempts)
        sure = self.scaling.confidence(self._state, board, candidates) if candidates else 0.0
        usage = Usage()
        for result in (*(each.result for each in tried), *self._asked):
            usage.add(result.usage)
        unread = not candidates and self._reason != CANCELLED
        reason = "no answer could be read in any attempt" if unread else self._reason
        passes = self._engine.target.passes - self._passes
        question = self._request.question
        noted = () if question is None else question.events
        said = dict.fromkeys((*noted, *_written(speaker).events))
        events = (*said, *self._events, Event(METHOD, "answer", usage.generated, reason))
        answer = candidates[0].answer if candidates else _written(speaker).answer
        seconds = time.perf_counter() - self._begun
        return Answered(
            answer, sure, _written(speaker), tuple(candidates), tried, usage, passes, seconds, reason, events,
            tuple(self._asked),
        )  # fmt: skip

    def _write_out(self, attempt: Attempt) -> None:
        """Have the answer written that a stopped attempt would have given at its last look, greedily as that asked.

        It comes to this where the one that wrote its answer for all who agreed drew another one after all.
        """
        prompt, form, written = self._request.prompt, self._engine.text.format, _written(attempt)
        thought = written.tokens[: attempt.looks[-1].tokens]
        closed = (*thought, *self._engine.text.encode(form.ending))
        left = self._request.limits.max_new_tokens - len(closed)
        if left < 1:
            return
        limits, sampling = replace(self._request.limits, max_new_tokens=left, answer_room=0), Sampling()
        request = replace(self._request, prompt=(*prompt, *closed), sampling=sampling, limits=limits, phase="answer")
        (said,) = self._engine.run([replace(request, controllers=(), question=None, prior=())])
        self._asked.append(said)
        text = self._engine.text.decode(list(thought))
        attempt.result = replace(
            written, text=f"{text}{form.ending}{said.text}", answer=said.answer,
            thinking=_thought(form, text), tokens=(*closed, *said.tokens),
            finish_reason=said.finish_reason, thought=len(closed),
        )  # fmt: skip

    def _speaker(self, candidates: list[Candidate]) -> Attempt:
        """Whose reply stands: of those behind the first candidate the first that is done, else who came furthest."""
        board = self.board
        behind = [board.attempts[number] for number in candidates[0].numbers] if candidates else []
        return min(behind or board.done or board.attempts, key=lambda a: (a.state != "done", a.state == "failed"))


def sampled(request: Request, given: Sampling | None, *, several: bool) -> Request:
    """The request with a temperature, where nobody has named one and ``several`` attempts are to differ."""
    if given is not None or not several or not request.sampling.greedy:
        return request
    sampling = replace(request.sampling, temperature=TEMPERATURE)
    question = request.question
    if question is not None:
        reason = f"temperature {TEMPERATURE}, since none was named and greedy attempts would all be the same"
        question = replace(question, sampling=sampling).noting(METHOD, "sample", reason)
    return replace(request, sampling=sampling, question=question)


def _thought(form: Format, text: str) -> str:
    """The thought in the beginning of a reply."""
    return text.partition(form.opens)[2].strip() if form.opens in text else text.strip()


def _written(attempt: Attempt) -> Result:
    assert attempt.result is not None
    return attempt.result


def check(engine: Engine, scaling: Scaling) -> None:
    """Raise UnmetNeed if a policy needs something that this engine does not have."""
    needs = scaling.needs
    if (needs.thinking or scaling.walks or scaling.reads) and not engine.text.format.thinks:
        raise UnmetNeed(
            f"'{scaling.name}' needs a model with a thinking phase; no thinking tags were found.",
            "Name the tags with format=Format(opens, closes) (--format), or choose another method.",
        )
    engine.allows(scaling)
