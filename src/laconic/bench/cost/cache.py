"""Costs on disk: measured once for a model on a machine, then read."""

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
from typing import TYPE_CHECKING, Any, TypeVar

from laconic.bench.cost.measure import measure
from laconic.bench.cost.model import FORMS, Cell, CostModel, fit
from laconic.bench.provenance import cpu_model
from laconic.models.base import LanguageModel
from laconic.models.native import bf16

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 1
"""Raised when what is measured or how it is stored changes; older files are then measured again."""

Say = Callable[[str], Any]
Made = TypeVar("Made", bound="DataclassInstance")


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)  # at whoever called pass_cost


def pass_cost(
    model: LanguageModel, *, fresh: bool = False, folder: Path | None = None, say: Say = _warn, **options: Any
) -> CostModel:
    """The cost model of ``model`` on this machine: from the cache, or measured in a few seconds and kept there.

    ``options`` are those of :func:`measure`, the others those of :func:`kept`; ``say`` warns by default.
    """
    said = {name: getattr(value, "__qualname__", None) or repr(value) for name, value in options.items()}
    key = fingerprint(model) | {"options": said}
    return kept(lambda: fit(measure(model, **options)), of_dict, key, fresh=fresh, folder=folder, say=say)


def kept(
    make: Callable[[], Made],
    parse: Callable[[Any], Made],
    key: dict[str, Any],
    *,
    fresh: bool,
    folder: Path | None,
    say: Say,
) -> Made:
    """What ``make`` measures: from the cache, where ``parse`` makes it of its fields, or made and kept there.

    ``key`` is all that it depends on. ``fresh`` measures in any case. A file that cannot be read, or a cache that
    cannot be written, is reported through ``say`` and never in the way. ``parse`` raises ValueError, KeyError or
    TypeError for what is spoilt.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
    path = (folder or cache_folder()) / f"{digest}.json"
    if not fresh and path.exists():
        try:
            return parse(_stored(path, key))
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"the costs in '{path}' cannot be used ({error}); measuring again.")
    made = make()
    try:
        save(made, path, key)
    except OSError as error:
        say(f"the costs cannot be kept in '{path}': {error}")
    return made


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
        "path": getattr(model, "path", ""),
        "kernels": bf16.loaded() is not None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


_NOT_SHAPE = {"_name_or_path", "transformers_version", "bos_token_id", "eos_token_id", "pad_token_id", "dtype"}


def save(cost: DataclassInstance, path: Path, key: dict[str, Any]) -> None:
    """Write costs and the key they belong to; a reader sees all of it or none."""
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


def load(path: Path) -> CostModel:
    """The cost model of a file. Raises OSError, and ValueError, KeyError or TypeError unless it is whole."""
    return of_dict(_stored(path))


def _stored(path: Path, key: dict[str, Any] | None = None) -> Any:
    """The fields of the costs in a file, which must be those of ``key`` if it is given."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError("it holds no costs")
    if key is not None and stored["key"] != json.loads(json.dumps(key, default=str)):
        raise ValueError("it belongs to another model or machine")
    return stored["cost"]


def of_dict(values: Any) -> CostModel:
    """A cost model of its fields; others are passed over. Raises ValueError, KeyError or TypeError for what is none."""
    known = {field.name: values[field.name] for field in fields(CostModel)}
    known |= {name: tuple(map(float, known[name])) for name in ("knots", "base")}
    cost = CostModel(**known | {"cells": tuple(Cell(**cell) for cell in known["cells"])})
    numbers = (*cost.knots, *cost.base, cost.per_key, cost.per_pair, cost.per_request)
    rising = all(list(row) == sorted(row) for row in (cost.knots, cost.base))
    whole = len(cost.knots) == len(cost.base) >= 2 and len(set(cost.knots)) == len(cost.knots)
    if cost.form not in FORMS or not whole or not rising or not all(math.isfinite(x) and x >= 0 for x in numbers):
        raise ValueError("its numbers make no sense")
    return cost
