"""Reading a checkpoint: what its folder or file is, what reading it needs, and whether it was all there."""

from __future__ import annotations

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from laconic.errors import MissingExtra, ModelError, ModelNotFound, UnsupportedModel
from laconic.models.specimen import located

FIND = "Give a directory with config.json and weights, a .gguf file, a hub name, or 'bundled'."
ADAPTER = "adapter_config.json"
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


def adapted(name: str | Path) -> str | None:
    """The checkpoint that a LoRA adapter folder is for; None for anything else.

    Raises ModelError if it names none, ModelNotFound if it is for a specimen that was not made yet.
    """
    file = Path(name) / ADAPTER
    if not file.is_file() or (Path(name) / "config.json").is_file():
        return None
    try:
        base = json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{file}' does not name the checkpoint that it adapts.", FIND) from error
    return located(str(base))


def read_config(name: str | Path) -> PreTrainedConfig:
    """The configuration of a checkpoint. Raises ModelNotFound, MissingExtra, and UnsupportedModel as :func:`needed`."""
    base = adapted(name)
    try:
        config = AutoConfig.from_pretrained(**source(name if base is None else base))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no model at '{name}': {_first_line(error)}", FIND) from error
    needed(name, config)
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


def read_model(name: str | Path, *, dtype: Any, spread: bool = False) -> PreTrainedModel:
    """The model at a path or hub name, complete. ``dtype`` is one of PyTorch's, or "auto" for the checkpoint's own.

    ``spread`` distributes its layers over all devices, which needs accelerate.

    Raises ModelNotFound without weights, ModelError naming weights that are missing, UnsupportedModel for a format that
    needs what is not installed, MissingExtra.
    """
    base = adapted(name)
    if base is not None:
        return _merged(name, base, dtype, spread=spread)
    if spread and find_spec("accelerate") is None:
        raise MissingExtra("accelerate", "spread")
    config = read_config(name)
    given = source(name) | ({"device_map": "auto"} if spread else {})
    try:
        model, info = AutoModelForCausalLM.from_pretrained(**given, dtype=dtype, output_loading_info=True)
    except OSError as error:
        raise ModelNotFound(f"no weights at '{name}': {_first_line(error)}", FIND) from error
    except (ImportError, NotImplementedError) as error:
        raise UnsupportedModel(f"'{name}' cannot be read: {_first_line(error)}") from error
    _complete(name, info)
    if Path(name).suffix == ".gguf":
        _log.warning("'%s': weights of a GGUF file, mostly quantised, are unpacked to %s", name, model.dtype)
    elif _format(config) == "fp8" and not torch.cuda.is_available():
        # Transformers unpacks to bfloat16 beside whatever was asked for, and the two do not multiply.
        chosen = torch.bfloat16 if dtype == "auto" else dtype
        _log.warning("'%s': FP8 weights are unpacked to %s on this device", name, chosen)
        model = model.to(chosen)
    return model


def _merged(name: str | Path, base: str, dtype: Any, *, spread: bool) -> PreTrainedModel:
    if find_spec("peft") is None:
        raise UnsupportedModel(
            f"'{name}' is an adapter of '{base}', and peft is not installed.", "Install it with: pip install peft."
        )
    from peft import PeftModel

    return PeftModel.from_pretrained(read_model(base, dtype=dtype, spread=spread), str(name)).merge_and_unload()


def _complete(name: str | Path, info: dict[str, Any]) -> None:
    """Refuse what would run on random weights; weights that the model has no use for are only counted."""
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
