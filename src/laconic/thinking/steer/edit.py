"""ThinkEdit: a way of thinking taken out of the weights of the attention heads that bring it in.

Source: "ThinkEdit: Interpretable Weight Editing to Mitigate Overly Short Thinking in Reasoning Models". There the
*short* way is taken out, so that thoughts grow longer; the same edit with the other sign takes the *long* way out. The
edited model is an ordinary one: nothing has to be done while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from laconic.errors import RequestError, UnsupportedModel
from laconic.models.steering import decoder_layers

Way = Literal["long", "short"]
"""Which thinking is taken out."""
Example = tuple[Sequence[int], Sequence[int]]
"""A text in tokens, and the places of its thought."""


@dataclass(frozen=True, slots=True)
class Head:
    """An attention head, and how much it brings in of the way that is to go: the mean projection of its output."""

    layer: int
    head: int
    score: float


def outputs(model: Any, examples: Sequence[Example]) -> list[Tensor]:
    """What each head adds to the residual stream in the thought, ``[heads, hidden]`` for each layer.

    It is the mean over a text's places, then over texts. A head's output is its block of columns of ``o_proj``'s weight
    times its part of that map's input; a bias belongs to no head. Raises UnsupportedModel where there is no ``o_proj``.
    """
    projections = _projections(model)
    sums = [torch.zeros(p.in_features, dtype=torch.float64) for p in projections]
    places: list[int] = []

    def keep(total: Tensor) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            total.add_(given[0][0, places].double().mean(0).cpu())

        return hook

    hooks = [p.register_forward_pre_hook(keep(total)) for p, total in zip(projections, sums, strict=True)]
    try:
        with torch.inference_mode():
            for tokens, some in examples:
                places[:] = some
                model.base_model(input_ids=torch.tensor([list(tokens)], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return [_by_head(p, total / len(examples), _heads(model)) for p, total in zip(projections, sums, strict=True)]


def directions(short: Sequence[Tensor], long: Sequence[Tensor]) -> dict[int, Tensor]:
    """ThinkEdit's directions of long thinking: unit vectors ``[hidden]`` by layer, from what :func:`outputs` found.

    A layer's is the mean attention output over long thoughts minus that over short ones.
    """
    parts = (b.sum(0) - a.sum(0) for a, b in zip(short, long, strict=True))
    return {layer: part / part.norm() for layer, part in enumerate(parts)}


def ranked(found: Sequence[Tensor], vectors: Mapping[int, Tensor]) -> list[Head]:
    """All heads of the layers that have a vector, those first that bring most of it in; ``found`` as of ``outputs``."""
    heads = [
        Head(layer, head, float(found[layer][head] @ vector.to(found[layer])))
        for layer, vector in vectors.items()
        for head in range(len(found[layer]))
    ]
    return sorted(heads, key=lambda head: -head.score)


@torch.no_grad()
def take_out(model: Any, heads: Sequence[Head], vectors: Mapping[int, Tensor], weight: float = 1.0) -> None:
    """Edit ``model`` in place: with ``weight`` 1 these heads' outputs have no component along their layer's vector.

    ``W <- W - weight * v v^T W`` for a head's columns W of ``o_proj``'s weight ``[hidden, heads * dim]``.
    """
    projections, count = _projections(model), _heads(model)
    for head in heads:
        whole = projections[head.layer].weight
        dim = whole.shape[1] // count
        columns = whole[:, head.head * dim : (head.head + 1) * dim]
        w, v = columns.double(), vectors[head.layer].to(whole.device, torch.float64)
        columns.copy_(w - weight * torch.outer(v / v.norm() ** 2, v @ w))


def edit(
    model: Any,
    short: Sequence[Example],
    long: Sequence[Example],
    *,
    way: Way = "long",
    share: float = 0.04,
    weight: float = 1.0,
    vectors: Mapping[int, Tensor] | None = None,
) -> list[Head]:
    """Take one way of thinking out of the share of ``model``'s heads that bring most of it in; returns these heads.

    Heads are scored over the examples of the way that is to go. ``vectors`` are directions of long thinking by layer;
    None for ThinkEdit's own, from these examples. At least one head is edited. Raises RequestError without examples.
    """
    if not short or not long:
        raise RequestError("there are no examples of short, or none of long thoughts.", "Fit the direction on more.")
    brief, wordy = outputs(model, short), outputs(model, long)
    towards = vectors or directions(brief, wordy)
    if way == "short":
        towards = {layer: -vector for layer, vector in towards.items()}
    heads = ranked(wordy if way == "long" else brief, towards)
    chosen = heads[: max(1, round(share * len(brief) * _heads(model)))]
    take_out(model, chosen, towards, weight)
    return chosen


def _projections(model: Any) -> list[nn.Linear]:
    layers = decoder_layers(model, int(model.config.get_text_config().num_hidden_layers))
    found = [getattr(getattr(layer, "self_attn", None), "o_proj", None) for layer in layers or ()]
    if not found or not all(isinstance(p, nn.Linear) for p in found):
        raise UnsupportedModel(
            f"'{model.config.model_type}' has no linear map self_attn.o_proj in its layers.",
            "Models of the Llama family have.",
        )
    return [p for p in found if isinstance(p, nn.Linear)]


def _heads(model: Any) -> int:
    return int(model.config.get_text_config().num_attention_heads)


def _by_head(projection: nn.Linear, mean: Tensor, heads: int) -> Tensor:
    """``[heads, hidden]`` from the mean input ``[heads * dim]``."""
    weight = projection.weight.detach().double().cpu()
    return torch.einsum("ohd,hd->ho", weight.view(len(weight), heads, -1), mean.view(heads, -1))
