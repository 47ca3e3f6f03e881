"""Trained heads of length rules and of the judge: the networks, and the folder they are kept in.

A head is a folder with ``head.safetensors`` (weights) and ``head.json`` (what it is, and which model it was trained
on). ``laconic fit`` writes one; a method's knob ``head`` names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from laconic.errors import HeadError
from laconic.models.trained import Folder

Array = NDArray[np.float32]
FOLDER = Folder("head", "head")
_LEAST = 50.0
"""Log-odds against a token that are as good as certainty."""


class Standard(nn.Module):
    """Inputs brought to mean 0 and deviation 1 by what they were in training; part of the head."""

    shift: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def settle(self, x: Tensor) -> None:
        """Take mean and deviation from ``x [examples, width]``."""
        self.shift.copy_(x.mean(0))
        self.scale.copy_(1 / x.std(0).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]``."""
        out: Tensor = (x - self.shift) * self.scale
        return out


class Residual(nn.Module):
    """``x + SiLU(W x + b)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]``."""
        return x + nn.functional.silu(self.linear(x))


class Head(nn.Module):
    """A network over hidden states with one number out."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.standard = Standard(inputs)
        self.body = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """``[...]`` from ``x [..., inputs]``, of any float type."""
        out: Tensor = self.body(self.standard(x.float()))[..., 0]
        return out


class AcceptanceHead(Head):
    """Residual SiLU layers, none of them in a linear head, and one logit: the log-odds that a drafted token stands."""

    def __init__(self, inputs: int, layers: int) -> None:
        super().__init__(inputs)
        self.body = nn.Sequential(*(Residual(inputs) for _ in range(layers)), nn.Linear(inputs, 1))


class LengthHead(Head):
    """A perceptron with ``layers`` linear maps: how many draft tokens will be accepted."""

    def __init__(self, inputs: int, layers: int, width: int) -> None:
        super().__init__(inputs)
        sizes = [inputs, *[width] * (layers - 1)]
        hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.body = nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))


@dataclass(frozen=True, slots=True)
class About:
    """What a head is. ``model`` is the fingerprint of the model whose hidden states it reads.

    ``state`` says whose fate a state of the draft model tells: that of the token it is the state ``at``, or of the
    token after it, that it is the state ``before``. ``other`` is the fingerprint of the other model of the pair, which
    decided what was accepted in training; a head is not refused for it. ``mean`` is the mean label in training.
    ``measures`` and ``training`` are for the reader.
    """

    method: str
    reads: Literal["draft model", "target"]
    model: str
    other: str
    inputs: int
    layers: int
    width: int
    mean: float
    state: Literal["at", "before"] = "at"
    measures: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def network(self) -> Head:
        """A head of this kind, untrained. Raises HeadError for a method that has none."""
        if self.method == "specdec++" and self.state in ("at", "before"):
            return AcceptanceHead(self.inputs, self.layers)
        if self.method == "judge-head":
            return AcceptanceHead(self.inputs, self.layers)
        if self.method == "ada-eagle":
            return LengthHead(self.inputs, self.layers, self.width)
        raise HeadError(f"no method with a trained head is called '{self.method}'.")


def in_numpy(head: Head) -> Callable[[Array], float]:
    """``head`` for one input ``[inputs]`` on the CPU, where small operations cost NumPy less than PyTorch.

    ``SiLU(2 y) = y + y tanh(y)``: with half of the weights a layer takes few operations, and nothing overflows.
    """

    def maps(linear: nn.Linear, share: float = 1.0) -> tuple[Array, Array]:
        return (linear.weight.detach().cpu() * share).numpy(), (linear.bias.detach().cpu() * share).numpy()

    def gated(y: Array) -> Array:
        t: Array = np.tanh(y)
        t += 1
        t *= y
        return t

    def step(part: nn.Module) -> Callable[[Array], Array]:
        if isinstance(part, nn.SiLU):
            return lambda x: gated(0.5 * x)
        if isinstance(part, Residual):
            w, b = maps(part.linear, 0.5)
            return lambda x: x + gated(w @ x + b)
        assert isinstance(part, nn.Linear)
        weight, bias = maps(part)
        return lambda x: weight @ x + bias

    shift, scale = head.standard.shift.cpu().numpy(), head.standard.scale.cpu().numpy()
    steps = [step(part) for part in head.body]

    def call(x: Array) -> float:
        x = (x - shift) * scale
        for each in steps:
            x = each(x)
        return float(x[0])

    return call


@dataclass(frozen=True)
class Trained:
    """A head and what it is."""

    head: Head
    about: About

    def __call__(self, x: Tensor) -> float:
        """The head's number for one input ``x [inputs]``, of any float type; the head goes to where that is."""
        if x.is_cpu:
            return self._quick(x.float().numpy())
        if self.head.standard.shift.device != x.device:
            self.head.to(x.device)
        with torch.inference_mode():
            return float(self.head(x))

    @cached_property
    def _quick(self) -> Callable[[Array], float]:
        return in_numpy(self.head)

    def save(self, folder: str | Path) -> None:
        """Write it into ``folder``, which is made where there is none."""
        FOLDER.save(folder, self.head, self.about)

    def suits(self, method: str, model: Any) -> None:
        """Raise HeadError, naming what differs, unless the head is ``method``'s and was trained on ``model``."""
        about = self.about
        if about.method != method:
            raise HeadError(f"the head was trained for '{about.method}', not for '{method}'.", train(method))
        FOLDER.check(about.model, model, train(method), about.reads)


def probability(log_odds: float) -> float:
    """What a head's log-odds are as a probability."""
    return 1 / (1 + math.exp(-max(log_odds, -_LEAST)))


def load(folder: str | Path, method: str) -> Trained:
    """Read what ``save`` wrote. Raises HeadError for what is missing or damaged."""

    def build(said: dict[str, Any]) -> tuple[Head, About]:
        about = About(**said)
        return about.network(), about

    return Trained(*FOLDER.load(folder, build, train(method)))


def train(method: str) -> str:
    """The hint that says where a head comes from."""
    return f"Train one for this pair: laconic fit {method} OUT; then {method}:head=OUT."
