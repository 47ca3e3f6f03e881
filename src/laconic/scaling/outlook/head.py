"""A head that reads from a hidden state how an attempt will end: whether right, and after how many more tokens.

Its folder holds ``head.safetensors`` (weights) and ``head.json`` (what it is, and which model it was trained on).
``laconic fit zip-rc`` writes one; the knob ``head`` of ``zip-rc`` names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from laconic.errors import HeadError
from laconic.models.trained import Folder
from laconic.speculation.heads import Standard

FOLDER = Folder("head", "head")
METHOD = "zip-rc"
_HINT = f"Train one for this model: laconic fit {METHOD} OUT; then {METHOD}:OUT."
EDGES = (16, 32, 64, 128, 256, 512, 1024)
"""Tokens left at which each bin of lengths but the first begins."""


class Outlook(NamedTuple):
    """What is expected of an attempt: the chance that it ends right, and the tokens left of its thought."""

    right: float
    left: float


class OutlookHead(nn.Module):
    """Logits of every pair of reward (wrong, right) and bin of tokens left, from a hidden state.

    ``width`` 0 is linear, any other a hidden layer of so many SiLU units.
    """

    lengths: Tensor

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.standard = Standard(inputs)
        self.register_buffer("lengths", torch.tensor([float(edge) for edge in (8, *EDGES)]))
        bins = 2 * len(self.lengths)
        layers = [nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, bins)] if width else [nn.Linear(inputs, bins)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., 2, bins]`` from ``x [..., inputs]``, of any float type."""
        out: Tensor = self.body(self.standard(x.float()))
        return out.reshape(*out.shape[:-1], 2, len(self.lengths))


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

    head: OutlookHead
    about: About

    def __call__(self, hidden: Tensor) -> Outlook:
        """The outlook at one state ``hidden [inputs]``; the head goes to where that is."""
        if self.head.lengths.device != hidden.device:
            self.head.to(hidden.device)
        with torch.inference_mode():
            right, left = read(self.head, hidden)
        return Outlook(float(right), float(left))

    def save(self, folder: str | Path) -> None:
        """Write it into ``folder``, which is made where there is none."""
        FOLDER.save(folder, self.head, self.about)

    def suits(self, model: Any) -> None:
        """Raise HeadError unless the head was trained on ``model``."""
        FOLDER.check(self.about.model, model, _HINT)


def read(head: OutlookHead, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Chance of being right and mean tokens left ``[...]`` at states ``hidden [..., inputs]``."""
    chances = head(hidden).flatten(-2).softmax(-1).reshape(*hidden.shape[:-1], 2, len(head.lengths))
    return chances[..., 1, :].sum(-1), (chances.sum(-2) * head.lengths).sum(-1)


def binned(left: Sequence[float] | Tensor) -> Tensor:
    """The bin of lengths of each number of tokens left."""
    return torch.bucketize(torch.as_tensor(left, dtype=torch.float32), torch.tensor(EDGES).float(), right=True)


def load(folder: str | Path) -> Trained:
    """Read what ``save`` wrote. Raises HeadError for what is missing, damaged or another method's."""

    def build(said: dict[str, Any]) -> tuple[OutlookHead, About]:
        if said.get("method") != METHOD:
            raise HeadError(f"the head at '{folder}' was trained for '{said.get('method')}', not '{METHOD}'.", _HINT)
        about = About(**said)
        return OutlookHead(about.inputs, about.width), about

    return Trained(*FOLDER.load(folder, build, _HINT))
