"""laconic's own: attempts go on, are joined by others, or end, by what more tokens can be expected to bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from laconic.errors import RequestError
from laconic.policy import Card, Needs, knobs
from laconic.scaling.base import Acts, Ask, Attempt, Board, Candidate, Growth, Scaling
from laconic.scaling.groups import alike, grouped
from laconic.thinking.exit.worth import cost

if TYPE_CHECKING:
    from laconic.thinking.exit.settled import Settled

_UNSEEN = 0.5
"""Doubt of an answer that no probe has looked at."""
_SUREST = 1e-3
"""Doubt below which no attempt is believed."""
_NEVER = 1e-9
"""The same on a question of which it is known how hard it is."""
_DRAWS = 256
"""Ways in which further attempts may turn out that are looked at."""
_E = math.e - 1
"""Growth of a thought that ``settled`` weighs, as a share of it."""
_AHEAD = (1, 2, 4)
"""Further attempts that are thought of together."""
_SCALES = ((1.0, 1.0), *((even, power) for even in (0.25, 0.0625) for power in (1.0, 2.0, 3.0)))
"""Ways in which doubts may be meant: the odds that count as one to one, and the power of their ratio to these."""
_MEMORY = 0.995
"""Weight that a question keeps with each later one in what is known of the ways; about two hundred count."""
Floats = NDArray[np.float64]
_SHARED = 0.7
"""Share of what makes an attempt err that lies in its question, and so in all attempts at it."""
_HARD, _SHARES = np.polynomial.hermite_e.hermegauss(5)
"""How hard questions may be, in standard deviations from the mean, and weights that go with it."""
_LOG_FACTORIALS: Floats = np.array([math.lgamma(n + 1) for n in range(1025)])
"""Of the numbers up to the most attempts that are thought of."""
BEFORE: Floats = np.array([0.6, *[0.3 / 3] * 3, *[0.1 / 3] * 3])
"""How likely each way is before any question has been answered: mostly as doubts are told."""
HARD: Floats = _SHARES / _SHARES.sum()
"""How likely each of :data:`_HARD` is."""


def _felt() -> tuple[Floats, Floats]:
    """Log-odds of a doubt, and the doubt on a question of each hardness, ``[5, as many]``."""
    normal, bound = NormalDist(), math.log(1 / _SUREST - 1)
    odds = np.linspace(-bound, bound, 257)
    levels = [normal.inv_cdf(1 / (1 + math.exp(-each))) for each in odds]
    own = math.sqrt(1 - _SHARED)
    return odds, np.array([[normal.cdf((at + math.sqrt(_SHARED) * hard) / own) for at in levels] for hard in _HARD])


_TOLD, _FELT = _felt()


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
        if board.most >= len(_LOG_FACTORIALS):
            raise RequestError(
                f"'{self.name}' weighs fewer than {len(_LOG_FACTORIALS)} attempts, not {board.most}.", "Ask for fewer."
            )

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
            own = float(self._likely_ways(votes) @ _scaled(np.array([doubt]))[:, 0])
            doubt, price = left(votes, self.alike, ways), self._cost(board, _spent(attempt) * _E)
            promise *= min(own, doubt) / max(attempt.looks[-1].doubt, _SUREST)
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
            self._learn(of_votes(votes, self.alike, np.ones(len(_SCALES))).ways[0])
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
                found.append((attempt, attempt.answer, look.doubt if same and look is not None else _UNSEEN))
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
        return of_votes(votes, self.alike, self._ways).factors[0] if votes.groups else _cases(self._ways)

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
    own = float(ways @ _scaled(np.array([attempt.looks[-1].doubt]))[:, 0]) if said else 1.0
    return min(own, left)


def _split(board: Board) -> bool:
    """Whether answers that attempts have thought to their ends have as many of these behind them as any other has."""
    drawn = [a for a in board.attempts if a.state == "done" and a.answer and not a.concluded]
    groups = grouped((attempt, attempt.answer, 1.0) for attempt in drawn)
    return len(groups) > 1 and groups[0].weight == groups[1].weight


def _spent(attempt: Attempt) -> int:
    """Tokens of an attempt that are paid for: those of its thought, or of all that it wrote if it has none."""
    return attempt.thinking or attempt.tokens


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What votes make likely.

    ``chances [cases, groups + 1]`` that each answer is right, the last that none is; ``factors [cases, factors]`` how
    likely each of :data:`_SCALES` is together with each of :data:`_HARD`; ``given [cases, factors, groups + 1]`` the
    chances under each.
    """

    chances: Floats
    factors: Floats
    given: Floats

    @property
    def ways(self) -> Floats:
        """How likely each way is, ``[cases, ways]``."""
        return np.asarray(self.factors.reshape(len(self.factors), len(_SCALES), -1).sum(2), dtype=np.float64)


def _cases(ways: Floats) -> Floats:
    """How likely each way is together with each hardness, before any vote."""
    return np.asarray(np.outer(ways, HARD).ravel(), dtype=np.float64)


