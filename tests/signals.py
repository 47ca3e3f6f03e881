"""Signal heads for tests: untrained, but sure of different things at different states, so that thoughts end apart."""

from __future__ import annotations

from pathlib import Path

import torch

from laconic.models.causal_lm import CausalLM
from laconic.thinking.exit.signals import About, SignalHead, Trained


def head(target: CausalLM, *, spread: float = 1.0, width: int = 8) -> Trained:
    """Random heads for this model."""
    torch.manual_seed(0)
    made = SignalHead(target.hidden_size, width)
    with torch.no_grad():
        last = made.body[-1]
        last.weight *= spread
        last.bias.copy_(torch.tensor([0.5, 0.5, 3.0]))
    return Trained(made.eval().requires_grad_(False), About(target.fingerprint(), target.hidden_size, width))


def spec(folder: Path, target: CausalLM) -> str:
    """Write such heads into ``folder`` and name the method that goes by them."""
    head(target, spread=6.0).save(folder)
    return f"spec-exit:head={folder}"
