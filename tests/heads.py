"""Heads for tests: untrained, but sure of different things at different states, so that drafts differ in length."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from laconic.models.causal_lm import CausalLM
from laconic.speculation.heads import About, Trained


def head(
    method: str,
    target: CausalLM,
    draft: CausalLM,
    *,
    spread: float = 4.0,
    middle: float = 1.0,
    state: Literal["at", "before"] = "at",
) -> Trained:
    """A random head for this pair; what it says is spread about ``middle``."""
    reads, model, other = ("draft model", draft, target) if method == "specdec++" else ("target", target, draft)
    inputs = (2 if method == "ada-eagle" else 1) * model.hidden_size
    about = About(method, reads, model.fingerprint(), other.fingerprint(), inputs, 2, 16, 3.0, state)
    torch.manual_seed(0)
    network = about.network()
    with torch.no_grad():
        last = network.body[-1]
        last.weight *= spread
        last.bias.fill_(middle)
    return Trained(network.eval().requires_grad_(False), about)


def spec(folder: Path, method: str, target: CausalLM, draft: CausalLM, **options: Any) -> str:
    """Write such a head into ``folder`` and name the method that goes by it."""
    head(method, target, draft, **options).save(folder / method)
    return f"{method}:head={folder / method}"