def believed(groups: NDArray[np.int64], doubts: Floats, count: int, alike: float, ways: Floats) -> Beliefs:
    """Beliefs by votes: the numbers of their answers and their doubts, ``[cases, voters]`` both."""
    scaled = _scaled(doubts)  # [factors, cases, voters]
    wrong, right = np.log(scaled), np.log1p(-scaled)
    members = groups[:, :, None] == np.arange(count)
    sizes = members.sum(1)
    there, ways_in = (sizes > 0).sum(1), _LOG_FACTORIALS[np.maximum(sizes - 1, 0)]
    none = wrong.sum(2) + _wrong_alike(sizes.sum(1), there, ways_in.sum(1), alike)
    besides = sizes.sum(1)[:, None] - sizes, there[:, None] - 1, ways_in.sum(1)[:, None] - ways_in
    others = _wrong_alike(*besides, alike)
    each = wrong.sum(2)[:, :, None] + others + np.einsum("fcv,cvg->fcg", right - wrong, members)
    each = np.where(sizes > 0, each, -np.inf)
    logs = np.concatenate([each, none[:, :, None]], 2)
    weights = np.exp(logs - logs.max((0, 2), keepdims=True)) * _cases(ways)[:, None, None]
    weights = weights.transpose(1, 0, 2)  # [cases, factors, groups + 1]
    likely = np.maximum(weights.sum(2), 1e-300)
    total = likely.sum(1, keepdims=True)
    return Beliefs(weights.sum(1) / total, likely / total, weights / likely[:, :, None])


def _wrong_alike(wrong: NDArray[np.int64], answers: NDArray[np.int64], ways_in: Floats, alike: float) -> Floats:
    """Logarithm of how likely so many wrong attempts give so many different answers, one after the other.

    Who repeats one repeats each of those before it alike; ``ways_in`` are the logarithms of the factorials of the
    answers' votes less one each. Which of them came when is not asked: repeats are taken to be spread evenly.
    """
    again, new = np.maximum(wrong - answers, 0), np.maximum(answers - 1, 0)
    choices = _LOG_FACTORIALS[np.maximum(wrong - 1, 0)] * again / np.maximum(wrong - 1, 1)
    found = again * math.log(alike) + new * math.log1p(-alike) + np.where(wrong > 0, ways_in, 0.0) - choices
    return np.asarray(found, dtype=np.float64)


def _scaled(doubts: Floats) -> Floats:
    """Doubts ``[...]`` as they are meant in every way on questions as hard as that, ``[ways * 5, ...]``."""
    told = np.clip(doubts, _SUREST, 1 - _SUREST)
    told = np.log(told / (1 - told))
    even, power = (np.array(each).reshape(-1, *[1] * doubts.ndim) for each in zip(*_SCALES, strict=True))
    meant = np.where(doubts == _UNSEEN, 0.0, np.maximum((told - np.log(even)) * power, told))
    felt = np.stack([np.interp(meant, _TOLD, each) for each in _FELT], 1)
    return np.asarray(np.clip(felt.reshape(-1, *doubts.shape), _NEVER, 1 - _NEVER), dtype=np.float64)


def of_votes(votes: Votes, alike: float, ways: Floats = BEFORE) -> Beliefs:
    """Beliefs by the votes of one question."""
    groups, doubts = np.array([votes.groups], dtype=np.int64), np.array([votes.doubts], dtype=float)
    return believed(groups, doubts, votes.count, alike, ways)


def left(votes: Votes, alike: float, ways: Floats = BEFORE) -> float:
    """How likely the likeliest answer is wrong; 1 where there is none."""
    return float(1 - of_votes(votes, alike, ways).chances[0, :-1].max()) if votes.groups else 1.0


def gain(votes: Votes, alike: float, more: int, seed: int, ways: Floats = BEFORE) -> float:
    """How much more often the best answer would be right after so many more attempts.

    How far doubts are to be believed, how hard the question is, and which answer is right, is drawn from what is
    believed now. Each attempt then is wrong with the mean doubt of those so far on such a question: with chance
    ``alike`` it says a wrong answer that is there already, and else a new one.
    """
    now = of_votes(votes, alike, ways)
    count, voters = votes.count, len(votes.groups)
    draw = np.random.default_rng([seed & (2**63 - 1), voters, more])
    # Evenly, so that no luck is in how often each case comes; in no order, since draws come in one.
    joint = np.cumsum((now.factors[0][:, None] * now.given[0]).ravel())
    case = draw.permutation(np.searchsorted(joint[:-1], (np.arange(_DRAWS) + 0.5) / _DRAWS))
    factor, truth = np.divmod(case, count + 1)
    doubt = float(np.mean(votes.doubts))
    wrong = _scaled(np.array([doubt]))[:, 0][factor]
    every = np.tile(np.array(votes.groups, dtype=np.int64), (_DRAWS, 1))
    for at in range(more):
        right = draw.random(_DRAWS) >= wrong
        lots = np.where(every == truth[:, None], -1.0, draw.random(every.shape))  # for one of the wrong ones so far
        other = every[np.arange(_DRAWS), lots.argmax(1)]
        repeats = (draw.random(_DRAWS) < alike) & (lots.max(1) >= 0)
        said = np.where(repeats, other, count + 1 + at)
        new = np.where(right, truth, said)  # a right answer that nobody has given yet is number ``count``
        every = np.concatenate([every, new[:, None]], 1)
    every, place = np.unique(every, axis=0, return_inverse=True)
    doubts = np.array([[*votes.doubts, *[doubt] * more]])
    after = believed(every, doubts, count + 1 + more, alike, ways).chances
    best = after[:, :-1].argmax(1)[place.ravel()]
    return float(np.mean(best == truth) - np.mean(now.chances[0, :-1].argmax() == truth))
