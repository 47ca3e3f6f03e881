"""Random numbers and distributions: what greedy, temperature and the filters make of a row of logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.errors import BrokenLogits
from laconic.models.largest import largest
from laconic.speculation.filters import FEW, top_k, top_p
from laconic.splitmix import FIRST, GOLDEN, MASK, SECOND, mix
from laconic.types import Sampling

_11, _27, _30, _31 = (np.uint64(shift) for shift in (11, 27, 30, 31))
_FIRST, _SECOND, _STEP = np.uint64(FIRST), np.uint64(SECOND), np.uint64(GOLDEN)

Words = NDArray[np.uint64]
Tokens = NDArray[np.int64]
Floats = NDArray[np.float64]


def _mixed(z: Words) -> Words:
    """:func:`mix` of every element; arithmetic of 64-bit words wraps around."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    mixed: Words = z ^ (z >> _31)
    return mixed


class Draws:
    """Counter-based random numbers: a pure function of the seed, the position in the sequence and a stream.

    Nothing is consumed, so a request's draws cannot depend on what else is in the batch, on how many tokens
    were drafted, or on a rollback; and a verifier that draws token t from stream TOKEN of position t gives the very
    text that plain decoding gives with the same seed. A drafter that draws from that stream too guesses well what the
    target will draw, since two distributions that are alike then choose alike (:meth:`pick`).

    Sampled drafts are keyed otherwise: by the position at which their round began, with the index of the node in the
    tree as ``sub``. Where a verifier settles a draft as a whole, a refusal tells of every token in it, and a later
    round that drew with the same numbers would draw what was refused. No two rounds of one text begin at the same
    position. For the same reason no two nodes of a tree share numbers.
    """

    __slots__ = ("_key",)

    TOKEN, DRAFT, ACCEPT, RELAX = 0, 1, 2, 3
    """Streams: the target's own draw, the drafter's draw, acceptance tests and their relaxation. Each has 4096
    sub-streams: siblings in the last two, or nodes."""

    def __init__(self, seed: int) -> None:
        self._key = mix((seed * GOLDEN + 1) & MASK)

    def uniform(self, position: int, stream: int = TOKEN, sub: int = 0) -> float:
        """A number in [0, 1), uniform over seeds, for one ``position`` and ``stream``."""
        counter = ((position << 16) | (stream << 12) | sub) & MASK
        return (mix((self._key + counter * GOLDEN) & MASK) >> 11) * 2.0**-53

    def pick(self, probs: torch.Tensor, position: int, stream: int = TOKEN, sub: int = 0) -> int:
        """A token drawn from ``probs [vocab]``, which need not sum to 1.

        Every token has a waiting time of its own at each position, exponential with its probability as rate; the
        first to come is drawn (the Gumbel-max trick in another guise). Two distributions under the same numbers
        agree with probability at least (1 - TV) / (1 + TV), TV their total variation distance (Daliri et al. 2024).
        """
        rates = probs.detach().cpu().numpy()
        tokens, waits = _soon(rates, np.uint64(self._words(position, stream, sub)), 1.0)
        return int(tokens[waits.argmin()])

    def draw(self, logits: torch.Tensor, sampling: Sampling, position: int) -> int:
        """The target's own token: what :meth:`pick` takes of ``warp(logits, sampling)``, but for rounding.

        ``logits [vocab]``. Where the filters leave few tokens, no row of the vocabulary's length is made of them.
        """
        few = few_left(logits, sampling)
        if few is None:
            return self.pick(warp(logits, sampling), position)
        tokens, rates = few
        if len(tokens) == 1:
            return int(tokens[0])
        waits = _units(tokens, np.uint64(self._words(position))) / rates
        return int(tokens[waits.argmin()])

    def arrivals(
        self, probs: torch.Tensor, k: int, position: int, stream: int = TOKEN, sub: int = 0
    ) -> tuple[Tokens, Floats]:
        """The first ``k`` tokens to come, in that order, and how long each lets one wait; fewer where fewer can come.

        They are different tokens drawn one after another from ``probs [vocab]``, without replacement: given those
        before it, each has the law of a draw among the rest (the Gumbel-top-k trick of Kool et al. 2019).
        """
        tokens, waits = self.waits(probs, position, stream, sub)
        first = waits.argsort()[:k]
        return tokens[first], waits[first]

    def waits(
        self, probs: torch.Tensor, position: int, stream: int = TOKEN, sub: int = 0, ids: Tokens | None = None
    ) -> tuple[Tokens, Floats]:
        """The tokens that ``probs [vocab]`` allows, and how long each lets one wait; both ``[allowed]``.

        With ``ids [n]``, ``probs [n]`` are those of these tokens alone.

        In NumPy, whose calls cost a fraction of PyTorch's on rows as short as these, and on the CPU wherever the
        model is, so that a seed means the same everywhere.
        """
        rates = probs.detach().cpu().numpy()
        tokens = rates.nonzero()[0]
        rates = rates[tokens]
        if ids is not None:
            tokens = ids[tokens]
        if len(tokens) == 1:
            return tokens, np.zeros(1)
        return tokens, _units(tokens, np.uint64(self._words(position, stream, sub))) / rates

    def soon(self, probs: torch.Tensor, position: int, within: float) -> tuple[Tokens, Floats]:
        """Of :meth:`waits` those that are at most ``within`` times the shortest, in any order; of short rows all."""
        return _soon(probs.detach().cpu().numpy(), np.uint64(self._words(position)), within)

    def units(self, tokens: Tokens, positions: Sequence[int]) -> Floats:
        """How long each of ``tokens [n, k]`` lets the target wait at its position were its probability 1.

        There are n ``positions``. Divided by probabilities these are the waits that the target draws by.
        """
        keys = np.array([self._words(position) for position in positions], dtype=np.uint64)
        return _units(tokens, keys[:, None])

    def _words(self, position: int, stream: int = TOKEN, sub: int = 0) -> int:
        counter = ((position << 16) | (stream << 12) | sub) & MASK
        return mix((self._key + counter * GOLDEN) & MASK)


