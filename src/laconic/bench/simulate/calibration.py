"""Costs of a pair of models on one machine, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.bench.cost import cache
from laconic.bench.simulate.costs import Measured
from laconic.bench.simulate.host import HostCost
from laconic.engine import Engine

FORMAT = 2
"""Raised when what is measured, or how, changes; what was kept before is then measured again."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What passes and rounds cost; ``draft`` is None without a draft model."""

    target: Measured
    draft: Measured | None
    host: HostCost


def kept(
    engine: Engine,
    make: Callable[[], Calibration],
    *,
    fresh: bool = False,
    folder: Path | None = None,
    say: cache.Say = lambda text: None,
) -> Calibration:
    """The calibration of ``engine``'s models on this machine: from the cache, or made and kept there.

    The options are those of :func:`laconic.bench.cost.cache.kept`.
    """
    models = [model for model in (engine.target, engine.draft_model) if model is not None]
    key = {"format": FORMAT, "models": [cache.fingerprint(model) for model in models]}
    return cache.kept(make, _of_dict, key, fresh=fresh, folder=folder, say=say)


def _of_dict(values: Any) -> Calibration:
    """A calibration of its fields. Raises ValueError, KeyError or TypeError for what is none."""
    draft = values["draft"]
    return Calibration(
        _measured(values["target"]), None if draft is None else _measured(draft), HostCost(**values["host"])
    )


def _measured(values: Any) -> Measured:
    parts = {name: None if values[name] is None else cache.of_dict(values[name]) for name in ("prompts", "repeated")}
    return Measured(cache.of_dict(values["model"]), **parts)
