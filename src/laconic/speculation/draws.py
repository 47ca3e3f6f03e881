"""Random numbers and distributions: what greedy, temperature and the filters make of a row of logits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.speculation.filters import top_k, top_p
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
        tokens, waits = self.waits(probs, position, stream, sub)
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

    def waits(self, probs: torch.Tensor, position: int, stream: int = TOKEN, sub: int = 0) -> tuple[Tokens, Floats]:
        """The tokens that ``probs [vocab]`` allows, and how long each lets one wait; both ``[allowed]``.

        In NumPy, whose calls cost a fraction of PyTorch's on rows as short as these, and on the CPU wherever the
        model is, so that a seed means the same everywhere.
        """
        rates = probs.detach().cpu().numpy()
        tokens = rates.nonzero()[0]
        if len(tokens) == 1:
            return tokens, np.zeros(1)
        return tokens, _units(tokens, np.uint64(self._words(position, stream, sub))) / rates[tokens].astype(np.float64)

    def units(self, tokens: Tokens, positions: Tokens) -> Floats:
        """How long each of ``tokens [n, k]`` lets the target wait at its position were its probability 1.

        ``positions [n]``; divided by probabilities these are the waits that the target draws by.
        """
        keys = np.array([self._words(position) for position in positions.tolist()], dtype=np.uint64)
        return _units(tokens, keys[:, None])

    def _words(self, position: int, stream: int = TOKEN, sub: int = 0) -> int:
        counter = ((position << 16) | (stream << 12) | sub) & MASK
        return mix((self._key + counter * GOLDEN) & MASK)


def _units(tokens: Tokens, keys: Words | np.uint64) -> Floats:
    """Exponential waiting times of rate 1 by token and key."""
    bits = _mixed((tokens + 1).astype(np.uint64) * _STEP + keys) >> _11
    times: Floats = -np.log((bits + 0.5) * 2.0**-53)
    return times


_DOUBT = 0.5
"""How far the logarithms of two models' probabilities are thought to lie apart: a scale, not a knob. Policies that
calibrate take any monotone measure; on the bundled pair half to one told right from wrong guesses equally well."""


def foresee(probs: torch.Tensor, draws: Draws, position: int) -> tuple[Tokens, Floats]:
    """What a target that resembles ``probs [vocab]`` will draw at ``position``: tokens and probabilities ``[allowed]``.

    The target's own waiting times are known but for its probabilities. Were they ``probs``, the first to come would be
    certain; the logarithms of both being some way apart, a token's chance falls with how long after the first it comes.
    """
    tokens, waits = draws.waits(probs, position)
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
