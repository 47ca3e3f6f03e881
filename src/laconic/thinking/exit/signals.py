"""Trained heads that read from a hidden state how a thought is doing, and the folder that they are kept in.

Such a folder holds ``head.safetensors`` (weights) and ``head.json`` (what they are, and which model they were trained
on). ``laconic fit spec-exit`` writes one; the knob ``head`` of ``spec-exit`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from laconic.errors import HeadError
from laconic.models.trained import Folder

FOLDER = Folder("head", "head")
METHOD = "spec-exit"
_HINT = f"Train one for this model: laconic fit {METHOD} OUT; then {METHOD}:head=OUT."


class Signals(NamedTuple):
    """How a thought is doing: chance that the answer is settled, share of the thought done, tokens left."""

    confidence: float
    progress: float
    remaining: float


class SignalHead(nn.Module):
    """Three numbers from a hidden state, which is first brought to mean 0 and deviation 1 as seen in training.

    Log-odds of confidence and of progress, and the logarithm of one more than the tokens left. ``width`` 0 is linear,
    any other a hidden layer of so many SiLU units.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        layers = [nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, 3)] if width else [nn.Linear(inputs, 3)]
        self.body = nn.Sequential(*layers)

    def settle(self, x: Tensor) -> None:
        """Take mean and deviation from ``x [examples, inputs]``."""
        self.shift.copy_(x.mean(0))
        self.scale.copy_(1 / x.std(0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., 3]`` from ``x [..., inputs]``, of any float type."""
        out: Tensor = self.body((x.float() - self.shift) * self.scale)
        return out


@dataclass(frozen=True, slots=True)
class About:
    """What a head is. ``model`` is the fingerprint of the model whose states it reads; the rest is for the reader."""

    model: str
    inputs: int
    width: int
    method: str = METHOD
    measures: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A head and what it is."""

    head: SignalHead
    about: About

    def __call__(self, hidden: Tensor) -> Signals:
        """The signals at one state ``hidden [inputs]``; the head goes to where that is."""
        if self.head.shift.device != hidden.device:
            self.head.to(hidden.device)
        with torch.inference_mode():
            confidence, progress, remaining = read(self.head(hidden)).tolist()
        return Signals(confidence, progress, remaining)

    def save(self, folder: str | Path) -> None:
        """Write it into ``folder``, which is made where there is none."""
        FOLDER.save(folder, self.head, self.about)

    def suits(self, model: Any) -> None:
        """Raise HeadError unless the head was trained on ``model``."""
        FOLDER.check(self.about.model, model, _HINT)


def read(out: Tensor) -> Tensor:
    """Signals ``[..., 3]`` from a head's numbers: two chances, and tokens."""
    return torch.cat([out[..., :2].sigmoid(), out[..., 2:].clamp(0, 20).expm1()], dim=-1)


def load(folder: str | Path) -> Trained:
    """Read what ``save`` wrote. Raises HeadError for what is missing, damaged or another method's."""

    def build(said: dict[str, Any]) -> tuple[SignalHead, About]:
        if said.get("method") != METHOD:
            raise HeadError(f"the head at '{folder}' was trained for '{said.get('method')}', not '{METHOD}'.", _HINT)
        about = About(**said)
        return SignalHead(about.inputs, about.width), about

    return Trained(*FOLDER.load(folder, build, _HINT))
