"""A model's own weights by name, also where the project's kernels have taken them over in an order of their own."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from laconic.models.packed import NativeProjection


def output_rows(target: Any, tokens: Tensor) -> Tensor:
    """Rows ``[tokens, width]`` of a CausalLM's output head."""
    weight: Tensor = target.model.get_output_embeddings().weight
    if weight.numel():
        return weight[tokens.to(weight.device)]
    head = target.host.fast.head  # its passes have taken the weight over
    if isinstance(head, NativeProjection):
        return head.native.rows(head.weight, tokens)
    dense: Tensor = head.weight.to_dense()
    return dense[tokens]


def last_norm(target: Any) -> Any:
    """The norm before a CausalLM's output head, to be called with ``[..., width]``; None where it was not found.

    Its ``weight [width]`` is its gain.
    """
    fast = getattr(target.host, "fast", None)
    return fast.norm if fast is not None else getattr(target.model.base_model, "norm", None)
