"""Texts with the features along them, kept in a folder as they are written, so that a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.errors import HeadError, TaskError

_OF = "of.json"
"""Says whose texts a folder holds."""
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
    """Say whose texts a folder holds. Raises HeadError where it holds those of another model, or other layers' outputs,
    and where it can be none.
    """
    said = {"model": model, "layers": list(layers)}
    if (there := of(folder)) is not None:
        if there != said:
            raise HeadError(
                f"'{folder}' holds texts of another model, or other layers.", "Name another folder, or empty it."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _OF).write_text(json.dumps(said) + "\n", encoding="utf-8")
    except OSError as error:
        raise HeadError(f"texts cannot be kept in '{folder}': {error.strerror or error}.", "Name a folder.") from error


def of(folder: Path) -> dict[str, Any] | None:
    """Whose texts a folder holds, by fingerprint, and which layers' outputs; None where it holds none.

    Raises HeadError where what it says of them is damaged.
    """
    try:
        said = json.loads((folder / _OF).read_text(encoding="utf-8"))
        return {"model": str(said["model"]), "layers": [int(layer) for layer in said["layers"]]}
    except OSError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise HeadError(f"what '{folder / _OF}' says of these texts is damaged.", "Name another folder.") from error


def kept(folder: Path) -> list[Path]:
    """The batches that are there, in order, up to the first that is missing."""
    found: list[Path] = []
    while (place := folder / f"{len(found):05d}.safetensors").is_file():
        found.append(place)
    return found


def read(places: Sequence[Path]) -> Texts:
    """All texts of some batches. Raises TaskError where there are none."""
    parts = [_loaded(place) for place in places]
    if not any(len(part["tokens"]) for part in parts):
        raise TaskError("no texts were written.", "A model that asks itself has to end its questions; or give --tasks.")
    return Texts(
        torch.cat([part["tokens"] for part in parts]),
        torch.cat([part["features"] for part in parts]),
        [length for part in parts for length in part["lengths"].tolist()],
        [length for part in parts for length in part["prompts"].tolist()],
    )


def count(place: Path) -> int:
    """Tokens of a batch."""
    return int(_loaded(place)["lengths"].sum())


def replies(place: Path) -> list[list[int]]:
    """What the model wrote in a batch: the tokens of each text behind its prompt."""
    part = _loaded(place)
    lengths, tokens = part["lengths"].tolist(), part["tokens"].tolist()
    starts = [0, *part["lengths"].cumsum(0).tolist()]
    return [
        tokens[start + prompt : start + length]
        for start, length, prompt in zip(starts[:-1], lengths, part["prompts"].tolist(), strict=True)
    ]


def _loaded(place: Path) -> dict[str, Tensor]:
    """The parts of a batch. Raises HeadError for a damaged file."""
    try:
        found = load_file(place)
        return {name: found[name] for name in ("tokens", "lengths", "prompts", "features")}
    except (OSError, KeyError, SafetensorError) as error:
        raise HeadError(f"the texts in '{place}' are damaged: {error}.", "Delete it and those behind it.") from error
