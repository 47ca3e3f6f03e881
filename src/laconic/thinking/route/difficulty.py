"""The probe that tells how hard a question is: its network, and the folder it is kept in.

The folder holds ``difficulty.safetensors`` (weights) and ``difficulty.json`` (which model it was trained on, how, and
how well it does). ``laconic fit difficulty`` writes one; the knob ``probe`` of ``route-by-probe`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from laconic.models.trained import Folder

CLASSES = ("easy", "normal", "hard")
FOLDER = Folder("difficulty", "probe")
TRAIN = "Train one for this model: laconic fit difficulty OUT; then route-by-probe:OUT."


@dataclass(frozen=True, slots=True)
class About:
    """What a probe is. ``model`` is the fingerprint of the target whose states ``[inputs]`` it reads.

    ``units`` are those of its hidden layer, 0 for none. ``measures`` and ``training`` are for the reader.
    """

    model: str
    inputs: int
    units: int = 0
    measures: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Network(nn.Module):
    """Logits of the three classes from a hidden state: a softmax regression, or one hidden layer before it.

    Inputs are brought to mean 0 and deviation 1 by what they were in training.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: int, units: int = 0) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        hidden = [nn.Linear(inputs, units), nn.SiLU()] if units else []
        self.body = nn.Sequential(*hidden, nn.Linear(units or inputs, len(CLASSES)))

    def settle(self, x: Tensor) -> None:
        """Take mean and deviation from ``x [examples, inputs]``."""
        self.shift.copy_(x.mean(0))
        self.scale.copy_(1 / x.std(0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[..., 3]`` from ``x [..., inputs]``, of any float type."""
        out: Tensor = self.body((x.float() - self.shift) * self.scale)
        return out


@dataclass(frozen=True)
class Trained:
    """A probe and what it is."""

    network: Network
    about: About

    def __call__(self, hidden: Tensor) -> list[float]:
        """Probabilities of the classes for one state ``[inputs]``; the probe stays on the CPU, where it is quick."""
        with torch.inference_mode():
            found: list[float] = self.network(hidden.detach().cpu()).softmax(-1).tolist()
        return found

    def save(self, folder: str | Path) -> None:
        """Write it into ``folder``, which is made where there is none."""
        FOLDER.save(folder, self.network, self.about)

    def suits(self, model: Any) -> None:
        """Raise HeadError unless the probe was trained on ``model``."""
        FOLDER.check(self.about.model, model, TRAIN, "target")


def load(folder: str | Path) -> Trained:
    """Read what ``save`` wrote. Raises HeadError for what is missing or damaged."""

    def build(said: dict[str, Any]) -> tuple[Network, About]:
        about = About(**said)
        return Network(about.inputs, about.units), about

    return Trained(*FOLDER.load(folder, build, TRAIN))
