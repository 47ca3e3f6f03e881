"""Where specimens are kept, and what was made of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from laconic.errors import ModelNotFound
from laconic.models.native.build import cache_folder

NAMES = ("smollm2",)
"""The specimens that there are: what ``--model`` takes."""
REPORT = "specimen.json"


@dataclass(frozen=True, slots=True)
class Specimen:
    """A specimen that is there: its folder, and where its weights come from.

    ``stored`` counts the tensors of each number format in the file that was read; ``nbytes`` is the size of the
    weights as they were written, all in ``dtype``.
    """

    path: str
    source: str
    licence: str
    parameters: int
    stored: dict[str, int]
    dtype: str
    nbytes: int

    def write(self, place: Path) -> None:
        """Keep this beside the weights."""
        (place / REPORT).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def place(name: str) -> Path:
    """The specimen's folder, there or not: below ``$XDG_CACHE_HOME/laconic``, or ``~/.cache/laconic``."""
    return cache_folder().parent / "models" / name


def located(name: str | Path) -> str:
    """A specimen's name to its folder; other names stay as they are, and a folder of that name in the way is meant
    itself. Raises ModelNotFound if the specimen was not made yet."""
    return str(folder(str(name))) if str(name) in NAMES and not Path(name).exists() else str(name)


def folder(name: str) -> Path:
    """The specimen's folder. Raises ModelNotFound if it was not made yet."""
    if made(name) is None:
        raise ModelNotFound(f"the model '{name}' was not made yet.", f"Make it with: laconic specimen {name}.")
    return place(name)


def made(name: str) -> Specimen | None:
    """What was made, or None. Only a folder that is complete carries the name."""
    try:
        return Specimen(**json.loads((place(name) / REPORT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
