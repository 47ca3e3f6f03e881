"""N-grams of texts that a model wrote before, in a folder: what it thought on average after each context."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from laconic.errors import StoreError
from laconic.models.base import ShowsHidden
from laconic.speculation.base import HEARD
from laconic.speculation.drafters.few import NOTHING
from laconic.speculation.drafters.ngrams import NGrams

HINT = "Count them on this model: laconic fit ngrams OUT; then --drafter stand:learned=OUT."
_NAME = "ngrams"
_KINDS = "greedy", "sampled"
_ROOM = 2
"""Places of a table for each context, at least: some of those that fall together are lost."""


@dataclass(frozen=True, slots=True)
class Level:
    """Contexts of one length, rarest first: ``contexts [n, order]``, ``tokens`` and ``logits [n, k]``, best first.

    ``NOTHING`` among the tokens comes with minus infinity.
    """

    contexts: NDArray[np.int32]
    tokens: NDArray[np.int32]
    logits: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Beliefs:
    """How far to believe these n-grams beside those of the run, of ``orders``, and the request's own text, by contexts
    of the lengths ``text``: weights of mixtures (see Mixture), of which ``greedy`` and ``sampled`` requests have one
    each. For drafters of these orders alone.
    """

    orders: tuple[int, ...]
    text: tuple[int, ...]
    greedy: dict[int, list[float]]
    sampled: dict[int, list[float]]

    @staticmethod
    def read(said: Mapping[str, Any]) -> Beliefs:
        """From JSON."""
        mixtures = ({int(case): list(map(float, each)) for case, each in said[name].items()} for name in _KINDS)
        return Beliefs(tuple(said["orders"]), tuple(said["text"]), *mixtures)


@dataclass(frozen=True, slots=True)
class About:
    """What was counted: ``model`` is the fingerprint of who wrote ``tokens`` tokens of ``texts`` texts, ``contexts``
    how many of each order there are. ``training`` and ``provenance`` are for the reader.
    """

    model: str
    orders: tuple[int, ...]
    k: int
    tokens: int
    texts: int
    contexts: tuple[int, ...]
    beliefs: Beliefs | None = None
    training: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def suits(self, target: Any) -> None:
        """Raise StoreError unless ``target`` wrote the texts."""
        found = target.fingerprint() if isinstance(target, ShowsHidden) else "unknown"
        if found != self.model:
            raise StoreError(
                f"the n-grams are those of another model (fingerprint {self.model}, this one is {found}).", HINT
            )


@dataclass(frozen=True, slots=True)
class Learned:
    """Levels by rising order, and what they are."""

    levels: tuple[Level, ...]
    about: About

    def save(self, folder: str | Path) -> None:
        """Write two files into a folder, which is made where it is not there."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        parts = {
            f"{part}.{order}": np.ascontiguousarray(getattr(level, part))
            for order, level in zip(self.about.orders, self.levels, strict=True)
            for part in Level.__slots__
        }
        save_file(parts, place / f"{_NAME}.safetensors")
        (place / f"{_NAME}.json").write_text(json.dumps(asdict(self.about), indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: str | Path) -> Learned:
        """Read what ``save`` wrote. Raises StoreError for what is missing or damaged."""
        place = Path(folder)
        try:
            said = json.loads((place / f"{_NAME}.json").read_text(encoding="utf-8"))
            beliefs = Beliefs.read(said["beliefs"]) if said.get("beliefs") else None
            rest = {name: tuple(said[name]) for name in ("orders", "contexts")}
            about = About(**{**said, **rest, "beliefs": beliefs})
            parts = load_file(place / f"{_NAME}.safetensors")
            levels = tuple(Level(*(parts[f"{part}.{order}"] for part in Level.__slots__)) for order in about.orders)
            _check(levels, about)
        except OSError as error:
            raise StoreError(f"there are no n-grams at '{folder}': {error.strerror or error}.", HINT) from error
        except (ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
            raise StoreError(f"the n-grams at '{folder}' are damaged: {error}.", HINT) from error
        return Learned(levels, about)

    def table(self, k: int) -> NGrams:
        """A table of all contexts with ``k`` candidates each."""
        return table_of(self.levels, self.about.orders, k)


def table_of(levels: Sequence[Level], orders: Sequence[int], k: int) -> NGrams:
    """A table with ``k`` candidates for each context; where two fall together the more frequent one stays."""
    made = NGrams(orders, k, [max(4, (_ROOM * len(level.contexts)).bit_length()) for level in levels])
    for number, level in enumerate(levels):
        windows = np.full((len(level.contexts), HEARD), NOTHING, dtype=np.int64)
        windows[:, HEARD - level.contexts.shape[1] :] = level.contexts
        made.put(number, windows, wide(level.tokens, k, NOTHING), wide(level.logits, k, -np.inf))
    return made


def wide(given: NDArray[Any], k: int, missing: float) -> NDArray[Any]:
    """The first ``k`` columns, filled up where there are fewer."""
    found = np.full((len(given), k), missing, dtype=given.dtype)
    found[:, : given.shape[1]] = given[:, :k]
    return found


def _check(levels: Sequence[Level], about: About) -> None:
    """Raise ValueError for parts that do not go together."""
    if not about.orders or list(about.orders) != sorted(set(about.orders)) or not 1 <= max(about.orders) <= HEARD:
        raise ValueError(f"orders {about.orders}")
    for order, count, level in zip(about.orders, about.contexts, levels, strict=True):
        shapes = (count, order), (count, about.k), (count, about.k)
        for name, shape in zip(Level.__slots__, shapes, strict=True):
            if getattr(level, name).shape != shape:
                raise ValueError(f"{name} of order {order} are {getattr(level, name).shape}, not {shape}")
