"""How likely each answer is by the votes of attempts that are in doubt, and err together: the model of ``enough``.

Its equations stand with the policy (scaling/enough.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNSEEN = 0.5
"""Doubt of an answer that no probe has looked at."""
SUREST = 1e-3
"""Doubt below which no attempt is believed."""
_NEVER = 1e-9
"""The same on a question of which it is known how hard it is."""
_DRAWS = 256
"""Ways in which further attempts may turn out that are looked at."""
SCALES = ((1.0, 1.0), *((even, power) for even in (0.25, 0.0625) for power in (1.0, 2.0, 3.0)))
"""Ways in which doubts may be meant: the odds that count as one to one, and the power of their ratio to these."""
_SHARED = 0.7
"""Share of what makes an attempt err that lies in its question, and so in all attempts at it."""
_HARD, _SHARES = np.polynomial.hermite_e.hermegauss(5)
"""How hard questions may be, in standard deviations from the mean, and weights that go with it."""
_LOG_FACTORIALS: Floats = np.array([math.lgamma(n + 1) for n in range(1025)])
"""Of the numbers up to the most attempts that are thought of."""
MOST = len(_LOG_FACTORIALS) - 1
"""Attempts that can be thought of."""
BEFORE: Floats = np.array([0.6, *[0.3 / 3] * 3, *[0.1 / 3] * 3])
"""How likely each way is before any question has been answered: mostly as doubts are told."""
HARD: Floats = _SHARES / _SHARES.sum()
"""How likely each of :data:`_HARD` is."""


def _felt() -> tuple[Floats, Floats]:
    """Log-odds of a doubt, and the doubt on a question of each hardness, ``[5, as many]``."""
    normal, bound = NormalDist(), math.log(1 / SUREST - 1)
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


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What votes make likely.

    ``chances [cases, groups + 1]`` that each answer is right, the last that none is; ``factors [cases, factors]`` how
    likely each of :data:`SCALES` is together with each of :data:`_HARD`; ``given [cases, factors, groups + 1]`` the
    chances under each.
    """

    chances: Floats
    factors: Floats
    given: Floats

    @property
    def ways(self) -> Floats:
        """How likely each way is, ``[cases, ways]``."""
        return np.asarray(self.factors.reshape(len(self.factors), len(SCALES), -1).sum(2), dtype=np.float64)


def cases(ways: Floats) -> Floats:
    """How likely each way is together with each hardness, before any vote."""
    return np.asarray(np.outer(ways, HARD).ravel(), dtype=np.float64)


def believed(groups: NDArray[np.int64], doubts: Floats, count: int, alike: float, ways: Floats) -> Beliefs:
    """Beliefs by votes: the numbers of their answers and their doubts, ``[cases, voters]`` both."""
    meant = scaled(doubts)  # [factors, cases, voters]
    wrong, right = np.log(meant), np.log1p(-meant)
    members = groups[:, :, None] == np.arange(count)
    sizes = members.sum(1)
    there, ways_in = (sizes > 0).sum(1), _LOG_FACTORIALS[np.maximum(sizes - 1, 0)]
    none = wrong.sum(2) + _wrong_alike(sizes.sum(1), there, ways_in.sum(1), alike)
    besides = sizes.sum(1)[:, None] - sizes, there[:, None] - 1, ways_in.sum(1)[:, None] - ways_in
    others = _wrong_alike(*besides, alike)
    each = wrong.sum(2)[:, :, None] + others + np.einsum("fcv,cvg->fcg", right - wrong, members)
    each = np.where(sizes > 0, each, -np.inf)
    logs = np.concatenate([each, none[:, :, None]], 2)
    weights = np.exp(logs - logs.max((0, 2), keepdims=True)) * cases(ways)[:, None, None]
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


def scaled(doubts: Floats) -> Floats:
    """Doubts ``[...]`` as they are meant in every way on questions as hard as that, ``[ways * 5, ...]``."""
    told = np.clip(doubts, SUREST, 1 - SUREST)
    told = np.log(told / (1 - told))
    even, power = (np.array(each).reshape(-1, *[1] * doubts.ndim) for each in zip(*SCALES, strict=True))
    meant = np.where(doubts == UNSEEN, 0.0, np.maximum((told - np.log(even)) * power, told))
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
    wrong = scaled(np.array([doubt]))[:, 0][factor]
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
