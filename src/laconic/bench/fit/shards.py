"""Texts with the features along them, kept in a folder as they are written, so that a run that was stopped goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Noted = tuple[Sequence[int], Tensor]
"""The tokens of a text and ``[tokens - 1, layers, width]`` at all but the last."""


@dataclass
class Texts:
    """Texts end to end: ``tokens [all]``, ``features [all, layers, width]`` (nothing at a text's last token)."""

    tokens: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    features: Tensor = field(default_factory=lambda: torch.empty(0))
    lengths: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> list[int]:
        """Where each text begins."""
        return [0, *torch.tensor(self.lengths).cumsum(0).tolist()][:-1] if self.lengths else []

    def one(self, i: int) -> tuple[list[int], Tensor]:
        """Text i's tokens and ``[tokens - 1, layers, width]``, float32."""
        start, length = self.starts[i], self.lengths[i]
        tokens: list[int] = self.tokens[start : start + length].tolist()
        return tokens, self.features[start : start + length - 1].float()

    def part(self, begin: int, end: int) -> Texts:
        """Texts ``begin`` up to ``end``, over the same memory."""
        starts = [*self.starts, len(self.tokens)]
        rows = slice(starts[begin], starts[end])
        return Texts(self.tokens[rows], self.features[rows], self.lengths[begin:end])


def save(folder: Path, number: int, noted: Sequence[Noted]) -> None:
    """Keep one batch of texts."""
    folder.mkdir(parents=True, exist_ok=True)
    features = [torch.cat([part, part.new_zeros(1, *part.shape[1:])]).bfloat16() for _, part in noted]
    shard = {
        "tokens": torch.tensor([token for tokens, _ in noted for token in tokens]),
        "lengths": torch.tensor([len(tokens) for tokens, _ in noted]),
        "features": torch.cat(features),
    }
    part = folder / f"{number:05d}.part"
    save_file(shard, part)
    part.rename(folder / f"{number:05d}.safetensors")


def kept(folder: Path) -> list[Path]:
    """The batches that are there, in order, up to the first that is missing."""
    found: list[Path] = []
    while (place := folder / f"{len(found):05d}.safetensors").is_file():
        found.append(place)
    return found


def read(places: Sequence[Path]) -> Texts:
    """All texts of some batches."""
    parts = [load_file(place) for place in places]
    return Texts(
        torch.cat([part["tokens"] for part in parts]),
        torch.cat([part["features"] for part in parts]),
        [length for part in parts for length in part["lengths"].tolist()],
    )


def count(place: Path) -> int:
    """Tokens of a batch."""
    return int(load_file(place)["lengths"].sum())
