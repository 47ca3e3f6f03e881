"""ZIP-RC: a trained head foresees each attempt's reward and length, and only attempts worth their tokens go on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Attempt, Board, Candidate, Scaling
from laconic.scaling.groups import grouped
from laconic.scaling.outlook.head import Outlook, Trained, load


@knobs
class ZipRC(Scaling):
    """Go on with the attempts, and start as many, for which expected best reward less cost is highest.

    Source: Zero-Overhead Introspection for Adaptive Test-Time Compute (Manvi et al. 2025): unused logits of the model
    tell at every token how likely each reward and each remaining length is; then the expected maximum of the rewards of
    a set of attempts, less ``alpha`` times all their tokens, less ``beta`` times those of the longest, says which to go
    on with. The authors train the whole model for it and may branch at any token; here a small head on the model's last
    state is trained by ``laconic fit zip-rc`` and the model stays as it is, it is read at the ends of steps, and
    attempts are started anew. Rewards of attempts are taken as independent, as there. Each attempt votes by how
    likely it is right.
    """

    card = Card(paper="ZIP-RC", lossless=False, catalogue=(227,))
    needs = Needs(thinking=True, probabilities=True, target_hidden=True)
    reads = True
    hints: ClassVar[dict[str, str]] = {"head": "Train one: laconic fit zip-rc OUT; then zip-rc:OUT."}
    files = frozenset({"head"})

    head: str
    """Folder that ``laconic fit zip-rc`` wrote."""
    alpha: Annotated[float, Field(ge=0)] = 0.1
    """Reward (1 is a right answer) that a thousand tokens must bring."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Reward that a thousand tokens one after the other must bring."""
    abreast: Annotated[int, Field(ge=1)] = 2
    """Attempts to begin with."""

    @cached_property
    def _trained(self) -> Trained:
        return load(self.head)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the head was trained on this target."""
        self._trained.suits(target)

    def start(self, board: Board) -> dict[tuple[int, int], Outlook]:
        """What the head has said of each look, by attempt and its place there."""
        return {}

    def acts(self, state: dict[tuple[int, int], Outlook], board: Board) -> Acts:
        """Keep the best set, and start what pays."""
        if not board.attempts:
            return Acts(start=min(self.abreast, board.most))
        running = board.running
        if any(not attempt.looks for attempt in running):
            return Acts()  # nothing is known of it yet
        done = [self._now(state, attempt).right for attempt in board.done if attempt.answer and attempt.looks]
        now = {attempt.number: self._now(state, attempt) for attempt in running}
        first = [self._said(state, attempt, 0) for attempt in board.attempts if attempt.looks]
        kept, start = best_set(list(now.values()), done, _mean(first), board.left, self.alpha, self.beta)
        numbers = [attempt.number for attempt in running]
        stop = {n: "others promise more for their tokens" for n, keep in zip(numbers, kept, strict=True) if not keep}
        if running and len(stop) == len(running) and not any(a.answer for a in board.done) and not start:
            most = max(numbers, key=lambda n: now[n].right)  # somebody has to answer
            del stop[most]
        if not stop and not start:
            return Acts()
        if running and len(stop) == len(running) and not start:
            return Acts(enough="more tokens would not pay")
        return Acts(stop=stop, start=start)

    def _now(self, state: dict[tuple[int, int], Outlook], attempt: Attempt) -> Outlook:
        """The latest; of an attempt that writes its answer already no more of its thought is left."""
        if not attempt.looks:
            return Outlook(0.5, 0.0)
        found = self._said(state, attempt, len(attempt.looks) - 1)
        return Outlook(found.right, 0.0) if attempt.answering else found

    def _said(self, state: dict[tuple[int, int], Outlook], attempt: Attempt, look: int) -> Outlook:
        key = attempt.number, look
        if key not in state:
            hidden = attempt.looks[look].belief.hidden
            assert hidden is not None
            state[key] = self._trained(hidden)
        return state[key]

    def candidates(self, state: dict[tuple[int, int], Outlook], board: Board) -> list[Candidate]:
        """The answers by how likely their attempts are right, added up."""
        return grouped((a, a.answer, self._now(state, a).right) for a in board.done)


def best_set(
    running: Sequence[Outlook], done: Sequence[float], fresh: Outlook, room: int, alpha: float, beta: float
) -> tuple[list[bool], int]:
    """Which of the attempts under way to go on with, and how many ``fresh`` ones to start, at most ``room``.

    Greedy, from nothing: whichever adds most is added, as long as it adds anything. The expected maximum of rewards 0
    and 1 is one less the chance that none is 1.
    """
    none = math.prod(1 - right for right in done)
    longest, kept, start = 0.0, [False] * len(running), 0
    while True:
        gains = [
            none * each.right - alpha * each.left / 1000 - beta * max(each.left - longest, 0.0) / 1000
            for each in (*running, fresh)
        ]
        open = [at for at in range(len(running)) if not kept[at]] + ([len(running)] if start < room else [])
        best = max(open, key=gains.__getitem__, default=None)
        if best is None or gains[best] <= 0:
            return kept, start
        if best < len(running):
            kept[best] = True
        else:
            start += 1
        chosen = (*running, fresh)[best]
        none *= 1 - chosen.right
        longest = max(longest, chosen.left)


def _mean(outlooks: Sequence[Outlook]) -> Outlook:
    """What is to be expected of an attempt that has not begun."""
    if not outlooks:
        return Outlook(0.0, 0.0)
    rights, lefts = zip(*outlooks, strict=True)
    return Outlook(sum(rights) / len(rights), sum(lefts) / len(lefts))
