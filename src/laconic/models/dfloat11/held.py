"""Weights that stay coded in memory: those of a decoder layer are decoded when it runs, into a buffer that all share.

Between passes such a parameter is on the device ``meta``, so whoever looks at it is refused by PyTorch and never reads
another layer's weights; ``devices.fetched`` decodes a module's own for a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from laconic.errors import ModelError
from laconic.models.dfloat11.codec import Coded, Damaged

_ALIGN = 64
"""Values between whose multiples weights begin in the buffer; products are faster from there."""


class _Place(NamedTuple):
    """A parameter of a layer: its module and name there, what stands there between passes, and what during one."""

    module: nn.Module
    name: str
    between: nn.Parameter
    coded: Coded
    during: nn.Parameter


@dataclass(eq=False)
class Held:
    """What a model keeps coded. ``nbytes`` are those of all its weights as they are held, the buffer among them."""

    nbytes: int
    buffer: Tensor


_MODELS: WeakKeyDictionary[nn.Module, Held] = WeakKeyDictionary()
_OWN: WeakKeyDictionary[nn.Module, dict[str, Coded]] = WeakKeyDictionary()
"""By module: its own coded parameters."""


def held(model: Any) -> Held | None:
    """What a model keeps coded; None for one that keeps nothing so."""
    return _MODELS.get(model)


def hold(model: nn.Module, layers: nn.ModuleList, coded: Mapping[int, tuple[nn.Parameter, Coded]]) -> None:
    """Have ``layers`` decode their weights when they run; those of other modules are decoded here, for good.

    ``coded`` has them by the ids of the parameters that stand in their place.

    Raises Damaged, and ModelError where a parameter that is in no layer's place is left without weights.
    """
    inside = [_parameters(layer, coded) for layer in layers]
    within = {id(parameter) for found in inside for _, _, parameter in found}
    for key, (between, parts) in coded.items():
        if key not in within:
            _decode_for_good(model, between, parts)
    sizes = [sum(_aligned(parameter.numel()) for _, _, parameter in found) for found in inside]
    buffer = torch.empty(max(sizes), dtype=torch.bfloat16)
    for layer, found in zip(layers, inside, strict=True):
        places, at = [], 0
        for module, name, between in found:
            view = buffer[at : at + between.numel()].view(between.shape)
            places.append(_Place(module, name, between, coded[id(between)][1], nn.Parameter(view, requires_grad=False)))
            _OWN.setdefault(module, {})[name] = places[-1].coded
            at += _aligned(between.numel())
        _hook(layer, places)
    if lost := next((name for name, p in model.named_parameters() if p.is_meta and id(p) not in within), None):
        raise ModelError(f"'{lost}' was left without weights.", "Load the checkpoint decoded.")
    plain = sum(parameter.nbytes for parameter in model.parameters() if not parameter.is_meta)
    kept = sum(coded[key][1].nbytes for key in within)
    _MODELS[model] = Held(plain + kept + buffer.nbytes, buffer)


@contextmanager
def decoded(module: nn.Module) -> Iterator[bool]:
    """A module's own coded parameters decoded within, in memory of their own; says whether it has any."""
    own = _OWN.get(module, {})
    before = {name: module._parameters[name] for name in own}
    try:
        for name, parts in own.items():
            module._parameters[name] = nn.Parameter(parts.decode(), requires_grad=False)
        yield bool(own)
    finally:
        module._parameters.update(before)


def _hook(layer: nn.Module, places: list[_Place]) -> None:
    def show(*_: Any) -> None:
        for place in places:
            try:
                place.coded.decode_into(place.during.data.view(-1))
            except Damaged as error:
                raise ModelError(f"the coded weights of '{place.name}' are damaged: {error}.") from error
            place.module._parameters[place.name] = place.during

    def hide(*_: Any) -> None:
        for place in places:
            place.module._parameters[place.name] = place.between

    layer.register_forward_pre_hook(show)
    layer.register_forward_hook(hide, always_call=True)


def _parameters(layer: nn.Module, coded: Mapping[int, Any]) -> list[tuple[nn.Module, str, nn.Parameter]]:
    return [
        (module, name, parameter)
        for module in layer.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and id(parameter) in coded
    ]


def _decode_for_good(model: nn.Module, between: nn.Parameter, parts: Coded) -> None:
    """Put the weights in every place that this parameter has in a model, so that what is tied stays tied."""
    made = nn.Parameter(parts.decode(), requires_grad=False)
    for module, name, _ in _parameters(model, {id(between): None}):
        module._parameters[name] = made


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
