"""A folder of coded weights: which of its files hold what, and its tensors, read when they are wanted.

Beside an ordinary checkpoint's config.json and tokenizer there is an index, ``dfloat11.json``, and files of the
safetensors format. No file has a name that other programs look for: they say that there are no weights, and run on none
by mistake. A coded tensor ``w`` is four in a file: ``w.df11.rest``, ``.code``, ``.offsets`` and ``.lengths``
(``codec.Coded``); others keep their names. Index and files say which format and version they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from laconic.errors import ModelError, UnsupportedModel
from laconic.models.damage import AGAIN, first_line
from laconic.models.dfloat11.codec import BLOCK, Coded, Damaged

INDEX = "dfloat11.json"
FORMAT = "dfloat11"
VERSION = 1
PARTS = ("rest", "code", "offsets", "lengths")
HEADER = {"format": "pt", "coding": FORMAT, "version": str(VERSION)}
"""What every file says of itself."""


def part_name(tensor: str, part: str) -> str:
    """The name in a file of a part of a coded tensor."""
    return f"{tensor}.df11.{part}"


def is_compressed(place: str | Path) -> bool:
    """Whether a folder holds coded weights."""
    return (Path(place) / INDEX).is_file()


@dataclass(eq=False)
class Stored:
    """A tensor of such a folder. ``tensor[...]`` reads and decodes it, as Transformers asks of safetensors' slices.

    ``fault`` is the first error that this raised: Transformers may go on and tell of something else.
    """

    file: Path
    name: str
    coded: bool
    fault: ModelError | None = None
    trail: list[tuple[Tensor, Coded]] | None = None
    """Where it is noted what was decoded, and from what, if somebody wants to know."""

    def __getitem__(self, _: Any) -> Tensor:
        try:
            found = self.read()
            if isinstance(found, Tensor):
                return found
            made = found.decode()
        except Damaged as error:
            self.fault = ModelError(f"'{self.file}' cannot be read: of '{self.name}', {error}.", AGAIN)
            raise self.fault from error
        except ModelError as error:
            self.fault = error
            raise
        if self.trail is not None:
            self.trail.append((made, found))
        return made

    def read(self) -> Coded | Tensor:
        """The tensor as it is stored. Raises ModelError naming the file, Damaged for parts that do not go together."""
        from safetensors import safe_open

        names = [part_name(self.name, part) for part in PARTS] if self.coded else [self.name]
        try:
            with safe_open(self.file, framework="pt") as opened:
                found = [opened.get_tensor(name) for name in names]
        except Exception as error:  # safetensors raises its own for whatever is wrong
            raise ModelError(f"'{self.file}' cannot be read: {first_line(error)}", AGAIN) from error
        return Coded(*found) if self.coded else found[0]


def stored(place: str | Path) -> dict[str, Stored]:
    """The tensors of a folder, by their names in the checkpoint that it was made of.

    Raises ModelError, naming the file, for an index or a file that is damaged, of another version or not there, or
    which lacks a part; UnsupportedModel for a later version.
    """
    place = Path(place)
    found: dict[str, Stored] = {}
    for name, kinds in _index(place / INDEX).items():
        file = place / name
        there = _names(file)
        for kind in ("coded", "plain"):
            for tensor in kinds[kind]:
                coded = kind == "coded"
                wanted = [part_name(tensor, part) for part in PARTS] if coded else [tensor]
                if lost := next((part for part in wanted if part not in there), None):
                    raise ModelError(f"'{file}' lacks '{lost}', which '{place / INDEX}' says is in it.", AGAIN)
                found[tensor] = Stored(file, tensor, coded)
    return found


def _index(file: Path) -> Mapping[str, Mapping[str, list[str]]]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        kind, version, block, files = (said[key] for key in ("format", "version", "block", "files"))
        tensors = [tensor for kinds in files.values() for tensor in (*kinds["coded"], *kinds["plain"])]
        sound = all(Path(name).name == name for name in files) and all(isinstance(name, str) for name in tensors)
    except Exception as error:  # whatever stands where something else should
        raise ModelError(f"'{file}' cannot be read: {type(error).__name__}: {first_line(error)}", AGAIN) from error
    _known(file, kind, version)
    if block != BLOCK or not sound:
        raise ModelError(f"'{file}' is no index of this format: block {block!r}, {len(files)} files.", AGAIN)
    return files  # type: ignore[no-any-return]


def _names(file: Path) -> set[str]:
    from safetensors import safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            names, header = set(opened.keys()), opened.metadata() or {}
    except Exception as error:  # as above
        raise ModelError(f"'{file}' cannot be read: {first_line(error)}", AGAIN) from error
    version = header.get("version", "")
    _known(file, header.get("coding"), int(version) if version.isdecimal() else version)
    return names


def _known(file: Path, kind: object, version: object) -> None:
    """Refuse another format or version than ours."""
    if kind != FORMAT or not isinstance(version, int) or version < 1:
        raise ModelError(f"'{file}' says that it is {kind!r}, version {version!r}, not {FORMAT}.", AGAIN)
    if version != VERSION:
        raise UnsupportedModel(
            f"'{file}' is of version {version} of the format {FORMAT}; version {VERSION} is known here.",
            "A later version of laconic may read it.",
        )
