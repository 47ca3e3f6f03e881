"""laconic's own: attempts go on, are joined by others, or end, by what more tokens can be expected to bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from laconic.errors import RequestError
from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Ask, Attempt, Board, Candidate, Growth, Scaling
from laconic.scaling.beliefs import (
    BEFORE,
    MOST,
    SCALES,
    SUREST,
    UNSEEN,
    Floats,
    Votes,
    cases,
    gain,
    left,
    of_votes,
    scaled,
)
from laconic.scaling.groups import alike, grouped
from laconic.thinking.exit.worth import cost

if TYPE_CHECKING:
    from laconic.thinking.exit.settled import Settled

_E = math.e - 1
"""Growth of a thought that ``settled`` weighs, as a share of it."""
_AHEAD = (1, 2, 4)
"""Further attempts that are thought of together."""
_MEMORY = 0.995
"""Weight that a question keeps with each later one in what is known of the ways; about two hundred count."""


@knobs
class Enough(Scaling):
    """Spend tokens on a question, over all attempts, only while they can be expected to pay.

    Attempts think as under ``settled``: at the end of each step a probe, which rides on a pass that is made anyway,
    tells what the attempt would answer and how much that is in **doubt**. So attempts vote before they have ended, each
    with the odds of its doubt.

    Attempts at one question err together: two that are sure and agree are wrong a third as often as one alone where
    independent witnesses would be wrong a hundredth as often. So doubts are about how **hard** the question is, which
    nobody knows and all attempts share, and only beside that about each attempt: an attempt errs where ``sqrt(0.7)``
    times the hardness and ``sqrt(0.3)`` times something of its own, both standard normal, are above what its doubt
    leaves room for (the one-factor model of credit risk, Vasicek 1987; 0.7 is what the errors of smollm2-reasoner and
    of the bundled reasoner have in common). Of a question of known hardness attempts are independent, but that a wrong
    one repeats another's answer with probability ``alike``. So if attempts i answer a_i with doubts d_i there, then
    answer a is right in proportion to the product of 1 - d_i over those for it, and of d_i over all others, times
    ``alike`` for every one of these that repeats another and 1 - ``alike`` for every one, but the first, that does not;
    and none is right in proportion to the product of all doubts, with the same factors.

    What a doubt is worth differs from model to model: here 0.05 is one wrong answer in twenty, there one in two. How
    well attempts agree tells, without anybody knowing a right answer. So doubts may be meant as they are told, or their
    odds as the first, second or third power of their ratio to 1/4 or 1/16, wherever that is more: seven ways, of which
    the first is the likeliest until questions have been answered; then each counts by how likely it makes the votes
    that were seen, those of long ago less. They are never meant as less than is told: attempts that have read the same
    agree also where they are wrong, and who took that for truth would end ever sooner, with ever more agreement. What
    an engine has learned of the ways it keeps from question to question, for each spec. What the likeliest answer lacks
    to 1, over all ways and hardnesses, is the doubt that is left of the question.

    Early in their thoughts attempts err alike: all have read the same question and little else. So until one is through
    with its thought, each is weighed by itself.

    Three things can be done, and whatever promises more than it costs is done:

    * **go on** with an attempt: ``settled`` says what growth of its thought by the factor e promises the attempt. Of
      that the question gets the share that its doubt is of the attempt's, and all of it at most.
    * **start** more: how much more often the best answer would be right after one, two or four more, over ways in which
      they may turn out, drawn from what is believed now.
      While answers that attempts have thought to their own ends stand one to one, another promises all the doubt that
      is left: those answers are drawn, the hotter the more at random, and a greedy probe's doubt shortly before does
      not tell well enough which draw was the unlucky one.
    * **end**: where neither pays. If nobody has written the answer out that stands, one attempt does.

    Tokens cost what they cost ``settled``: growth by the factor e, of all that was written for the question, must bring
    the price of that many tokens, or of 10,000 if these are fewer.

    With one attempt it is ``settled``. The price is the one knob of both: accuracy that a thousand thinking tokens must
    bring. For a model without a thinking phase an attempt is in doubt by one half.
    """

    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(probabilities=True, chances=True)
    probes = True

    price: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.0065
    """Accuracy (1 is one right answer) that a thousand thinking tokens must be expected to bring."""
    abreast: Annotated[int, Field(ge=1)] = 2
    """Attempts that are under way at once: more are sooner done, with more tokens in vain."""
    alike: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Chance that two wrong answers are the same."""

    def looking(self, settled: Settled) -> Settled:
        """At the policy's own price."""
        return replace(settled, price=self.price)

    def start(self, board: Board) -> None:
        """Refuse more attempts than it can think of."""
        if board.most > MOST:
            raise RequestError(f"'{self.name}' weighs at most {MOST} attempts, not {board.most}.", "Ask for fewer.")

    def acts(self, state: Any, board: Board) -> Acts:
        """Stop attempts that do not pay, start what does, or end it."""
        if not board.attempts:
            return Acts(start=min(self.abreast, board.most))
        votes = self._votes(board)
        doubt = left(votes, self.alike, self._ways)
        worth = self._worth(board, votes) if board.left else 0.0
        room = len(board.running) < self.abreast
        if worth > 0 and room:
            return Acts(start=1)
        if board.most == 1 or not any(a.state == "done" or a.concluded for a in board.attempts):
            return Acts()
        best = self.candidates(state, board)[:1]
        behind = [board.attempts[number] for number in best[0].numbers] if best else []
        spoken = any(a.state == "done" or a.concluded for a in behind)
        speaker = None if spoken else next((a for a in behind if a.state == "running"), None)
        thinking = [a for a in board.running if not a.concluded]
        ways = self._likely_ways(votes)
        vain = [a for a in thinking if _promise(a, doubt, ways) < self._cost(board, _spent(a) * _E)]
        if len(vain) == len(thinking) and worth <= 0:
            return Acts(enough=f"the answer is in doubt by {doubt:.3f}, and more attempts would not pay")
        reason = f"the question is in doubt by {doubt:.3f} already"
        return Acts(stop={a.number: reason for a in vain if a is not speaker})

    def concludes(self, state: Any, board: Board, attempt: Attempt, growth: Growth) -> str | None:
        """Where thinking on does not pay for the question."""
        promise, price = growth.promise, growth.cost
        doubt = attempt.looks[-1].doubt
        if board.most > 1:
            votes, ways = self._votes(board, attempt), self._ways
            own = float(self._likely_ways(votes) @ scaled(np.array([doubt]))[:, 0])
            doubt, price = left(votes, self.alike, ways), self._cost(board, _spent(attempt) * _E)
            promise *= min(own, doubt) / max(attempt.looks[-1].doubt, SUREST)
        if promise >= price:
            return None
        return f"the question is in doubt by {doubt:.3f}; thinking on promises {promise:.3f} for {price:.3f}"

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """The answers by how likely they are right."""
        known = self._known(board)
        groups = grouped((attempt, answer, 1.0) for attempt, answer, _ in known)
        if not groups:
            return []
        chances = of_votes(self._numbered(known, groups), self.alike, self._ways).chances[0]
        made = [Candidate(g.answer, float(p), g.numbers) for g, p in zip(groups, chances[:-1], strict=True)]
        return sorted(made, key=lambda each: -each.weight)

    def confidence(self, state: Any, board: Board, candidates: Sequence[Candidate]) -> float:
        """How likely the first is right."""
        return candidates[0].weight

    def last(self, state: Any, board: Board, candidates: Sequence[Candidate], ask: Ask) -> Sequence[Candidate]:
        """Learn from how well the attempts agreed in what way doubts are meant."""
        votes = self._votes(board)
        if len(votes.groups) > 1:
            self._learn(of_votes(votes, self.alike, np.ones(len(SCALES))).ways[0])
        return candidates

    @cached_property
    def _known_ways(self) -> dict[str, Floats]:
        """Logarithms of how likely each way is, up to a constant, by all questions so far."""
        return {"logs": np.log(BEFORE)}

    @property
    def _ways(self) -> Floats:
        logs = self._known_ways["logs"]
        odds = np.exp(logs - logs.max())
        return np.asarray(odds / odds.sum(), dtype=np.float64)

    def _learn(self, likely: Floats) -> None:
        self._known_ways["logs"] = _MEMORY * self._known_ways["logs"] + np.log(np.maximum(likely, 1e-12))

    def _known(self, board: Board) -> list[tuple[Attempt, str, float]]:
        """Attempts with an answer, given or found by a probe, and its doubt."""
        found = []
        for attempt in board.attempts:
            look = attempt.looks[-1] if attempt.looks else None
            said = look is not None and look.belief.complete
            if attempt.state == "done" and attempt.answer:
                same = look is not None and said and alike(look.belief.answer, attempt.answer)
                found.append((attempt, attempt.answer, look.doubt if same and look is not None else UNSEEN))
            elif attempt.state != "failed" and look is not None and said and look.belief.answer:
                found.append((attempt, look.belief.answer, look.doubt))
        return found

    def _votes(self, board: Board, asking: Attempt | None = None) -> Votes:
        """Votes of all attempts; until one of them is through with its thought, that of the one alone which asks.

        Early in their thoughts all have read the same question and little else, and err alike.
        """
        known = self._known(board)
        if not any(a.state == "done" or a.concluded for a in board.attempts):
            known = [vote for vote in known if vote[0] is asking]
        return self._numbered(known, grouped((attempt, answer, 1.0) for attempt, answer, _ in known))

    def _numbered(self, known: Sequence[tuple[Attempt, str, float]], groups: Sequence[Candidate]) -> Votes:
        of = {number: at for at, group in enumerate(groups) for number in group.numbers}
        return Votes(tuple(of[a.number] for a, _, _ in known), tuple(doubt for _, _, doubt in known))

    def _cost(self, board: Board, more: float) -> float:
        """What so many more thinking tokens must bring, beside all that were written for this question.

        By ``settled``'s price, which is for growth by the factor e.
        """
        spent = max(sum(map(_spent, board.attempts)), 1)
        return cost(self.price, spent) * math.log1p(more / spent)

    def _likely_ways(self, votes: Votes) -> Floats:
        return of_votes(votes, self.alike, self._ways).factors[0] if votes.groups else cases(self._ways)

    def _worth(self, board: Board, votes: Votes) -> float:
        """What further attempts are expected to bring beyond their cost, in the best number of them."""
        if not votes.groups:  # nothing is known: whoever runs must say something first
            return 0.0 if board.running else 1.0
        lengths = [_spent(a) for a in board.attempts if a.state in ("done", "stopped") or a.concluded]
        mean = sum(lengths) / len(lengths) if lengths else max(map(_spent, board.attempts))
        worth = [
            gain(votes, self.alike, more, board.seed, self._ways) - self._cost(board, more * mean)
            for more in _AHEAD
            if more <= board.left
        ]
        if _split(board):
            worth.append(left(votes, self.alike, self._ways) - self._cost(board, mean))
        return max(worth)


def _promise(attempt: Attempt, left: float, ways: Floats) -> float:
    """What an attempt under way promises the question at most: it may yet decide whatever is in doubt."""
    said = attempt.looks and attempt.looks[-1].belief.complete
    own = float(ways @ scaled(np.array([attempt.looks[-1].doubt]))[:, 0]) if said else 1.0
    return min(own, left)


def _split(board: Board) -> bool:
    """Whether answers that attempts have thought to their ends have as many of these behind them as any other has."""
    drawn = [a for a in board.attempts if a.state == "done" and a.answer and not a.concluded]
    groups = grouped((attempt, attempt.answer, 1.0) for attempt in drawn)
    return len(groups) > 1 and groups[0].weight == groups[1].weight


def _spent(attempt: Attempt) -> int:
    """Tokens of an attempt that are paid for: those of its thought, or of all that it wrote if it has none."""
    return attempt.thinking or attempt.tokens
