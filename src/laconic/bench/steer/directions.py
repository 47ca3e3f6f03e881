"""What parts concise from verbose texts in a model's residual stream, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from laconic.bench.steer.pairs import Pair, thought
from laconic.models.base import Steerable
from laconic.models.text import Text

How = Literal["mean", "pca"]
At = Literal["mean", "last"]


@dataclass(frozen=True, slots=True)
class Found:
    """A layer's direction: the unit vector ``[hidden]``, the stream's mean length, and how far the texts lie apart.

    The latter is the length of the mean difference as a share of the former.
    """

    vector: Tensor
    norm: float
    parted: float


def found(
    model: Steerable,
    text: Text,
    pairs: Sequence[Pair],
    layers: Sequence[int],
    *,
    how: How = "mean",
    at: At = "mean",
    after: Callable[[int], Any] = lambda done: None,
) -> dict[int, Found]:
    """The direction from verbose to concise at each of ``layers``.

    A text stands for the mean of its states over the thought (``at="mean"``), or for the last of them, as in ASC
    (``"last"``). ``how="mean"`` takes the mean of the pairs' differences, each problem counting once. ``"pca"`` takes
    the first principal component of the differences about the origin, the way that they mostly lie, on the side of
    their mean. ``after`` is told how many texts are read.
    """
    seen: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
    for pair in pairs:
        for tokens in (pair.concise, pair.verbose):
            whole = pair.prompt + tokens
            if whole not in seen:
                seen[whole] = _read(model, whole, thought(text, pair.prompt, tokens), layers, at)
                after(len(seen))
    differences = torch.stack([seen[p.prompt + p.concise][0] - seen[p.prompt + p.verbose][0] for p in pairs], dim=1)
    counts = {p.prompt: 0 for p in pairs}
    for p in pairs:
        counts[p.prompt] += 1
    weights = torch.tensor([1 / counts[p.prompt] for p in pairs])
    norms = torch.stack([lengths for _, lengths in seen.values()]).mean(0).tolist()
    return {
        layer: _direction(part, weights / weights.sum(), norm, how)
        for layer, part, norm in zip(layers, differences, norms, strict=True)
    }


def _read(
    model: Steerable, tokens: Sequence[int], places: Sequence[int], layers: Sequence[int], at: At
) -> tuple[Tensor, Tensor]:
    """What a text stands for, ``[layers, hidden]``, and its stream's mean lengths ``[layers]``, in float32."""
    states = model.residuals(tokens, layers)
    parts = [states[layer][list(places)].float().cpu() for layer in layers]
    stands = [part.mean(0) if at == "mean" else part[-1] for part in parts]
    return torch.stack(stands), torch.stack([part.norm(dim=-1).mean() for part in parts])


def _direction(differences: Tensor, weights: Tensor, norm: float, how: How) -> Found:
    """From ``differences [pairs, hidden]``, weighted."""
    mean = weights @ differences
    vector = mean
    if how == "pca":
        _, _, components = torch.linalg.svd(differences * weights.sqrt()[:, None], full_matrices=False)
        vector = components[0] * (1.0 if float(components[0] @ mean) >= 0 else -1.0)
    return Found(vector / vector.norm(), norm, float(mean.norm()) / norm)
