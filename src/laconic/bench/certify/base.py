"""What the audits share: verdicts, how much rounding is excused, and logits from a fresh place in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from laconic.models.base import LanguageModel, chain

Verdict = Literal["exact", "not exact", "inconclusive"]

_ULPS = {torch.float64: 256, torch.float32: 256, torch.float16: 16, torch.bfloat16: 8}
"""Rounding excused, in units of eps times the largest logit. Passes of another width sum in another order; on the
bundled model that was seen to move logits by up to 16 units in float32 and 2 in bfloat16. Deeper models need more."""


def joined(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict over several: one fault spoils all, then one open question does."""
    for worst in ("not exact", "inconclusive"):
        if worst in verdicts:
            return worst
    return "exact"


def tolerance(logits: torch.Tensor, dtype: torch.dtype | None = None) -> float:
    """How far two correct passes may put these logits apart: a multiple of the dtype's eps times the largest.

    ``dtype`` is that of the weights; None takes that of the logits.
    """
    kind = dtype or logits.dtype
    return _ULPS.get(kind, 4) * torch.finfo(kind).eps * float(logits.float().abs().max())


def dtype_of(model: LanguageModel) -> torch.dtype | None:
    """Dtype of the weights, where the model tells; logits are often cast to float32 and say nothing."""
    found = getattr(getattr(model, "model", None), "dtype", None)
    return found if isinstance(found, torch.dtype) else None


def fresh_rows(model: LanguageModel, tokens: Sequence[int], last: int = 1) -> torch.Tensor:
    """Logits ``[last, vocab]`` after each of the ``last`` tokens, from a new slot that holds nothing but ``tokens``."""
    slot = model.open()
    try:
        if len(tokens) > last:
            model.prefill(slot, tokens[:-last])
        return model.score([chain(tokens[-last:])], [slot]).of(0)
    finally:
        slot.close()
