"""The models that this process holds, so that a record can say how they were run."""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakSet


class Described(Protocol):
    """Something that says what it is and how it is run."""

    def describe(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        ...


_HELD: WeakSet[Any] = WeakSet()


def note(model: Described) -> None:
    """A model has been loaded; it is forgotten when it goes."""
    _HELD.add(model)


def descriptions() -> list[dict[str, Any]]:
    """What each model says of itself, those that are alike once."""
    found: list[dict[str, Any]] = []
    for model in _HELD:
        told = model.describe()
        if told not in found:
            found.append(told)
    return sorted(found, key=lambda told: (-told["parameters"], told["path"], str(told)))
