"""Plans of layers to leave out, as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from laconic.errors import HeadError
from laconic.models.partial import LayerPlan

_FORMAT = "laconic-layer-plan-1"
_HINT = "Make one with laconic fit skip."


def write_plan(file: str | Path, plan: LayerPlan, fingerprint: str, about: Mapping[str, Any]) -> None:
    """Write, as JSON, what is left out of the model with this ``fingerprint``; ``about`` goes with it."""
    said = {"format": _FORMAT, "fingerprint": fingerprint, "without_attention": sorted(plan.attention)}
    said |= {"without_mlp": sorted(plan.mlp), **about}
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def read_plan(file: str | Path) -> tuple[LayerPlan, str]:
    """The plan, and the fingerprint of its model. Raises HeadError for a file that is not there or damaged."""
    try:
        said = json.loads(Path(file).read_text(encoding="utf-8"))
        if said["format"] != _FORMAT:
            raise ValueError("no plan of layers")
        parts = (frozenset(int(layer) for layer in said[name]) for name in ("without_attention", "without_mlp"))
        return LayerPlan(*parts), str(said["fingerprint"])
    except OSError as error:
        raise HeadError(f"no plan at '{file}': {error.strerror or error}.", _HINT) from error
    except (ValueError, TypeError, KeyError) as error:
        raise HeadError(f"the plan at '{file}' is damaged: {error}", _HINT) from error
