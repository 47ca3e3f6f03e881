"""Cost models on disk: measured once for a model on a machine, then read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from laconic.bench.cost.measure import measure
from laconic.bench.cost.model import FORMS, Cell, CostModel, fit
from laconic.bench.provenance import cpu_model
from laconic.models.base import LanguageModel

FORMAT = 1
"""Raised when what is measured or how it is stored changes; older files are then measured again."""

Say = Callable[[str], None]


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def pass_cost(
    model: LanguageModel, *, fresh: bool = False, folder: Path | None = None, say: Say = _warn, **options: Any
) -> CostModel:
    """The cost model of ``model`` on this machine: from the cache, or measured in a few seconds and kept there.

    ``fresh`` measures in any case; ``options`` are those of :func:`measure`. A file that cannot be read, or a cache
    that cannot be written, is reported through ``say`` (a warning by default) and never in the way.
    """
    said = {name: getattr(value, "__qualname__", None) or repr(value) for name, value in options.items()}
    key = fingerprint(model) | {"options": said}
    path = (folder or cache_folder()) / f"{_digest(key)}.json"
    if not fresh and path.exists():
        try:
            return load(path, key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"the cost model in '{path}' cannot be used ({error}); measuring again.")
    cost = fit(measure(model, **options))
    try:
        save(cost, path, key)
    except OSError as error:
        say(f"the cost model cannot be kept in '{path}': {error}")
    return cost


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/laconic/cost``, or below ``~/.cache``; the standard says to ignore a relative path there."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "laconic" / "cost"


def fingerprint(model: LanguageModel) -> dict[str, Any]:
    """All that the time of a pass depends on: the model's shape, type and path of execution, and the machine."""
    import torch
    import transformers

    inner = getattr(model, "model", None)
    weights = next(inner.parameters(), None) if isinstance(inner, torch.nn.Module) else None
    device = torch.device("cpu") if weights is None else weights.device
    config = getattr(model, "config", None)
    shape = {} if config is None else {k: v for k, v in config.to_dict().items() if k not in _NOT_SHAPE}
    return {
        "format": FORMAT,
        "kind": type(model).__qualname__,
        "vocab": model.vocab_size,
        "shape": shape,
        "dtype": "" if weights is None else str(weights.dtype),
        "fast": getattr(model, "fast", None) is not None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


_NOT_SHAPE = {"_name_or_path", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "dtype"}


def save(cost: CostModel, path: Path, key: dict[str, Any]) -> None:
    """Write a cost model and the key it belongs to; a reader sees all of it or none."""
    text = json.dumps({"key": key, "cost": asdict(cost)}, indent=1, default=str)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load(path: Path, key: dict[str, Any] | None = None) -> CostModel:
    """Read a cost model. Raises ValueError, KeyError or TypeError unless it is whole, and that of ``key`` if given."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError("it is no cost model")
    if key is not None and stored["key"] != json.loads(json.dumps(key, default=str)):
        raise ValueError("it belongs to another model or machine")
    values = stored["cost"]
    missing = {f.name for f in fields(CostModel)} ^ set(values)
    if missing:
        raise ValueError(f"fields differ: {', '.join(sorted(missing))}")
    values |= {"knots": tuple(values["knots"]), "base": tuple(values["base"])}
    cost = CostModel(**values | {"cells": tuple(Cell(**cell) for cell in values["cells"])})
    numbers = (*cost.knots, *cost.base, cost.per_key, cost.per_pair, cost.per_request)
    rising = all(list(row) == sorted(row) for row in (cost.knots, cost.base))
    whole = len(cost.knots) == len(cost.base) >= 2 and len(set(cost.knots)) == len(cost.knots)
    if cost.form not in FORMS or not whole or not rising or not all(math.isfinite(x) and x >= 0 for x in numbers):
        raise ValueError("its numbers make no sense")
    return cost


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
