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


def stands(owed: float, earned: float) -> float:
    """``s / (s + 1 - a)``: chance that a path ends here, given that what was drawn below it does not stand.

    ``earned`` is a, the chance that the path stands as far as its own tokens go; ``owed`` is s, ``sum (a p - q)+`` over
    the next token. Nothing owed and everything earned: p is q, and what is below stands in any case.
    """
    return owed / (owed + 1 - earned) if owed + 1 - earned > 0 else 1.0
