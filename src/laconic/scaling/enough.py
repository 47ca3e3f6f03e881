"""laconic's own: attempts go on, are joined by others, or end, by what more tokens can be expected to bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Attempt, Board, Candidate, Growth, Scaling
from laconic.scaling.groups import alike, grouped
from laconic.thinking.exit.worth import cost

if TYPE_CHECKING:
    from laconic.thinking.exit.settled import Settled

_UNSEEN = 0.5
"""Doubt of an answer that no probe has looked at."""
_SUREST = 1e-3
"""Doubt below which no attempt is believed."""
_DRAWS = 256
"""Ways in which further attempts may turn out that are looked at."""
_E = math.e - 1
"""Growth of a thought that ``settled`` weighs, as a share of it."""
_AHEAD = (1, 2, 4)
"""Further attempts that are thought of together."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Votes:
    """Who is for what: each voter's answer as the number of a group, and how likely it is to be wrong."""

    groups: tuple[int, ...]
    doubts: tuple[float, ...]

    @property
    def count(self) -> int:
        """Different answers."""
        return max(self.groups, default=-1) + 1


@knobs
class Enough(Scaling):
    """Spend tokens on a question, over all attempts, only while they can be expected to pay.

    Attempts think as under ``settled``: at the end of each step a probe, which rides on a pass that is made anyway,
    tells what the attempt would answer and how much that is in **doubt**. So attempts vote before they have ended, each
    with the odds of its doubt. They are taken as independent, but that two wrong ones say the same with probability
    ``alike``. So if attempts i answer a_i with doubts d_i, then answer a is right in proportion to the product of 1 -
    d_i over those for it, and of d_i over all others, times ``alike`` for every one of these that repeats another; and
    none is right in proportion to the product of all doubts, with the same factors. What the likeliest lacks to 1 is
    the doubt that is left of the question.

    Three things can be done, and whatever promises more than it costs is done:

    * **go on** with an attempt: ``settled`` says what growth of its thought by the factor e promises the attempt. Of
      that the question gets the share that its doubt is of the attempt's, and all of it at most.
    * **start** more: how likely the best answer would be after one, two or four more, on average over ways in which
      they may turn out, drawn from what is believed now: right with the average doubt of those so far, or wrong.
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
    alike: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Chance that two wrong answers are the same."""

    def looking(self, settled: Settled) -> Settled:
        """At the policy's own price."""
        return replace(settled, price=self.price)

    def acts(self, state: Any, board: Board) -> Acts:
        """Stop attempts that do not pay, start what does, or end it."""
        if not board.attempts:
            return Acts(start=min(self.abreast, board.most))
        votes = self._votes(board)
        left = _left(posterior(votes, self.alike))
        worth = self._worth(board, votes) if board.left and len(board.running) < self.abreast else 0.0
        if worth > 0:
            return Acts(start=1)
        if board.most == 1 or not any(a.state == "done" or a.concluded for a in board.attempts):
            return Acts()
        best = self.candidates(state, board)[:1]
        behind = [board.attempts[number] for number in best[0].numbers] if best else []
        spoken = any(a.state == "done" or a.concluded for a in behind)
        speaker = None if spoken else next((a for a in behind if a.state == "running"), None)
        thinking = [a for a in board.running if not a.concluded]
        done = [a for a in thinking if self._promise(a, left) < self._cost(board, a.thinking * _E)]
        if len(done) == len(thinking):
            return Acts(enough=f"the answer is in doubt by {left:.3f}, and more attempts would not pay")
        reason = f"the question is in doubt by {left:.3f} already"
        return Acts(stop={a.number: reason for a in done if a is not speaker})

    def concludes(self, state: Any, board: Board, attempt: Attempt, growth: Growth) -> str | None:
        """Where thinking on does not pay for the question."""
        left = _left(posterior(self._votes(board), self.alike))
        own = max(attempt.looks[-1].doubt, _SUREST)
        promise, price = growth.promise, growth.cost
        if board.most > 1:
            promise, price = promise * min(1.0, left / own), self._cost(board, attempt.thinking * _E)
        if promise >= price:
            return None
        return f"the question is in doubt by {left:.3f}; thinking on promises {promise:.3f} for {price:.3f}"

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """The answers by how likely they are right."""
        known = self._known(board)
        groups = grouped((attempt, answer, 1.0) for attempt, answer, _ in known)
        if not groups:
            return []
        chances = posterior(self._numbered(known, groups), self.alike)
        made = [Candidate(g.answer, float(p), g.numbers) for g, p in zip(groups, chances[:-1], strict=True)]
        return sorted(made, key=lambda each: -each.weight)

    def confidence(self, state: Any, board: Board, candidates: Sequence[Candidate]) -> float:
        """How likely the first is right."""
        return candidates[0].weight

    def _known(self, board: Board) -> list[tuple[Attempt, str, float]]:
        """Attempts with an answer, given or found by a probe, and its doubt."""
        found = []
        for attempt in board.attempts:
            look = attempt.looks[-1] if attempt.looks else None
            said = look is not None and look.belief.complete
            if attempt.state == "done" and attempt.answer:
                same = look is not None and said and alike(look.belief.answer, attempt.answer)
                found.append((attempt, attempt.answer, look.doubt if same and look is not None else _UNSEEN))
            elif attempt.state != "failed" and look is not None and said and look.belief.answer:
                found.append((attempt, look.belief.answer, look.doubt))
        return found

    def _votes(self, board: Board) -> Votes:
        known = self._known(board)
        return self._numbered(known, grouped((attempt, answer, 1.0) for attempt, answer, _ in known))

    def _numbered(self, known: Sequence[tuple[Attempt, str, float]], groups: Sequence[Candidate]) -> Votes:
        of = {number: at for at, group in enumerate(groups) for number in group.numbers}
        return Votes(tuple(of[a.number] for a, _, _ in known), tuple(doubt for _, _, doubt in known))

    def _cost(self, board: Board, more: float) -> float:
        """What so many more thinking tokens must bring, beside all that were written for this question.

        By ``settled``'s price, which is for growth by the factor e.
        """
        spent = max(sum(attempt.thinking for attempt in board.attempts), 1)
        return cost(self.price, spent) * math.log1p(more / spent)

    def _promise(self, attempt: Attempt, left: float) -> float:
        """What an attempt under way promises the question at most: it may yet decide whatever is in doubt."""
        own = attempt.looks[-1].doubt if attempt.looks and attempt.looks[-1].belief.complete else 1.0
        return min(own, left)

    def _worth(self, board: Board, votes: Votes) -> float:
        """What further attempts are expected to bring beyond their cost, in the best number of them."""
        if not votes.groups:  # nothing is known: whoever runs must say something first
            return 0.0 if board.running else 1.0
        lengths = [a.thinking for a in board.attempts if a.state in ("done", "stopped") or a.concluded]
        mean = sum(lengths) / len(lengths) if lengths else max(attempt.thinking for attempt in board.attempts)
        ahead = [more for more in _AHEAD if more <= board.left]
        return max((gain(votes, self.alike, n, board.seed) - self._cost(board, n * mean) for n in ahead), default=0.0)


