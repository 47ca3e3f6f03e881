"""The slow way to steer: Transformers' own modules with vectors added by hooks, everything computed anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from laconic.models.base import Steerable
from laconic.models.steering import decoder_layers
from laconic.thinking.steer.direction import About, Direction, LayerAbout


def vectors(*layers: int, seed: int = 0, width: int = 32, scale: float = 0.05) -> dict[int, torch.Tensor]:
    """A random vector for each layer, about as long as the residual stream of the random models is."""
    generator = torch.Generator().manual_seed(seed)
    return {layer: scale * torch.randn(width, generator=generator) for layer in layers}


def logits(
    model: PreTrainedModel, tokens: Sequence[int], added: Mapping[int, torch.Tensor], start: int
) -> torch.Tensor:
    """Logits ``[vocab]`` after ``tokens``, the vectors added at positions ``start`` and later."""
    layers = decoder_layers(model, model.config.num_hidden_layers)
    assert layers is not None

    def adding(vector: torch.Tensor) -> Callable[[Any, Any, Any], Any]:
        def hook(module: Any, given: Any, output: Any) -> Any:
            x = (output[0] if isinstance(output, tuple) else output).clone()
            x[:, start:] += vector
            return (x, *output[1:]) if isinstance(output, tuple) else x

        return hook

    hooks = [layers[index].register_forward_hook(adding(vector)) for index, vector in added.items()]
    try:
        with torch.inference_mode():
            row: torch.Tensor = model(torch.tensor([list(tokens)])).logits[0, -1]
            return row
    finally:
        for hook in hooks:
            hook.remove()


def direction(model: Steerable, *, layer: int = 1, norm: float = 0.2) -> Direction:
    """A made-up direction for a model, with a table of divergences."""
    units = {index: vector / vector.norm() for index, vector in vectors(0, 1, width=model.hidden_size).items()}
    table = tuple((sign * s, s**2 * (1 if sign > 0 else 4)) for sign in (-1, 1) for s in (0.1, 0.5, 2.0))
    layers = tuple(LayerAbout(index, norm, 0.1, table) for index in units)
    return Direction(units, About(model.fingerprint(), layer, 0.25, "mean", "mean", 3, layers))


def spec(folder: Path, model: Steerable) -> str:
    """Write such a direction and name the controller that goes by it."""
    direction(model).save(folder / "direction")
    return f"steer:{folder / 'direction'}"
