"""Reading a checkpoint: what its folder or file is, what reading it needs, and whether it was all there."""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from laconic.errors import MissingExtra, ModelError, RequestError, UnsupportedModel
from laconic.models import adapters
from laconic.models.adapters import adapted
from laconic.models.configured import configured
from laconic.models.damage import readable
from laconic.models.defaults import read_defaults
from laconic.models.dfloat11.folder import is_compressed
from laconic.models.names import find

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_log = logging.getLogger(__name__)

_PACKAGES = {
    "awq": ("gptqmodel", "accelerate"),
    "gptq": ("gptqmodel", "optimum"),
    "bitsandbytes": ("bitsandbytes", "accelerate"),
    "bitsandbytes_4bit": ("bitsandbytes", "accelerate"),
    "bitsandbytes_8bit": ("bitsandbytes", "accelerate"),
    "compressed-tensors": ("compressed_tensors",),
    "fp8": ("accelerate",),
    "mxfp4": ("accelerate",),
    "torchao": ("torchao",),
}
"""Modules that Transformers needs for a quantised format; for others it says so itself."""


def source(name: str | Path) -> dict[str, Any]:
    """What Transformers' ``from_pretrained`` is given for a checkpoint; a .gguf file is named by folder and file.

    Raises MissingExtra for a .gguf file without the packages that read it.
    """
    path = Path(name)
    if path.suffix != ".gguf" or not path.is_file():
        return {"pretrained_model_name_or_path": str(name)}
    for module in ("gguf", "accelerate"):
        if find_spec(module) is None:
            raise MissingExtra(module, "gguf")
    return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


def read_config(name: str | Path) -> PreTrainedConfig:
    """The configuration of a checkpoint, of its base for an adapter.

    Raises ModelNotFound, ModelError for one that cannot be read, MissingExtra, and UnsupportedModel as :func:`needed`.
    """
    base = adapted(name)
    place = name if base is None else base
    try:
        find(place)
        config = configured(place, source(place))
    except ModelError as error:
        if base is not None:
            error.message += f" The adapter '{name}' is for it."
        raise
    needed(place, config)
    return config


def needed(name: str | Path, config: PreTrainedConfig) -> None:
    """Raise UnsupportedModel, naming the packages, for a quantised checkpoint that cannot be read without them."""
    missing = [module for module in _PACKAGES.get(_format(config) or "", ()) if find_spec(module) is None]
    if missing:
        packages = " ".join(module.replace("_", "-") for module in missing)
        raise UnsupportedModel(
            f"'{name}' is quantised as {_format(config)}, and {packages} is not installed.",
            f"Install it with: pip install {packages}.",
        )


def read_model(
    name: str | Path, *, dtype: Any, spread: bool = False, coded: bool = False, lora_scale: float | None = None
) -> PreTrainedModel:
    """The model at a path or hub name, complete. ``dtype`` is one of PyTorch's, or "auto" for the checkpoint's own.

    ``spread`` distributes its layers over all devices, which needs accelerate. ``coded`` keeps the weights of a folder
    that ``laconic compress-weights`` wrote as they are stored (models.dfloat11); they are decoded otherwise.
    ``lora_scale`` is an adapter's strength (adapters.merged), None as it was saved.

    Raises RequestError for ``coded`` where nothing is and as :func:`check_scale` does, ModelNotFound without weights,
    ModelError for files that cannot be read and naming weights that are missing or of another shape, UnsupportedModel
    for a format that needs what is not installed, MissingExtra; for an adapter what ``adapters.check`` and ``merged``
    do as well.
    """
    from transformers import AutoModelForCausalLM

    base = adapted(name)
    check_scale(name, lora_scale)
    if coded and not is_compressed(name):
        raise RequestError(f"the weights of '{name}' are not coded.", "Write a copy with laconic compress-weights.")
    if base is not None:
        scale = 1.0 if lora_scale is None else lora_scale
        adapters.check(name, base, scale)
        return adapters.merged(name, read_model(base, dtype=dtype, spread=spread), scale)
    if spread and find_spec("accelerate") is None:
        raise MissingExtra("accelerate", "spread")
    config = read_config(name)
    read_defaults(name)  # Transformers reads that file with the weights, and names neither it nor the entry
    given: dict[str, Any] = {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}
    given |= {"device_map": "auto"} if spread else {}
    with readable("weights", name):
        if is_compressed(name):
            from laconic.models.dfloat11.read import read

            model, info = read(name, config, given, coded=coded)
        else:
            model, info = AutoModelForCausalLM.from_pretrained(**source(name), **given)
    _complete(name, info)
    if Path(name).suffix == ".gguf":
        _log.warning("'%s': weights of a GGUF file, mostly quantised, are unpacked to %s", name, model.dtype)
    elif _format(config) == "fp8" and not torch.cuda.is_available():
        # Transformers unpacks to bfloat16 beside whatever was asked for, and the two do not multiply.
        chosen = torch.bfloat16 if dtype == "auto" else dtype
        _log.warning("'%s': FP8 weights are unpacked to %s on this device", name, chosen)
        model = model.to(chosen)
    return model


def check_scale(name: str | Path, scale: float | None) -> None:
    """Raise RequestError for a strength that is no finite number, or of what is no adapter; None is not said."""
    if scale is None:
        return
    if not math.isfinite(scale):
        raise RequestError(f"a LoRA cannot be scaled by {scale}.", "Say a finite number; 1 is the adapter as saved.")
    if adapted(name) is None:
        raise RequestError(f"'{name}' is no adapter, so there is no LoRA to scale.", "Leave out the scale.")


def _complete(name: str | Path, info: dict[str, Any]) -> None:
    """Refuse what would run on random weights; weights that the model has no use for are only counted."""
    if odd := sorted(info["mismatched_keys"]):
        key, found, expected = odd[0]
        raise ModelError(
            f"{len(odd)} of the weights of '{name}' are of another shape than its config.json says: {key} is "
            f"{list(found)}, not {list(expected)}.",
            "Fetch it again; weights and config.json must be of one checkpoint.",
        )
    if missing := sorted(info["missing_keys"]):
        shown = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise ModelError(
            f"'{name}' lacks {len(missing)} of the model's weights: {shown}.",
            "Fetch it again, or give a complete checkpoint.",
        )
    if unexpected := info["unexpected_keys"]:
        _log.warning("'%s': %d weights that the model has no use for are left out", name, len(unexpected))


def _format(config: PreTrainedConfig) -> str | None:
    """The name of a checkpoint's quantised format; None if it is not quantised."""
    said = getattr(config, "quantization_config", None)
    if said is None:
        return None
    method = said.get("quant_method") if isinstance(said, dict) else said.quant_method
    return str(getattr(method, "value", method))
