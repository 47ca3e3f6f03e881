"""Linear layers, laid out once in the order in which the CPU's kernels read them.

In bfloat16 PyTorch's ``F.linear`` reorders a weight at every call on a CPU, and a decoding pass is little else than
reading weights. Here they are reordered once, and what follows a product (adding the residual, gating) is done while
its result is still in registers. Elsewhere a projection is ``F.linear``.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Projection(Protocol):
    """``x W^T + b`` for ``x [nodes, in]``."""

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        ...

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """``residual + x W^T + b``, ``[nodes, out]``."""
        ...


class Gate(Protocol):
    """The gated half of an MLP: ``act(x W_gate^T) * (x W_up^T)`` for ``x [nodes, in]``."""

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, intermediate]``."""
        ...


class PlainProjection:
    """A projection by ``F.linear``."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        return F.linear(x, self.weight, self.bias)

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """``residual + x W^T + b``."""
        return residual + F.linear(x, self.weight, self.bias)

    def packed(self) -> PackedProjection:
        """The same, its weight reordered; a copy."""
        return PackedProjection(self.weight, self.bias)


class PlainGate:
    """A gate whose two weights are joined, ``[2 * intermediate, in]``, gate first."""

    def __init__(self, gate_up: Tensor, act: Any) -> None:
        self.gate_up, self.act = gate_up, act

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, intermediate]``."""
        gate, up = F.linear(x, self.gate_up).chunk(2, -1)
        return self.act(gate) * up  # type: ignore[no-any-return]

    def packed(self) -> PackedGate:
        """The same, its weights reordered; a copy."""
        return PackedGate(self.gate_up, self.act)


class PackedProjection:
    """A projection by oneDNN, from a reordered weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = _reorder(weight), bias

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """``residual + x W^T + b``; the sum is rounded once."""
        return torch.ops.mkldnn._linear_pointwise.binary(  # type: ignore[no-any-return]
            x, residual, self.weight, self.bias, "add"
        )


class PackedGate:
    """A gate by oneDNN; SiLU is computed on the product before it is rounded."""

    def __init__(self, gate_up: Tensor, act: Any) -> None:
        gate, up = gate_up.chunk(2)
        self.gate, self.up = _reorder(gate), _reorder(up)
        self.act = None if isinstance(act, torch.nn.SiLU) or type(act).__name__ == "SiLUActivation" else act

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, intermediate]``."""
        if self.act is None:
            gated = torch.ops.mkldnn._linear_pointwise(x, self.gate, None, "swish", [], "")
        else:
            gated = self.act(torch.ops.mkldnn._linear_pointwise(x, self.gate, None, "none", [], ""))
        return torch.ops.mkldnn._linear_pointwise.binary(x, gated, self.up, None, "mul")  # type: ignore[no-any-return]


def worthwhile(weight: Tensor) -> bool:
    """Whether a weight like this one gains by packing, and this build of PyTorch can do it."""
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


_NODES = 8
"""Nodes in a pass for which oneDNN chooses the layout; others run on it too."""


def _reorder(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _NODES)  # type: ignore[no-any-return]
