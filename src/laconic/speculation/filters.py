"""Top-k and top-p without sorting the vocabulary: the likeliest few tokens are looked at, all only where needed."""

from __future__ import annotations

import numpy as np
import torch

FEW = 256
"""Tokens that are looked at first; a model that is sure of anything has its nucleus among them."""


def top_k(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``logits [rows, vocab]`` with -inf below the k-th largest, 0 < k < vocab; tokens level with that one stay.

    Also ``[rows, k]``, which tokens stay, by falling logit; None if a row has more than k.
    """
    values, order = logits.topk(k + 1, dim=-1)
    if bool((values[:, k] == values[:, k - 1]).any()):
        return logits.masked_fill(logits < values[:, k - 1 : k], -torch.inf), None
    order = order[:, :k]
    return torch.full_like(logits, -torch.inf).scatter_(-1, order, values[:, :k]), order


def top_p(probs: torch.Tensor, p: float, order: torch.Tensor | None = None) -> torch.Tensor:
    """``probs [rows, vocab]`` with 0 outside the nucleus: tokens stay while the mass before them is below ``p``.

    Tokens come by falling probability, the equally probable by rising index; the first always stays. ``order`` are all
    tokens that have any probability, by falling one, where that is known.
    """
    vocab = probs.shape[-1]
    whole = order is not None
    if order is None:
        order = probs.topk(min(FEW, vocab), dim=-1).indices
    ranked = probs.gather(-1, order)
    count = _count(ranked, p)
    width = ranked.shape[-1]
    if not whole and width < vocab and bool((count == width).any()):
        ranked = _sorted(probs)
        count = _count(ranked, p)
        return _above(probs, ranked, count)
    last = ranked.gather(-1, count - 1)
    following = ranked.gather(-1, count.clamp(max=width - 1))
    if bool(((following == last) & (count < width)).any()):
        # Among equals topk keeps to no order.
        return _above(probs, ranked, count)
    kept = ranked.masked_fill(torch.arange(width, device=probs.device) >= count, 0.0)
    return torch.zeros_like(probs).scatter_(-1, order, kept)


def _count(ranked: torch.Tensor, p: float) -> torch.Tensor:
    """How many of the first tokens stay, ``[rows, 1]``: those with less than ``p`` before them."""
    before = ranked.cumsum(-1)[:, :-1]
    return (before < p).sum(-1, keepdim=True) + 1


def _sorted(probs: torch.Tensor) -> torch.Tensor:
    """All probabilities of each row, falling. NumPy sorts values alone many times as fast as PyTorch on a CPU."""
    if probs.device.type != "cpu":
        return probs.sort(dim=-1, descending=True).values
    return torch.from_numpy(np.sort(probs.detach().numpy(), axis=-1)).flip(-1)


def _above(probs: torch.Tensor, ranked: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """The ``count [rows, 1]`` likeliest tokens of each row, ``ranked`` their falling probabilities, by value."""
    least = ranked.gather(-1, count - 1)
    kept = probs > least
    for row, (stays, missing) in enumerate(zip(kept, (count - kept.sum(-1, keepdim=True))[:, 0].tolist(), strict=True)):
        stays[(probs[row] == least[row]).nonzero()[:missing, 0]] = True
    return probs * kept
