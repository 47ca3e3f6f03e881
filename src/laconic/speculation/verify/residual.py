"""What a refusal leaves of the target's and of the draft's distribution."""

from __future__ import annotations

import torch


def residual(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """``norm((p - q)+)``: what the target still owes after a token drawn from ``q`` was refused; ``[vocab]``.

    Where rounding leaves nothing (p and q equal to the last bits) a refusal has probability zero, and ``p`` stays.
    """
    rest = (p - q).clamp_min(0)
    total = float(rest.sum())
    return rest / total if total > 0 else p


def without(q: torch.Tensor, token: int) -> torch.Tensor:
    """``q`` given that ``token`` is not drawn again; all zero when nothing else was possible."""
    rest = q.clone()
    rest[token] = 0
    return rest / rest.sum().clamp_min(torch.finfo(rest.dtype).tiny)
