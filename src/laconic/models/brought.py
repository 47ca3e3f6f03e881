"""Multi-token-prediction heads that checkpoints bring along, as Transformers reads them.

DeepSeek-V3, GLM-4.5 and others say in their configuration how many such layers there are, and their weights stand
behind those of the last layer. Qwen3-Next's and Qwen3.5's stand under ``mtp``; Transformers knows how to name them, and
leaves them in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from laconic.errors import UnmetNeed

_UNDER_MTP = ("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")
"""Model types whose configuration says nothing, or in words of its own, of the weights under ``mtp``: one layer of full
attention."""


@dataclass(eq=False)
class BroughtHead:
    """Such a head, a ``transformers`` MtpModel whose embedding and output are the target's own.

    ``norm`` is what stands between the target's last layer, ``layer``, and its output head; ``vocab`` the width of its
    logits. ``kept`` is for whoever runs it.
    """

    module: Any
    norm: nn.Module
    layer: int
    vocab: int
    kept: Any = None


def brought(model: Any) -> BroughtHead:
    """The head of this model's checkpoint, from the files that the model was read from.

    Raises UnmetNeed where there is none, where it is one that Transformers does not read, or where it was quantised.
    """
    try:
        from transformers.modeling_layers import MtpModel
    except ImportError as error:
        raise UnmetNeed("this version of Transformers reads no multi-token-prediction heads.", "Upgrade it.") from error

    kind = str(model.config.model_type)
    config = model.config.get_text_config()
    layers = getattr(config, "num_mtp_layers", None) or 0
    if not layers and kind in _UNDER_MTP:
        layers = getattr(config, "mtp_num_hidden_layers", None) or 1
        config.num_mtp_layers, config.mtp_layer_types = layers, ["full_attention"] * layers
    if not layers:
        raise UnmetNeed(
            f"a model of type '{kind}' brings no multi-token-prediction head that Transformers reads.",
            "Train a head: laconic fit head mtp OUT; then --drafter head:OUT.",
        )
    if getattr(model.config, "quantization_config", None) is not None:
        raise UnmetNeed("the multi-token-prediction head of a quantised checkpoint is not read.")
    kinds = set(getattr(config, "mtp_layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise UnmetNeed(f"this checkpoint's multi-token-prediction head has layers of {', '.join(sorted(kinds))}.")
    # Transformers finds such weights by the names that its model ignores, which are those of the releases' layers.
    last = int(config.num_hidden_layers)
    behind = {rf"model\.layers\.{last + i}\.." for i in range(layers)}
    model._keys_to_ignore_on_load_unexpected = behind | set(model._keys_to_ignore_on_load_unexpected or ())
    try:
        found: Any = MtpModel.from_pretrained(model)
    except (OSError, RuntimeError, ValueError) as error:
        raise UnmetNeed(
            "the multi-token-prediction head of this checkpoint could not be read: " + str(error).splitlines()[0],
            "Checkpoints are often passed on without it.",
        ) from error
    # The model's own attention may be that of slots by now; the head keeps entries of its own.
    found.config._attn_implementation = "sdpa" if type(model)._supports_sdpa else "eager"
    module = found.to(model.device, model.dtype).eval().requires_grad_(False)
    vocab = int(model.get_output_embeddings().weight.shape[0])
    return BroughtHead(module, model.get_decoder().norm, int(config.num_hidden_layers) - 1, vocab)
