"""Directions along which thoughts grow shorter, and the folder that they are kept in.

A direction is a folder with ``direction.safetensors`` (a unit vector for each layer) and ``direction.json`` (what they
are, what was measured with them, and on which model). ``laconic fit steer`` writes one; ``steer`` goes by it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.errors import DirectionError, InvalidKnob
from laconic.models.base import Steerable

VECTORS, ABOUT, PAIRS = "direction.safetensors", "direction.json", "pairs.jsonl"
FIT = "Fit one for this model: laconic fit steer OUT; then steer:OUT."
"""The hint that says where a direction comes from."""


@dataclass(frozen=True, slots=True)
class LayerAbout:
    """What is known of one layer's direction.

    ``norm`` is the mean length of the residual stream behind the layer along thoughts: the unit of strength.
    ``parted`` is how far concise and verbose texts lie apart, in that unit. ``kl`` are pairs of a strength and the
    mean divergence of next tokens that it makes, by rising strength, negative ones included. ``flipped`` says that
    concise minus verbose made thoughts longer here, so that the vector is its opposite. ``effect`` is what was measured
    on held-out problems.
    """

    layer: int
    norm: float
    parted: float
    kl: Sequence[Sequence[float]] = ()
    flipped: bool = False
    effect: Mapping[str, Any] = field(default_factory=dict)

    def strength(self, kl: float, sign: int = 1) -> float:
        """The least strength of this sign at which the divergence reaches ``kl``. Raises InvalidKnob beyond the table.

        Between two measured strengths the divergence's root is taken to be linear, as it is for small pushes.
        """
        below, low = 0.0, 0.0
        for above, high in sorted((abs(s), kl_) for s, kl_ in self.kl if s * sign > 0):
            if high >= kl:
                share = (math.sqrt(kl) - math.sqrt(low)) / (math.sqrt(high) - math.sqrt(low))
                return sign * (below + share * (above - below))
            below, low = above, high
        raise InvalidKnob(
            f"no strength up to {below:g} was found to make a divergence of {kl:g} after layer {self.layer}.",
            "Ask for less, or name a strength.",
        )


@dataclass(frozen=True, slots=True)
class About:
    """What a direction is. ``model`` is the fingerprint of the model that it was fitted on.

    ``layer`` is the layer chosen, ``limit`` the divergence at which layers were compared. ``how``, ``at`` and ``pairs``
    say what it was made of; ``free`` is the model as it is on the held-out problems.
    """

    model: str
    layer: int
    limit: float
    how: Literal["mean", "pca"]
    at: Literal["mean", "last"]
    pairs: int
    layers: Sequence[LayerAbout]
    free: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def of(self, layer: int | None = None) -> LayerAbout:
        """What is known of a layer; of the chosen one for None. Raises InvalidKnob for a layer without a direction."""
        wanted = self.layer if layer is None else layer
        for known in self.layers:
            if known.layer == wanted:
                return known
        fitted = ", ".join(str(known.layer) for known in self.layers)
        raise InvalidKnob(f"there is no direction for layer {wanted}.", f"There is one for layers {fitted}.")


@dataclass(frozen=True)
class Direction:
    """Unit vectors ``[hidden]`` by layer, in float32, and what they are. Along them thoughts grow shorter."""

    vectors: Mapping[int, Tensor]
    about: About

    def save(self, folder: str | Path) -> None:
        """Write it into ``folder``, which is made where there is none."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        save_file({str(layer): v.contiguous() for layer, v in self.vectors.items()}, place / VECTORS)
        (place / ABOUT).write_text(json.dumps(asdict(self.about), indent=1) + "\n", encoding="utf-8")

    def suits(self, model: Any) -> None:
        """Raise DirectionError unless it was fitted on ``model``."""
        found = model.fingerprint() if isinstance(model, Steerable) else "unknown"
        if found != self.about.model:
            raise DirectionError(
                f"the direction was fitted on another model (fingerprint {self.about.model}, this one is {found}).", FIT
            )

    def control(self, layer: int, seed: int) -> Tensor:
        """A random unit vector ``[hidden]``: what a push does that has the length and not the direction."""
        made = torch.randn(len(self.vectors[layer]), generator=torch.Generator().manual_seed(seed))
        unit: Tensor = made / made.norm()
        return unit


def load(folder: str | Path) -> Direction:
    """Read what ``save`` wrote. Raises DirectionError for what is missing or damaged."""
    place = Path(folder)
    try:
        said = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        said["layers"] = tuple(LayerAbout(**layer) for layer in said["layers"])
        about = About(**said)
        vectors = {int(name): vector for name, vector in load_file(place / VECTORS).items()}
    except OSError as error:
        raise DirectionError(f"no direction at '{folder}': {error.strerror or error}.", FIT) from error
    except (ValueError, TypeError, KeyError, SafetensorError) as error:
        raise DirectionError(f"the direction at '{folder}' is damaged: {str(error).splitlines()[0]}", FIT) from error
    if vectors.keys() != {layer.layer for layer in about.layers} or about.layer not in vectors:
        raise DirectionError(f"the direction at '{folder}' is damaged: its files name different layers.", FIT)
    return Direction(vectors, about)
