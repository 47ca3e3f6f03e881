"""Passes through a part of a model's layers: what a model drafts with when it drafts for itself.

A decoder layer adds two things to the residual stream, what its attention and what its feed-forward network make of it.
Either can be left out, and everything behind still gets a stream of the width that it knows. What comes out is another,
cheaper model with the same weights, the same vocabulary and, for all that the whole model has read, the same cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from laconic.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The parts of a model's layers, counted from 0, that a pass leaves out. None by default."""

    attention: frozenset[int] = field(default_factory=frozenset)
    """Layers whose attention is left out."""
    mlp: frozenset[int] = field(default_factory=frozenset)
    """Layers whose feed-forward network is left out."""

    @staticmethod
    def without(layers: Iterable[int]) -> LayerPlan:
        """Leave these layers out whole."""
        gone = frozenset(layers)
        return LayerPlan(gone, gone)

    @staticmethod
    def first(layers: int, of: int) -> LayerPlan:
        """Keep the first ``layers`` of ``of``.

        >>> sorted(LayerPlan.first(2, of=4).mlp)
        [2, 3]
        """
        return LayerPlan.without(range(layers, of))

    @property
    def gone(self) -> frozenset[int]:
        """Layers of which nothing is left."""
        return self.attention & self.mlp

    @property
    def halves(self) -> bool:
        """Whether a layer is left out in part."""
        return self.attention != self.mlp

    def cost(self, layers: int) -> float:
        """The share of a model's ``layers`` that is left, attention and feed-forward counted alike.

        >>> LayerPlan(frozenset({0}), frozenset()).cost(2)
        0.75
        """
        return 1 - (len(self.attention) + len(self.mlp)) / (2 * layers)

    def beyond(self, layers: int) -> int | None:
        """The first layer that a model of ``layers`` layers does not have; None where there are all."""
        return min((layer for layer in self.attention | self.mlp if not 0 <= layer < layers), default=None)


WHOLE = LayerPlan()
"""Every layer."""


@contextmanager
def left_out(layers: nn.ModuleList, plan: LayerPlan) -> Iterator[None]:
    """Within, these decoder layers of Transformers pass on what they are given; whole layers only.

    Raises UnsupportedModel where a plan leaves out halves.
    """
    if plan.halves:
        raise UnsupportedModel("this model's layers can be left out only as a whole.", "Use plans of whole layers.")
    chosen: list[Any] = [layers[index] for index in sorted(plan.gone)]
    try:
        for layer in chosen:
            layer.forward = _pass_on
        yield
    finally:
        for layer in chosen:
            del layer.forward


def _pass_on(hidden_states: Any, *_: Any, **__: Any) -> Any:
    """In place of a layer's forward. Since Transformers 5 layers give one tensor, whatever their annotations say."""
    return hidden_states
