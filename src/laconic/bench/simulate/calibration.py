"""Costs of a pair of models on one machine, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laconic.bench.cost.cache import cache_folder, fingerprint
from laconic.bench.simulate.costs import Measured, cost_model
from laconic.bench.simulate.host import HostCost
from laconic.engine import Engine

FORMAT = 1
"""Raised when what is measured, or how, changes; what was kept before is then measured again."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What passes and rounds cost; ``draft`` is None without a draft model."""

    target: Measured
    draft: Measured | None
    host: HostCost

    def as_dict(self) -> dict[str, Any]:
        """For JSON; :func:`of_dict` reads it."""
        return asdict(self)


def of_dict(values: Any) -> Calibration:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is no calibration."""
    draft = values["draft"]
    return Calibration(
        _measured(values["target"]), None if draft is None else _measured(draft), HostCost(**values["host"])
    )


def _measured(values: Any) -> Measured:
    parts = {name: None if values[name] is None else cost_model(values[name]) for name in ("prompts", "repeated")}
    return Measured(cost_model(values["model"]), **parts)


def kept(
    engine: Engine,
    make: Callable[[], Calibration],
    *,
    fresh: bool = False,
    folder: Path | None = None,
    say: Callable[[str], Any] = lambda text: None,
) -> Calibration:
    """The calibration of ``engine``'s models on this machine from the cache, or made and kept there.

    ``fresh`` makes it in any case. A file that cannot be used, or written, is reported through ``say``.
    """
    models = [model for model in (engine.target, engine.draft_model) if model is not None]
    key = json.dumps(
        {"format": FORMAT, "models": [fingerprint(model) for model in models]}, sort_keys=True, default=str
    )
    path = (folder or cache_folder()) / f"load-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    if not fresh and path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["key"] == key:
                return of_dict(stored["calibration"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"the costs in '{path}' cannot be used ({error}); measuring again.")
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps({"key": key, "calibration": made.as_dict()}) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        say(f"the costs cannot be kept in '{path}': {error}")
    return made