def _units(tokens: Tokens, keys: Words | np.uint64) -> Floats:
    """Exponential waiting times of rate 1 by token and key."""
    bits = _mixed((tokens + 1).astype(np.uint64) * _STEP + keys) >> _11
    times: Floats = -np.log((bits + 0.5) * 2.0**-53)
    return times


WIDE = 4096
"""Tokens from which on most of a row are not looked at closely (:func:`_soon`), or not at all (:func:`few_left`)."""
_FAINT = 1 / 1024
"""How much rarer than the likeliest a token is that is not looked at closely."""
_BLOCK = 1 << 14
"""Numbers mixed at a time: as many as the nearest cache holds."""
_steps: Words = np.zeros(0, dtype=np.uint64)
"""What each token adds to a key. Grows to the largest vocabulary seen."""


def _soon(rates: NDArray[np.floating[Any]], key: np.uint64, within: float) -> tuple[Tokens, Floats]:
    """Tokens that come before ``within`` times the shortest waiting time, and when; ``rates [vocab]``.

    Of a short row all that can come. Of a long one the likely tokens are timed first: a faint one can be as soon only
    if the number that it draws is among the largest, which its bits tell before any logarithm is taken.
    """
    if len(rates) < WIDE or np.count_nonzero(rates) < WIDE:
        tokens = rates.nonzero()[0]
        return tokens, _units(tokens, key) / rates[tokens]
    faint = float(rates.max()) * _FAINT
    likely = (rates > faint).nonzero()[0]
    if len(likely) == 0:
        raise BrokenLogits("a distribution has NaN in it.", "Look at the model's weights, and at rules for its logits.")
    waits = _units(likely, key) / rates[likely]
    bound = float(waits.min()) * within
    early = _drawing(len(rates), key, math.exp(-bound * faint))
    early = early[(rates[early] > 0) & (rates[early] <= faint)]
    tokens, waits = np.append(likely, early), np.append(waits, _units(early, key) / rates[early])
    soon = waits <= waits.min() * within
    return tokens[soon], waits[soon]


def _drawing(count: int, key: np.uint64, least: float) -> Tokens:
    """Those of the first ``count`` tokens that draw a number in (0, 1) of ``least`` or more, or next to it."""
    global _steps
    steps = _steps  # another thread may put a shorter one in its place meanwhile
    if len(steps) < count:
        steps = _steps = np.arange(1, count + 1, dtype=np.uint64) * _STEP
    bound = np.uint64(max(int(least * 2.0**53) - 4, 0))
    found = []
    for begin in range(0, count, _BLOCK):
        bits = _mixed(steps[begin : min(begin + _BLOCK, count)] + key) >> _11
        found.append((bits >= bound).nonzero()[0] + begin)
    return np.concatenate(found)


