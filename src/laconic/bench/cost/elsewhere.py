"""What a comparison's counted passes would take on named hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from laconic.bench.cost.anatomy import Anatomy
from laconic.bench.cost.hardware import Hardware
from laconic.bench.cost.roofline import DEFAULT, Knobs, predict
from laconic.types import Usage


def predicted(
    usages: Mapping[str, Usage],
    requests: int,
    batch: int,
    target: Any,
    draft: Any,
    devices: Sequence[Hardware],
    reference: str = "baseline",
    knobs: Knobs = DEFAULT,
) -> dict[str, Any]:
    """Predicted seconds of each variant on each device, and their ratio to ``reference``.

    ``usages`` are sums over ``requests`` requests; ``target`` and ``draft`` are Transformers configs (``draft`` may be
    None). Controllers, drafting without a model, and everything else that is no pass is taken as free.
    """
    big, small = Anatomy.of(target), Anatomy.of(draft) if draft is not None else None
    found: dict[str, Any] = {}
    for device in devices:
        seconds = {}
        for name, usage in usages.items():
            made = predict(usage, big, device, draft=small, requests=requests, batch=batch, knobs=knobs)
            seconds[name] = made.seconds
        found[device.name] = {
            "title": device.title,
            "seconds": {name: value / requests for name, value in seconds.items()},
            "ratio": {name: value / seconds[reference] for name, value in seconds.items()},
        }
    return found


def in_words(found: dict[str, Any] | None, reference: str = "baseline") -> list[str]:
    """One sentence a device."""
    said = []
    for device in (found or {}).values():
        shares = ", ".join(f"{name} {share:.2f}" for name, share in device["ratio"].items() if name != reference)
        said.append(f"predicted on {device['title']} by its roofline, plain decoding = 1: {shares}")
    return said
