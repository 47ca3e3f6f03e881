"""Texts as tokens, with all their places sorted by what stands before them; in files that are mapped, not read."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.errors import StoreError
from laconic.speculation.drafters.few import NOTHING, Ints

DEPTH = 16
"""Tokens before a place that it is sorted by."""
BUILD = "Build one with: laconic fit datastore FILES... FOLDER"
_FORM = 1


@dataclass(frozen=True, slots=True)
class About:
    """What a datastore is made of. ``vocabulary`` is one more than its largest token."""

    tokens: int
    texts: int
    vocabulary: int
    tokenizer: str
    files: tuple[str, ...]
    form: int = _FORM


@dataclass(frozen=True, slots=True)
class Datastore:
    """``tokens`` of all texts, ``NOTHING`` behind each; ``places`` sorted by the tokens before them, the last first."""

    tokens: NDArray[np.int32]
    places: NDArray[np.int32]
    about: About

    @staticmethod
    def of(texts: Iterable[Sequence[int]], tokenizer: str = "", files: Sequence[str] = ()) -> Datastore:
        """Sort texts. Raises StoreError where there are none."""
        parts = [[*text, NOTHING] for text in texts if len(text)]
        if not parts:
            raise StoreError("there is no text in these files.", "Name files of text, or of recorded answers.")
        tokens = np.concatenate([np.array(part, dtype=np.int32) for part in parts])
        before = np.concatenate((np.full(DEPTH, NOTHING, dtype=np.int32), tokens))
        # The last key counts most: it is the token right before a place.
        columns = [before[DEPTH - back : len(before) - back] for back in range(DEPTH, 0, -1)]
        places = np.lexsort(columns).astype(np.int32)
        places = places[tokens[places] != NOTHING]
        made = About(len(tokens) - len(parts), len(parts), int(tokens.max()) + 1, tokenizer, tuple(files))
        return Datastore(tokens, places, made)

    def save(self, folder: Path) -> None:
        """Write three files into a folder, which is made where it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "tokens.npy", self.tokens)
        np.save(folder / "places.npy", self.places)
        (folder / "datastore.json").write_text(json.dumps(asdict(self.about), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> Datastore:
        """Map a saved datastore into memory. Raises StoreError for what is none."""
        at = Path(folder)
        if not (at / "datastore.json").is_file():
            raise StoreError(f"there is no datastore at '{folder}'.", BUILD)
        try:
            said: dict[str, Any] = json.loads((at / "datastore.json").read_text(encoding="utf-8"))
            about = About(**{**said, "files": tuple(said["files"])})
            tokens, places = (np.load(at / name, mmap_mode="r") for name in ("tokens.npy", "places.npy"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(f"the datastore at '{folder}' is damaged: {error}.", BUILD) from error
        whole = tokens.shape == (about.tokens + about.texts,) and places.shape == (about.tokens,)
        if about.form != _FORM or not whole:
            raise StoreError(f"the datastore at '{folder}' is damaged, or of another version.", BUILD)
        return Datastore(tokens, places, about)

    def find(self, text: Sequence[int], most: int) -> tuple[Ints, int]:
        """Places behind the longest known end of ``text`` and its length, at most ``DEPTH`` tokens.

        Of more than ``most`` places as many, evenly spread. Both nothing where not even the last token is known.
        """
        ending = [int(token) for token in text[: -DEPTH - 1 : -1]]
        at = bisect.bisect_left(self.places, ending, key=lambda place: self._before(place, len(ending)))
        around = [self.places[i] for i in (at - 1, at) if 0 <= i < len(self.places)]
        length = max((_agree(self._before(place, len(ending)), ending) for place in around), default=0)
        if length == 0:
            return np.zeros(0, dtype=np.int64), 0
        key = ending[:length]
        low = bisect.bisect_left(self.places, key, hi=at, key=lambda place: self._before(place, length))
        high = bisect.bisect_right(self.places, key, lo=at, key=lambda place: self._before(place, length))
        step = -(-(high - low) // most)
        return np.array(self.places[low:high:step], dtype=np.int64), length

    def _before(self, place: int, count: int) -> list[int]:
        """The tokens before a place, the last first; ``NOTHING`` before the first text."""
        found: list[int] = self.tokens[max(place - count, 0) : place][::-1].tolist()
        return found + [NOTHING] * (count - len(found))


def _agree(a: Sequence[int], b: Sequence[int]) -> int:
    """How many first elements are the same."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
