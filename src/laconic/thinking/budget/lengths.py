"""How long a model thinks when nobody stops it: the file that ``laconic fit effort`` writes and ``effort`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from laconic.errors import InvalidKnob
from laconic.models.base import ShowsHidden

PERCENTS = (5, 10, 25, 50, 75, 90, 95)
"""Shares of the problems, in percent, for which a file says how many thinking tokens are enough."""
HINT = "Measure this model on your own problems: laconic fit effort FILE; then effort:low,lengths=FILE."


@dataclass(frozen=True, slots=True)
class Lengths:
    """Thinking tokens of ``n`` free thoughts, tags included. ``quantiles["90"]`` are enough for 90 % of the problems.

    ``unfinished`` thoughts were cut off at the limit of the run and count with the length they had by then.
    ``fingerprint`` is that of the model (None where it has none); ``model`` and ``run`` are for the reader.
    """

    model: str
    fingerprint: str | None
    n: Annotated[int, Field(ge=1)]
    unfinished: Annotated[int, Field(ge=0)]
    mean: float
    quantiles: Mapping[str, Annotated[int, Field(ge=1)]]
    run: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def enough_for(self, percent: int) -> int:
        """Thinking tokens that are enough for so many percent of the problems."""
        return self.quantiles[str(percent)]

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def load(path: str | Path) -> Lengths:
    """Read what ``save`` wrote. Raises InvalidKnob for a file that is missing or is something else."""
    try:
        made = pydantic.TypeAdapter(Lengths).validate_json(Path(path).read_bytes(), strict=True)
    except OSError as error:
        raise InvalidKnob(f"no lengths of thoughts at '{path}': {error.strerror or error}.", HINT) from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InvalidKnob(f"'{path}' does not hold lengths of thoughts: {where}: {first['msg']}.", HINT) from error
    known = [made.quantiles.get(str(percent)) for percent in PERCENTS]
    if any(a is None or b is None or a > b for a, b in pairwise(known)):
        raise InvalidKnob(f"'{path}': quantiles are missing or out of order: {dict(made.quantiles)}.", HINT)
    return made


def fingerprint(model: Any) -> str | None:
    """What tells ``model`` from others, where it can say."""
    return model.fingerprint() if isinstance(model, ShowsHidden) else None
