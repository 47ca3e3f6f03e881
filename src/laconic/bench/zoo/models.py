"""Small random models of the causal decoders that the installed Transformers has."""

from __future__ import annotations

from typing import Any, cast

import torch
import transformers
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from laconic.bench.zoo.shrink import small_config
from laconic.errors import UnsupportedModel

EXCEPTIONS: dict[str, dict[str, Any]] = {}
"""What the shrinking by field names gets wrong, by model type."""


def kinds() -> list[str]:
    """The model types that Transformers has a causal language model for, in order."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def build(model_type: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A small model of this type with random weights on the CPU, in evaluation mode.

    Raises UnsupportedModel with the reason where it cannot be built (a missing package, a part that is not in
    Transformers ...).
    """
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    if name is None:
        raise UnsupportedModel(f"'{model_type}' is not a causal language model.", "kinds() lists those there are.")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            config = small_config(model_type, EXCEPTIONS)
            made = cast(PreTrainedModel, getattr(transformers, name)(config))
            enliven(made)
    except Exception as error:
        reason = str(error).strip().splitlines() or [""]
        raise UnsupportedModel(
            f"'{model_type}' cannot be built small: {type(error).__name__}: {reason[-1].strip()}",
            "Install the package it asks for, or add its fields to laconic.bench.zoo.",
        ) from error
    return made.to(dtype).eval().requires_grad_(False)


@torch.no_grad()
def enliven(model: PreTrainedModel) -> None:
    """Scale random weights so that logits depend on the text.

    Fresh models have matrices of standard deviation 0.02 and so nearly constant logits. Here products keep the size
    of what goes in, embeddings have size 1, and gains and biases are shaken by a tenth. What is large already (decay
    rates of recurrences and the like) stays as its architecture draws it.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for parameter in model.parameters():
        if parameter.dim() < 2:
            parameter.add_(0.1 * torch.randn_like(parameter))
            continue
        size = float(parameter.square().mean().sqrt())
        if size > _LARGE:
            continue
        target = 1.0 if id(parameter) in embeddings else max(parameter.shape[-2:]) ** -0.5
        if size == 0.0:
            parameter.normal_(std=target)
        else:
            parameter.mul_(target / size)


_LARGE = 0.5
"""Matrices with a root mean square above this keep their values."""
