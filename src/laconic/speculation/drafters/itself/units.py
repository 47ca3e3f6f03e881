"""What a search may leave out, and how a choice of it is judged by a text that the target has read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from laconic.models.base import RunsParts, ScoreTree, Slot
from laconic.models.partial import LayerPlan
from laconic.speculation.drafters.itself.drafter import Own

Unit = tuple[str, int]
"""``attention``, ``mlp`` or, of models that run no halves, ``layer``; and of which layer."""


def units_of(target: RunsParts) -> list[Unit]:
    """All that can be left out. The first and the last layer always run, as the authors of such searches found best."""
    inner = range(1, target.num_layers - 1)
    kinds = ("attention", "mlp") if target.runs_halves else ("layer",)
    return [(kind, layer) for layer in inner for kind in kinds]


def plan_of(units: Iterable[Unit]) -> LayerPlan:
    """The plan that leaves these out."""
    gone: dict[str, set[int]] = {"attention": set(), "mlp": set(), "layer": set()}
    for kind, layer in units:
        gone[kind].add(layer)
    return LayerPlan(frozenset(gone["attention"] | gone["layer"]), frozenset(gone["mlp"] | gone["layer"]))


def looked_at(text: Sequence[int], begin: int, end: int) -> tuple[ScoreTree, Sequence[int]]:
    """The tokens ``begin`` to ``end`` of a text that a slot has read that far, to be scored by a plan, and the tokens
    that came behind each.

    Each is looked at behind what the whole model has read before it, as the first token of a draft is.
    """
    return ScoreTree(text[begin:end], [-1] * (end - begin), range(begin, end)), text[begin + 1 : end + 1]


def share_right(
    target: Any, plan: LayerPlan, trees: Sequence[ScoreTree], slots: Sequence[Slot], wanted: Sequence[int]
) -> float:
    """The share of the ``wanted`` tokens that the layers of a plan would have written behind the nodes of the trees of
    :func:`looked_at`, in one pass over all of them.
    """
    with target.partly(plan):
        scores = target.score(trees, slots)
    best = [token for i in range(len(trees)) for token in scores.best(i)]
    return sum(map(int.__eq__, best, wanted)) / len(wanted)


def named_right(state: Own, plan: LayerPlan, window: int) -> float | None:
    """The share of a request's last ``window`` tokens that a plan names right; None where the text has fewer."""
    tokens, slot = state.context.tokens, state.slot
    begin = slot.length - window
    if begin < 1 or slot.length >= len(tokens):
        return None
    tree, wanted = looked_at(tokens, begin, slot.length)
    return share_right(state.target, plan, [tree], [slot], wanted)


def logits_of(state: Own, states: torch.Tensor) -> torch.Tensor:
    """What the target's last norm and output head make of ``states [n, hidden_size]``: ``[n, vocab]``."""
    target: Any = state.target
    nothing = LayerPlan.without(range(target.num_layers))
    tree = ScoreTree([state.context.tokens[0]] * len(states), [-1] * len(states))
    with target.partly(nothing, lambda x: states.to(x.dtype)):
        found: torch.Tensor = target.score([tree], [state.slot]).of(0)
    return found