_DOUBT = 0.5
"""How far the logarithms of two models' probabilities are thought to lie apart: a scale, not a knob. Policies that
calibrate take any monotone measure; on the bundled pair half to one told right from wrong guesses equally well."""
_LATE = 32.0
"""Tokens that come this many times later than the first are not foreseen: their chance is a thousandth of its."""


def foresee(probs: torch.Tensor, draws: Draws, position: int, ids: Tokens | None = None) -> tuple[Tokens, Floats]:
    """What a target that resembles ``probs [vocab]`` will draw at ``position``: tokens and probabilities ``[some]``.

    Of a long row those are left out that have less than a thousandth of the likeliest one's chance. With ``ids [n]``,
    ``probs [n]`` are those of these tokens alone: a guess at the draw needs only the likely ones.

    The target's own waiting times are known but for its probabilities. Were they ``probs``, the first to come would be
    certain; the logarithms of both being some way apart, a token's chance falls with how long after the first it comes.
    """
    tokens, waits = draws.waits(probs, position, ids=ids) if ids is not None else draws.soon(probs, position, _LATE)
    if len(tokens) == 1:
        return tokens, np.ones(1)
    chances: Floats = (waits.min() / waits) ** (1 / _DOUBT)
    return tokens, chances / chances.sum()


def foreseen(units: Floats, shares: Floats) -> Floats:
    """:func:`foresee` where few tokens are known, for several rows at once: chances ``[n, k]``.

    ``units`` are the tokens' :meth:`Draws.units`, ``shares [n, k]`` their probabilities, 0 for no token. What a row
    leaves to other tokens is taken for one that comes when the first of them is expected.
    """
    rest = np.maximum(1 - shares.sum(-1, keepdims=True), 1e-9)
    with np.errstate(divide="ignore"):
        waits = np.concatenate((units / shares, 1 / rest), -1)
    chances: Floats = (waits.min(-1, keepdims=True) / waits) ** (1 / _DOUBT)
    shared: Floats = chances[:, :-1] / chances.sum(-1, keepdims=True)
    return shared


_COLDEST = 1e-15
"""Temperature below which nothing changes but that quotients leave float32: all weight is on the largest logit."""


def warp(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution that ``sampling`` draws from: temperature, then top-k, top-p, min-p.

    ``logits [..., vocab]`` of any float type; returns float32 probabilities of the same shape. Greedy gives
    all weight to the first of the largest logits.
    """
    logits = logits.float()
    if sampling.greedy:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    shape, order = logits.shape, None
    logits = (logits / max(sampling.temperature, _COLDEST)).reshape(-1, shape[-1])
    if 0 < sampling.top_k < shape[-1]:
        logits, order = top_k(logits, sampling.top_k)
    probs = logits.softmax(-1)
    if sampling.top_p < 1:
        probs = top_p(probs, sampling.top_p, order)
    if sampling.min_p > 0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.amax(-1, keepdim=True), 0.0)
    return (probs / probs.sum(-1, keepdim=True)).reshape(shape)


def few_left(logits: torch.Tensor, sampling: Sampling) -> tuple[Tokens, Floats] | None:
    """The tokens that ``sampling`` leaves of ``logits [vocab]``, and numbers in proportion to their probabilities.

    Both ``[allowed]``, by falling probability. None where that is not cheaper than :func:`warp`: without top-k or
    top-p, for a short vocabulary, where many tokens are left, and where equals stand on both sides of a filter's edge.
    """
    vocab = logits.shape[-1]
    ranked = 0 < sampling.top_k < vocab
    if vocab < WIDE or not (ranked or sampling.top_p < 1) or sampling.greedy or sampling.top_k >= FEW:
        return None
    cold = max(sampling.temperature, _COLDEST)
    count = sampling.top_k if ranked else FEW
    values, places = (part[0].cpu().numpy() for part in largest(logits[None], count + 1))
    if ranked and values[count] == values[count - 1]:
        return None
    weights: Floats = np.exp((values[:count].astype(np.float64) - float(values[0])) / cold)
    if sampling.top_p < 1:
        total = weights.sum() if ranked else float(((logits.float() - float(values[0])) / cold).exp().sum())
        before = np.cumsum(weights)[:-1] / total
        kept = int((before < sampling.top_p).sum()) + 1
        if kept == count and not ranked:
            return None
        if kept < count and values[kept] == values[kept - 1]:
            return None
        weights = weights[:kept]
    if sampling.min_p > 0:
        weights = weights[weights >= sampling.min_p]
    weights = weights[weights > 0]
    tokens: Tokens = places[: len(weights)].astype(np.int64)
    return tokens, weights
