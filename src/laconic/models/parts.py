"""A model's own weights by name, also where the project's kernels have taken them over in an order of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from laconic.models.packed import NativeProjection, PackedProjection, Projection


def rows(projection: Projection) -> Tensor:
    """The weight ``[out, in]`` of a projection. Raises ValueError for oneDNN's order, which cannot be read back."""
    if isinstance(projection, NativeProjection):
        return projection.native.rows(projection.weight, torch.arange(projection.out))
    if isinstance(projection, PackedProjection):
        raise ValueError("a weight in oneDNN's order cannot be read back")
    weight: Tensor = projection.weight  # type: ignore[attr-defined]
    return weight


def output_rows(target: Any, tokens: Tensor) -> Tensor:
    """Rows ``[tokens, width]`` of a CausalLM's output head."""
    weight: Tensor = target.model.get_output_embeddings().weight
    if not weight.numel():
        weight = rows(target.host.fast.head)
    return weight[tokens.to(weight.device)]


def last_norm(target: Any) -> Any:
    """The norm before a CausalLM's output head, to be called with ``[..., width]``; None where it was not found.

    Its ``weight [width]`` is its gain.
    """
    fast = getattr(target.host, "fast", None)
    return fast.norm if fast is not None else getattr(target.model.base_model, "norm", None)
