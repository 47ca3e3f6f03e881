"""Texts with the features along them, kept in a folder as they are written, so that a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.errors import HeadError

Noted = tuple[Sequence[int], Tensor, int]
"""The tokens of a text, ``[tokens - 1, layers, width]`` at all but the last, and the length of its prompt."""


@dataclass
class Texts:
    """Texts end to end: ``tokens [all]``, ``features [all, layers, width]`` (nothing at a text's last token).

    ``lengths`` are those of the texts, ``prompts`` those of their prompts, all in tokens."""

    tokens: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    features: Tensor = field(default_factory=lambda: torch.empty(0))
    lengths: list[int] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)

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
        return Texts(self.tokens[rows], self.features[rows], self.lengths[begin:end], self.prompts[begin:end])


def save(folder: Path, number: int, noted: Sequence[Noted]) -> None:
    """Keep one batch of texts."""
    features = [torch.cat([part, part.new_zeros(1, *part.shape[1:])]).bfloat16() for _, part, _ in noted]
    shard = {
        "tokens": torch.tensor([token for tokens, _, _ in noted for token in tokens]),
        "lengths": torch.tensor([len(tokens) for tokens, _, _ in noted]),
        "prompts": torch.tensor([prompt for _, _, prompt in noted]),
        "features": torch.cat(features),
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{number:05d}.part"
    save_file(shard, part)
    part.rename(folder / f"{number:05d}.safetensors")


def begin(folder: Path, model: str, layers: Sequence[int]) -> None:
    """Say whose texts a folder holds. Raises HeadError where it holds those of another model, or other layers'
    outputs.
    """
    said, place = {"model": model, "layers": list(layers)}, folder / "of.json"
    if place.is_file():
        if json.loads(place.read_text(encoding="utf-8")) != said:
            raise HeadError(
                f"'{folder}' holds texts of another model, or other layers.", "Name another folder, or empty it."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(said) + "\n", encoding="utf-8")


def layers(folder: Path) -> tuple[int, ...] | None:
    """Whose outputs a folder holds; None where it holds nothing."""
    place = folder / "of.json"
    return tuple(json.loads(place.read_text(encoding="utf-8"))["layers"]) if place.is_file() else None


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
        [length for part in parts for length in part["prompts"].tolist()],
    )


def count(place: Path) -> int:
    """Tokens of a batch."""
    return int(load_file(place)["lengths"].sum())


def replies(place: Path) -> list[list[int]]:
    """What the model wrote in a batch: the tokens of each text behind its prompt."""
    part = load_file(place)
    lengths, tokens = part["lengths"].tolist(), part["tokens"].tolist()
    starts = [0, *part["lengths"].cumsum(0).tolist()]
    return [
        tokens[start + prompt : start + length]
        for start, length, prompt in zip(starts[:-1], lengths, part["prompts"].tolist(), strict=True)
    ]
