"""laconic: reasoning models that answer with fewer tokens, each token sooner, and proof of what was kept."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laconic.engine import Engine, Methods, Stream
    from laconic.errors import LaconicError
    from laconic.models.formats import Format
    from laconic.policy import Card, Needs, Policy, knobs, registry
    from laconic.remote import RemoteEngine
    from laconic.types import Event, Limits, Request, Result, Sampling, Step, Usage

__all__ = [
    "Card",
    "Engine",
    "Event",
    "Format",
    "LaconicError",
    "Limits",
    "Methods",
    "Needs",
    "Policy",
    "RemoteEngine",
    "Request",
    "Result",
    "Sampling",
    "Step",
    "Stream",
    "Usage",
    "knobs",
    "registry",
]

_HOMES = {
    "engine": ("Engine", "Methods", "Stream"),
    "errors": ("LaconicError",),
    "models.text": ("Format",),
    "remote": ("RemoteEngine",),
    "policy": ("Card", "Needs", "Policy", "knobs", "registry"),
    "types": ("Event", "Limits", "Request", "Result", "Sampling", "Step", "Usage"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``laconic --help`` need not wait for PyTorch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"laconic.{home}"), name)
    raise AttributeError(f"module 'laconic' has no attribute '{name}'")
