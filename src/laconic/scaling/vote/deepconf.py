"""DeepConf: votes weighted by the least confident stretch of a thought; attempts given up where confidence drops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Attempt, Board
from laconic.scaling.groups import grouped
from laconic.scaling.vote.base import Vote


@dataclass(slots=True)
class Trace:
    """Confidences of an attempt's tokens as far as they were read, and its least confident stretch."""

    confidences: list[float] = field(default_factory=list)
    read: int = 0
    """Tokens that were looked at; those that were written by force have no confidence."""
    total: float = 0.0
    """Of the last window."""
    lowest: float = math.inf
    groups: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Traces:
    """State of one question."""

    by: dict[int, Trace] = field(default_factory=dict)
    threshold: float | None = None


@knobs
class DeepConf(Vote):
    """Weight votes by confidence, keep the most confident, and stop attempts whose confidence falls too low.

    Source: Deep Think with Confidence (Fu et al. 2025). The confidence of a token is minus the mean log probability of
    the ``top`` likeliest tokens in its place: large where all but one are unlikely. That of an attempt is its lowest
    mean over any ``window`` of tokens, the mean of the lowest tenth of these, that of its last ``tail`` tokens, or the
    mean of all. Offline (``warmup=0``) all attempts are written, the share ``share`` of the most confident votes, each
    with its confidence. Online, ``warmup`` attempts set the threshold, the confidence that the share ``share`` of them
    reaches; each later attempt ends where a window falls below it and has no vote. It stops, too, where the answer
    ahead has the share ``sure`` of all votes. ``top=0`` reads the log probability of what was written instead of that
    of the likeliest tokens: then confidence is its mean, and a server can be asked for it.
    """

    card = Card(paper="Deep Think with Confidence", lossless=False, arxiv="2508.15260")
    needs = Needs(chances=True)
    watches = True

    warmup: Annotated[int, Field(ge=0)] = 0
    """Attempts that are written to their ends before others are stopped; 0 stops none. The authors use 16 of 512."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the most confident attempts; the authors use 0.1 and 0.9."""
    window: Annotated[int, Field(ge=1)] = 2048
    """Tokens of a stretch. Thoughts that are shorter are one stretch."""
    by: Literal["lowest", "bottom", "tail", "mean"] = "lowest"
    """What of a thought its confidence is."""
    tail: Annotated[int, Field(ge=1)] = 2048
    """Tokens of the tail."""
    top: Annotated[int, Field(ge=0)] = 20
    """Likeliest tokens in each place."""
    sure: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    """Share of the vote at which no more attempts are made, online."""

    @property
    def alternatives(self) -> int:
        """The likeliest tokens in each place."""
        return self.top

    def start(self, board: Board) -> Traces:
        """Nothing read yet."""
        return Traces()

    def at_once(self, board: Board) -> int:
        """All of them, but none beyond the warm-up before it is over."""
        if self.warmup and len(board.done) < min(self.warmup, board.most):
            return min(self.warmup, board.most)
        return board.most

    def acts(self, state: Traces, board: Board) -> Acts:
        """Stop whoever fell below the threshold; then as every vote."""
        for attempt in board.attempts:
            if attempt.state in ("running", "done"):
                self._read(state, attempt)
        if not self.warmup:
            return Vote.acts(self, state, board)
        first = board.attempts[: self.warmup]
        warm = len(first) == self.warmup and not any(a.state == "running" for a in first)
        if state.threshold is None and warm:
            state.threshold = _reached([state.by[a.number].lowest for a in first if a.state == "done"], self.share)
        stop = {}
        if state.threshold is not None:
            for attempt in board.running:
                lowest = state.by[attempt.number].lowest
                if lowest < state.threshold:
                    stop[attempt.number] = f"confidence {lowest:.2f} is below {state.threshold:.2f}"
        if not warm:
            room = (self.abreast or self.warmup) - len(board.running)
            return Acts(start=max(min(room, self.warmup - len(board.attempts)), 0))
        acts = Vote.acts(self, state, board)
        return Acts(acts.start, stop, acts.enough)

    def enough(self, state: Traces, board: Board) -> str:
        """Where those who have voted agree, online."""
        if not self.warmup or len(board.done) < min(self.warmup, board.most):
            return ""
        votes = [(a, a.answer, self.weight(state, board, a)) for a in board.done]
        groups = grouped(votes)
        total = sum(group.weight for group in groups)
        share = groups[0].weight / total if total > 0 else 0.0
        return f"the answer has {share:.0%} of the vote" if share >= self.sure else ""

    def voters(self, state: Traces, board: Board) -> Sequence[Attempt]:
        """The most confident of those that have ended; online all that were not stopped."""
        done = board.done
        for attempt in done:
            self._read(state, attempt)
        if not done or self.warmup:
            return done
        least = _reached([self._confidence(state, attempt) for attempt in done], self.share)
        return [attempt for attempt in done if self._confidence(state, attempt) >= least]

    def weight(self, state: Traces, board: Board, attempt: Attempt) -> float:
        """Its confidence. Means of log probabilities are below 0: there it is the mean probability."""
        found = self._confidence(state, attempt)
        return found if self.top else math.exp(found)

    def _confidence(self, state: Traces, attempt: Attempt) -> float:
        trace = state.by[attempt.number]
        if not trace.confidences:
            return 0.0
        if self.by == "lowest":
            return trace.lowest
        if self.by == "bottom":
            worst = sorted(trace.groups)[: max(len(trace.groups) // 10, 1)]
            return sum(worst) / len(worst)
        part = trace.confidences[-self.tail :] if self.by == "tail" else trace.confidences
        return sum(part) / len(part)

    def _read(self, state: Traces, attempt: Attempt) -> None:
        """Read the tokens that have come since. A stretch that is not full yet counts once the attempt has ended."""
        trace = state.by.setdefault(attempt.number, Trace())
        said = attempt.logprobs() if self.top else ()
        written = len(said) if self.top else len(attempt.chances)
        if written < trace.read:  # something was taken back
            trace = state.by[attempt.number] = Trace()
        if self.top:
            told = [each for each in said[trace.read :] if each is not None and each.top]
            new = [-sum(lp for _, lp in each.top) / len(each.top) for each in told]
        else:
            new = [math.log(max(chance, 1e-30)) for chance in attempt.chances[trace.read :]]
        trace.read = written
        for confidence in new:
            trace.confidences.append(confidence)
            trace.total += confidence
            if len(trace.confidences) > self.window:
                trace.total -= trace.confidences[-self.window - 1]
            if len(trace.confidences) >= self.window:
                trace.groups.append(trace.total / self.window)
                trace.lowest = min(trace.lowest, trace.groups[-1])
        if attempt.state == "done" and not trace.groups and trace.confidences:
            trace.groups.append(trace.total / len(trace.confidences))
            trace.lowest = trace.groups[0]


def _reached(confidences: Sequence[float], share: float) -> float:
    """The confidence that this share of the most confident attempts reaches."""
    if not confidences:
        return -math.inf
    return sorted(confidences, reverse=True)[math.ceil(share * len(confidences)) - 1]
