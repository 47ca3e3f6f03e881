"""Vectors added to the residual stream of a pass, and the stream read: both by what is done behind a decoder layer.

Both forward passes of a CausalLM take a mapping ``after`` from a layer's index to a *touch*, a function that is given
the layer's output and returns what goes on in its place. An empty mapping, the usual case, costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laconic.errors import UnsupportedModel
from laconic.models.slot_pass import SlotPass

Touch = Callable[[Tensor], Tensor]
"""Output of a layer in, ``[nodes, hidden]``; what the next layer is given out. It may write to its argument."""
Touches = Mapping[int, Touch]

NOWHERE: Touches = {}


@dataclass(frozen=True, slots=True)
class Steering:
    """What is added to a slot's residual stream: vector l behind layer l, at positions ``start`` and later.

    Vectors are ``[hidden]``, in the model's type and on its device.
    """

    vectors: Mapping[int, Tensor]
    start: int


@dataclass(frozen=True, slots=True)
class _Push:
    """Adds ``vectors`` (``[nodes, hidden]``, or one for all) to the rows ``nodes``; None for every row.

    Each element is one sum of two numbers, so a node's outcome does not depend on the pass that it is in.
    """

    nodes: Tensor | None
    vectors: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        if self.nodes is None:
            return x.add_(self.vectors)
        return x.index_copy_(0, self.nodes, x.index_select(0, self.nodes) + self.vectors)


def pushes(now: SlotPass, slots: Sequence[tuple[int, int, Steering | None]], *, padded: bool) -> Touches:
    """What the steerings of a pass's slots do to it; ``slots`` are (row of the pass, number of nodes, steering).

    ``padded`` says how the pass lays its nodes out: ``rows * width`` of them, or the real ones alone.
    """
    positions = now.positions.tolist()
    found: dict[int, list[tuple[int, Tensor]]] = {}
    for row, size, steering in slots:
        if steering is None:
            continue
        first = row * now.width if padded else now.starts[row]
        nodes = [first + i for i in range(size) if positions[row][i] >= steering.start]
        for layer, vector in steering.vectors.items():
            found.setdefault(layer, []).extend((node, vector) for node in nodes)
    total = now.rows * now.width if padded else sum(size for _, size, _ in slots)
    return {layer: _push(some, total) for layer, some in found.items() if some}


def _push(some: Sequence[tuple[int, Tensor]], total: int) -> _Push:
    vectors = [vector for _, vector in some]
    alike = all(vector is vectors[0] for vector in vectors)
    if alike and len(some) == total:
        return _Push(None, vectors[0])
    nodes = torch.tensor([node for node, _ in some], device=vectors[0].device)
    return _Push(nodes, vectors[0] if alike else torch.stack(vectors))


@contextmanager
def hooked(layers: nn.ModuleList | None, after: Touches, nodes: tuple[int, int]) -> Iterator[None]:
    """Have Transformers' own ``layers`` touched while the context lasts; their outputs are ``[*nodes, hidden]``.

    Raises UnsupportedModel where the layers are not known, or give something else.
    """
    hooks = []
    try:
        for index, touch in after.items():
            hooks.append(_modules(layers)[index].register_forward_hook(_hook(touch, nodes)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(touch: Touch, nodes: tuple[int, int]) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, given: Any, output: Any) -> Any:
        x, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        if tuple(x.shape[:-1]) != nodes:
            raise UnsupportedModel(
                f"a layer of this model gives {list(x.shape)}, not one state a token.", "It cannot be steered."
            )
        touched = touch(x.flatten(0, 1)).view(x.shape)
        return touched if rest is None else (touched, *rest)

    return hook


def _modules(layers: nn.ModuleList | None) -> nn.ModuleList:
    if layers is None:
        raise UnsupportedModel("the decoder layers of this model were not found.", "It cannot be steered.")
    return layers


def decoder_layers(model: Any, count: int) -> nn.ModuleList | None:
    """The ``count`` decoder layers of a Transformers model, in order; None where they are not one list of modules."""
    lists = (m for m in model.base_model.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
    return next(lists, None)
