"""Random numbers and distributions: what greedy, temperature and the filters make of a row of logits."""

from __future__ import annotations

import torch

from laconic.types import Sampling

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014), a bijection of 64-bit integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def _signed(z: int) -> int:
    """A 64-bit pattern as the integer that a tensor of int64 holds."""
    return z - (1 << 64) if z >> 63 else z


def _shifted(z: torch.Tensor, by: int) -> torch.Tensor:
    """Logical shift to the right; that of int64 would repeat the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _mixed(z: torch.Tensor) -> torch.Tensor:
    """:func:`_mix` of every element; int64 arithmetic wraps around as that of 64-bit words does."""
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


class Draws:
    """Counter-based random numbers: a pure function of the seed, the position in the sequence and a stream.

    Nothing is consumed, so a request's draws cannot depend on what else is in the batch, on how many tokens
    were drafted, or on a rollback; and a verifier that draws token t from stream TOKEN of position t gives the very
    text that plain decoding gives with the same seed. A drafter that draws from that stream too guesses well what the
    target will draw, since two distributions that are alike then choose alike (:meth:`pick`).
    """

    __slots__ = ("_key",)

    TOKEN, DRAFT, ACCEPT, RELAX = 0, 1, 2, 3
    """Streams: the target's own draw, the drafter's draw, acceptance tests and their relaxation (one sub-stream per
    sibling)."""

    def __init__(self, seed: int) -> None:
        self._key = _mix((seed * _GOLDEN + 1) & _MASK)

    def uniform(self, position: int, stream: int = TOKEN, sub: int = 0) -> float:
        """A number in [0, 1), uniform over seeds, for one ``position`` and ``stream``."""
        counter = ((position << 16) | (stream << 12) | sub) & _MASK
        return (_mix((self._key + counter * _GOLDEN) & _MASK) >> 11) * 2.0**-53

    def pick(self, probs: torch.Tensor, position: int, stream: int = TOKEN, sub: int = 0) -> int:
        """A token drawn from ``probs [vocab]``, which need not sum to 1.

        Every token has a waiting time of its own at each position, exponential with its probability as rate; the
        first to come is drawn (the Gumbel-max trick in another guise). Two distributions under the same numbers
        agree with probability at least (1 - TV) / (1 + TV), TV their total variation distance (Daliri et al. 2024).
        """
        tokens, waits = self.waits(probs, position, stream, sub)
        return int(tokens[waits.argmin()])

    def ranking(self, probs: torch.Tensor, k: int, position: int, stream: int = TOKEN) -> list[int]:
        """At most ``k`` different tokens drawn one after another from ``probs [vocab]``, without replacement.

        They are the first to come: given those before it, each has the law of a draw among the rest (the Gumbel-top-k
        trick of Kool et al. 2019).
        """
        tokens, waits = self.waits(probs, position, stream)
        first: list[int] = tokens[waits.topk(min(k, len(waits)), largest=False).indices].tolist()
        return first

    def waits(
        self, probs: torch.Tensor, position: int, stream: int = TOKEN, sub: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens that ``probs [vocab]`` allows, and how long each lets one wait; both ``[allowed]``."""
        tokens = probs.nonzero()[:, 0]
        if len(tokens) == 1:
            return tokens, torch.zeros(1, dtype=torch.float64)
        counter = ((position << 16) | (stream << 12) | sub) & _MASK
        key = _mix((self._key + counter * _GOLDEN) & _MASK)
        bits = _mixed((tokens + 1) * _signed(_GOLDEN) + _signed(key))
        uniform = (_shifted(bits, 11).double() + 0.5) * 2.0**-53
        return tokens, -uniform.log() / probs[tokens].double()


_DOUBT = 0.5
"""How far the logarithms of two models' probabilities are thought to lie apart: a scale, not a knob. Policies that
calibrate take any monotone measure; on the bundled pair half to one told right from wrong guesses equally well."""


def foresee(probs: torch.Tensor, draws: Draws, position: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a target that resembles ``probs [vocab]`` will draw at ``position``: tokens and probabilities ``[allowed]``.

    The target's own waiting times are known but for its probabilities. Were they ``probs``, the first to come would be
    certain; the logarithms of both being some way apart, a token's chance falls with how long after the first it comes.
    """
    tokens, waits = draws.waits(probs, position)
    if len(tokens) == 1:
        return tokens, torch.ones(1)
    return tokens, (-waits.log() / _DOUBT).softmax(0).float()


def warp(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution that ``sampling`` draws from: temperature, then top-k, top-p, min-p.

    ``logits [..., vocab]`` of any float type; returns float32 probabilities of the same shape. Greedy gives
    all weight to the first of the largest logits.
    """
    logits = logits.float()
    if sampling.greedy:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        kth = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probs = logits.softmax(-1)
    if sampling.top_p < 1:
        # A token stays while the mass of the more probable ones is still below top_p; the first always stays.
        ranked, order = probs.sort(dim=-1, descending=True, stable=True)
        drop = ranked.cumsum(-1) - ranked >= sampling.top_p
        probs = probs.masked_fill(drop.scatter(-1, order, drop), 0.0)
    if sampling.min_p > 0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.amax(-1, keepdim=True), 0.0)
    return probs / probs.sum(-1, keepdim=True)
