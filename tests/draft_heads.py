"""Random draft heads for small models."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from laconic.models.causal_lm import CausalLM
from laconic.speculation.drafters.head.contract import Shape
from laconic.speculation.drafters.head.files import Loaded, described
from laconic.speculation.drafters.head.kinds import built

LAYERS = (0, 1)
KINDS = (
    "clover", "eagle3", "hydra", "kangaroo@1", "medusa", "mtp", "recurrent", "clover@1", "eagle3@1", "mtp@1",
    "mtp/6", "eagle3/4",
)  # fmt: skip
"""Every kind of head, those that are also told what the first layer makes of a token, and those with a window."""


def shape(target: CausalLM, kept: int = 100, early: int = 0) -> Shape:
    """A head over both layers of a model of ``tests.tiny``."""
    return Shape(target.hidden_size, LAYERS, target.vocab_size, kept, 4, 2, 8, 48, early=early)


def head(kind: str, target: CausalLM, seed: int = 0, kept: int = 100) -> Loaded:
    """One that says what chance will have it, of ``kept`` tokens; ``KIND@EARLY`` hears tokens from layers, and
    ``KIND/WINDOW`` sees so many of them.
    """
    kind, _, window = kind.partition("/")
    kind, _, early = kind.partition("@")
    knobs = {"window": int(window)} if window else {}
    at = int(early or 0)
    torch.manual_seed(seed)
    made = built(kind, shape(target, kept, at), knobs)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    made.keep(torch.randperm(target.vocab_size, generator=torch.Generator().manual_seed(seed))[:kept].sort().values)
    return Loaded(made.eval().requires_grad_(False), described(kind, target.fingerprint(), made.shape, knobs))


def spec(folder: Path, target: CausalLM, kind: str = "mtp") -> str:
    """Write such a head into ``folder`` and name the drafter that goes by it."""
    head(kind, target).save(folder)
    return f"head:{folder}"
