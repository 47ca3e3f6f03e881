"""Linear layers, laid out once in the order in which the CPU's kernels read them.

In bfloat16 PyTorch's ``F.linear`` reorders a weight at every call on a CPU, and a decoding pass is little else than
reading weights. Here they are reordered once: for the project's own kernel where it can be had (``native``), which
reads them as fast as the memory gives them, otherwise for oneDNN's. Elsewhere a projection is ``F.linear``.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from laconic.models.native.bf16 import Kernels, kernels


class Projection(Protocol):
    """``x W^T + b`` for ``x [nodes, in]``."""

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        ...

    def packed(self) -> Projection:
        """The same with its weight reordered; a copy."""
        ...

    def only(self, outputs: Tensor) -> Projection:
        """The same for some ``outputs [kept]`` alone, in that order; a copy."""
        ...


class PlainProjection:
    """A projection by ``F.linear``."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        return F.linear(x, self.weight, self.bias)

    def packed(self) -> Projection:
        """The same with its weight reordered, a copy; this one where nothing reads another order."""
        native = kernels()
        if native is not None and self.weight.shape[1] % 2 == 0:
            return NativeProjection(native, self.weight, self.bias)
        return PackedProjection(self.weight, self.bias) if _reorders() else self

    def only(self, outputs: Tensor) -> PlainProjection:
        """The same for some outputs alone."""
        return PlainProjection(self.weight[outputs], _some(self.bias, outputs))


class NativeProjection:
    """A projection by the project's own kernel, from a reordered weight."""

    def __init__(self, native: Kernels, weight: Tensor, bias: Tensor | None = None) -> None:
        self.native, self.out, self.bias = native, weight.shape[0], bias
        self.weight = native.pack(weight)

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        return self.native.linear(x, self.weight, self.out, self.bias)

    def packed(self) -> NativeProjection:
        """This one."""
        return self

    def only(self, outputs: Tensor) -> NativeProjection:
        """The same for some outputs alone: their rows are picked out of the reordered weight."""
        return NativeProjection(self.native, self.native.rows(self.weight, outputs), _some(self.bias, outputs))


class PackedProjection:
    """A projection by oneDNN, from a reordered weight."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = _reorder(weight), bias

    def __call__(self, x: Tensor) -> Tensor:
        """``[nodes, out]``."""
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")  # type: ignore[no-any-return]

    def packed(self) -> PackedProjection:
        """This one."""
        return self

    def only(self, outputs: Tensor) -> PackedProjection:
        """The same for some outputs alone."""
        return PackedProjection(self.weight.to_dense()[outputs], _some(self.bias, outputs))


def _some(bias: Tensor | None, outputs: Tensor) -> Tensor | None:
    return None if bias is None else bias[outputs]


def worthwhile(weight: Tensor) -> bool:
    """Whether a weight like this one gains by packing."""
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return False
    return kernels() is not None or _reorders()


def _reorders() -> bool:
    """Whether this build of PyTorch has oneDNN's products from reordered weights, and this processor can do them."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


_NODES = 8
"""Nodes in a pass for which oneDNN chooses the layout; others run on it too."""


def _reorder(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _NODES)  # type: ignore[no-any-return]
