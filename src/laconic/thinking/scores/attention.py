"""Constraint attention: how much of what a thought looks at are the words of its instruction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from laconic.errors import RequestError, UnmetNeed

Span = tuple[int, int]
"""First token, and the one behind the last."""


def constraint_attention(weights: torch.Tensor, queries: Span, keys: Span) -> torch.Tensor:
    """The share of attention that goes from the tokens of ``queries`` to those of ``keys``, layer by layer.

    ``weights [layers, heads, q, k]``, rows summing to 1; the result ``[layers]`` is the mean over heads and queries.
    Catalogue 167 compares it with and without a thought before the answer. A text without any preference gives the
    mean of ``len(keys) / (position + 1)`` over the queries: divide by that to compare texts of different lengths.

    Raises RequestError for spans that are empty or outside of the text, and for rows that do not sum to 1.
    """
    if weights.dim() != 4:
        raise RequestError(f"attention must be [layers, heads, q, k], not {list(weights.shape)}.")
    for name, (start, end), size in (("query", queries, weights.shape[2]), ("key", keys, weights.shape[3])):
        if not 0 <= start < end <= size:
            raise RequestError(f"the {name} span ({start}, {end}) is empty or not within {size} tokens.")
    rows = weights[:, :, queries[0] : queries[1]].float()
    if not torch.allclose(rows.sum(-1), torch.ones(()), atol=1e-2):
        raise RequestError("attention rows do not sum to 1.", "Give weights after the softmax.")
    return rows[..., keys[0] : keys[1]].sum(-1).mean((1, 2))


def attentions(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """All attention weights ``[layers, heads, n, n]`` of a Transformers model over ``tokens``, in one plain pass.

    Only eager attention computes them whole; the model is set to it for this pass and set back. Memory grows with the
    square of the text. Raises RequestError for no tokens, UnmetNeed for a model that shows no attention.
    """
    if not tokens:
        raise RequestError("there are no tokens to read.")
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
        with torch.no_grad():
            ids = torch.tensor([list(tokens)], device=model.device)
            found = model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    finally:
        model.set_attn_implementation(before)
    if not found or any(layer is None for layer in found):
        raise UnmetNeed(
            f"{type(model).__name__} shows no attention weights.", "Use a model with eager attention in every layer."
        )
    return torch.stack([layer[0].float() for layer in found])