def posterior(votes: Votes, alike: float) -> Floats:
    """How likely each answer is right, ``[groups + 1]``; the last is that none is."""
    found = _posteriors(np.array([votes.groups], dtype=np.int64), np.array([votes.doubts]), votes.count, alike)
    return np.asarray(found[0], dtype=np.float64)


def _posteriors(groups: NDArray[np.int64], doubts: Floats, count: int, alike: float) -> Floats:
    """The same for many: groups and doubts ``[cases, voters]`` to ``[cases, groups + 1]``."""
    wrong = np.log(np.clip(doubts, _SUREST, 1 - _SUREST))
    right = np.log1p(-np.clip(doubts, _SUREST, 1 - _SUREST))
    members = groups[:, :, None] == np.arange(count)
    sizes = members.sum(1)
    repeats = np.maximum(sizes - 1, 0) * math.log(alike)
    none = wrong.sum(1) + repeats.sum(1)
    each = none[:, None] - repeats + (members * (right - wrong)[:, :, None]).sum(1)
    each = np.where(sizes > 0, each, -np.inf)
    logs = np.concatenate([each, none[:, None]], 1)
    odds = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True), dtype=np.float64)


def _left(chances: Floats) -> float:
    return float(1 - chances[:-1].max()) if len(chances) > 1 else 1.0


def gain(votes: Votes, alike: float, more: int, seed: int) -> float:
    """How much likelier the best answer would be right after so many more attempts, on average.

    Which answer is right is drawn from what is believed now. Each attempt then gives it with the average doubt of those
    so far, held against that answer; else with chance ``alike`` a wrong one that is there already, and else a new one.
    """
    chances = posterior(votes, alike)
    count, voters = votes.count, len(votes.groups)
    draw = np.random.default_rng([seed & (2**63 - 1), voters, more])
    # Evenly, so that no luck is in how often each answer is the right one; in no order, since draws come in one.
    truth = draw.permutation(np.searchsorted(np.cumsum(chances)[:-1], (np.arange(_DRAWS) + 0.5) / _DRAWS))
    # A question that others have got wrong is a hard one: the doubt of one more is the share of those that are wrong.
    wrong = float(np.mean([1 - chances[group] for group in votes.groups]))
    doubt = min(max(wrong, float(np.mean(votes.doubts)), _SUREST), 1 - _SUREST)
    groups = np.tile(np.array(votes.groups, dtype=np.int64), (_DRAWS, 1))
    new = np.empty((_DRAWS, more), dtype=np.int64)
    for at in range(more):
        right = draw.random(_DRAWS) >= doubt
        repeats = draw.random(_DRAWS) < alike
        other = groups[np.arange(_DRAWS), draw.integers(0, voters, _DRAWS)]
        repeats &= other != truth
        said = np.where(repeats, other, count + 1 + at)
        new[:, at] = np.where(right, truth, said)  # a right answer that nobody has given yet is number ``count``
    every = np.concatenate([groups, new], 1)
    doubts = np.concatenate([np.tile(np.array(votes.doubts), (_DRAWS, 1)), np.full((_DRAWS, more), doubt)], 1)
    after = _posteriors(every, doubts, count + 1 + more, alike)
    return float(after[:, :-1].max(1).mean() - chances[:-1].max())
