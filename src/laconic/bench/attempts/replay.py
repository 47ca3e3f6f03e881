"""A scaling policy played over recorded attempts: the same contract, the same seeds, and no model.

An attempt depends on its seed alone, so what a policy would have seen of it is what was recorded, up to the place where
the policy ends it. Attempts under way take turns token by token. What an attempt writes behind a thought that is ended
early is not known: it is taken to answer what the probe found, in as many tokens as it needed at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from laconic.bench.attempts.recording import Recording, Written
from laconic.errors import MethodError
from laconic.judges.base import Judge
from laconic.scaling.base import Acts, Attempt, Board, Growth, Look, Scaling
from laconic.thinking.base import Belief
from laconic.thinking.exit.settled import Settled
from laconic.types import FinishReason, Result, Usage


@dataclass(frozen=True, slots=True)
class Played:
    """What a policy would have made of a question.

    ``tokens`` were written by all attempts, ``rounds`` one after the other, and ``widths[w]`` of these with w under
    way.
    """

    answer: str
    confidence: float
    tokens: int
    rounds: int
    started: int
    widths: dict[int, int]


@dataclass(slots=True)
class _Playing:
    """An attempt under way: where it will end, and how far its looks have been told."""

    written: Written
    attempt: Attempt
    end: int
    said: str
    told: int = 0


def play(recording: Recording, scaling: Scaling, most: int) -> Played:
    """Play a policy that asks the model nothing besides. Raises MethodError if the recording has too few attempts."""
    if most > len(recording.attempts):
        raise MethodError(f"{most} attempts are asked for, and {len(recording.attempts)} are recorded.")
    if scaling.walks or scaling.reads:
        what = "copies" if scaling.walks else "hidden states"
        raise MethodError(f"'{scaling.name}' needs {what} of attempts, which are not recorded.", "Answer in earnest.")
    if scaling.asks or scaling.alternatives or any(isinstance(policy, Judge) for policy in scaling.walk()):
        raise MethodError(f"'{scaling.name}' asks for more than is recorded.", "Run it with laconic compare --scaling.")
    board = Board(({"role": "user", "content": recording.question},), most)
    state = scaling.start(board)
    price = scaling.looking(Settled())
    under_way: dict[int, _Playing] = {}
    widths: dict[int, int] = {}
    rounds = 0
    acts = scaling.acts(state, board)
    while _carry_out(acts, board, recording, under_way):
        news = False
        while under_way and not news:
            widths[len(under_way)] = widths.get(len(under_way), 0) + 1
            rounds += 1
            for playing in list(under_way.values()):
                news = _step(playing, scaling, state, board, price) or news
                if playing.attempt.state != "running":
                    del under_way[playing.attempt.number]
            news = news or scaling.watches
        acts = scaling.acts(state, board)
    found = scaling.candidates(state, board)
    found = list(scaling.last(state, board, found, _nobody))
    sure = scaling.confidence(state, board, found) if found else 0.0
    tokens = sum(attempt.tokens for attempt in board.attempts)
    if found and not any(board.attempts[number].state == "done" for number in found[0].numbers):
        closing = recording.attempts[found[0].numbers[0]].closing  # one attempt writes the answer out
        tokens, rounds = tokens + closing, rounds + closing
    return Played(found[0].answer if found else "", sure, tokens, rounds, len(board.attempts), widths)


def _nobody(messages: object, most: int) -> Result:
    raise MethodError("a recording cannot be asked anything.", "Play a policy that asks the model nothing besides.")


def _carry_out(acts: Acts, board: Board, recording: Recording, under_way: dict[int, _Playing]) -> bool:
    for number, reason in acts.stop.items():
        if number in under_way:
            attempt = under_way.pop(number).attempt
            attempt.state, attempt.reason = "stopped", reason
            attempt.ended = sum(other.ended >= 0 for other in board.attempts)
    if acts.enough:
        return False
    for _ in range(min(acts.start, board.left)):
        written = recording.attempts[len(board.attempts)]
        attempt = Attempt(len(board.attempts))
        board.attempts.append(attempt)
        under_way[attempt.number] = _Playing(written, attempt, len(written.tokens), written.answer)
    return bool(under_way)


def _step(playing: _Playing, scaling: Scaling, state: object, board: Board, price: Settled) -> bool:
    """One token more of an attempt; says whether something has come up."""
    attempt, written = playing.attempt, playing.written
    attempt.tokens += 1
    attempt.thinking = min(attempt.tokens, written.thinking)
    attempt.chances = written.chances[: attempt.tokens]
    news = False
    if scaling.probes and not attempt.concluded:
        for glance in written.glances[playing.told :]:
            if glance.tokens > attempt.tokens:
                break
            playing.told, news = playing.told + 1, True
            belief = Belief(glance.answer, glance.probs, (), glance.complete, 1)
            attempt.looks.append(Look(glance.thinking, belief, glance.doubt, glance.tokens))
            growth = Growth(glance.promise, price.cost(glance.thinking))
            if scaling.concludes(state, board, attempt, growth) is not None:
                attempt.concluded = True
                playing.end = min(attempt.tokens + written.closing, playing.end)
                playing.said = glance.answer if glance.complete else ""
                break
    if attempt.tokens >= playing.end:
        finish: FinishReason = "length" if written.finish == "length" and not attempt.concluded else "stop"
        attempt.state, attempt.answer = "done", playing.said
        attempt.ended = sum(other.ended >= 0 for other in board.attempts)
        usage = Usage(thinking=attempt.thinking)
        text = playing.said if attempt.concluded else written.reply
        attempt.result = Result("", "", text, written.tokens[: attempt.tokens], finish, usage)
        news = True
    return news
