"""What a config.json says, checked where Transformers would stumble or pass it over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from laconic.errors import ModelError, ModelNotFound, UnsupportedModel, did_you_mean
from laconic.models.damage import FIND, readable

_CORRECT = "Correct it in that file."


def configured(place: str | Path, given: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a checkpoint; ``given`` is what Transformers is given for it.

    Raises ModelNotFound where there is none, UnsupportedModel for architectures and quantised formats that Transformers
    does not know, and ModelError for entries that cannot be.
    """
    if Path(place).is_dir() and not (Path(place) / "config.json").is_file():
        raise ModelNotFound(f"no model in '{place}': it has no config.json.", FIND)
    with readable("configuration", place, absent="model"):
        said: dict[str, Any] = {} if "gguf_file" in given else PreTrainedConfig.get_config_dict(**given)[0]
        if "gguf_file" not in given:
            _check(place, said)
        config: PreTrainedConfig = AutoConfig.from_pretrained(**given)
    _check_length(place, config, said)
    return config


def _check(place: str | Path, said: dict[str, Any]) -> None:
    kind = said.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f"config.json of '{place}' does not say of which architecture it is (model_type).", FIND)
    if kind not in CONFIG_MAPPING:
        foreign = " It comes with code of its own, which laconic does not run." if "auto_map" in said else ""
        raise UnsupportedModel(
            f"'{place}': Transformers knows no architecture '{kind}'.{foreign}", "A later version of it may."
        )
    for part in (said, said.get("text_config")):
        if isinstance(part, dict):
            _check_dtype(place, part)
    if said.get("quantization_config") is not None:
        _check_quantised(place, said["quantization_config"])


def _check_dtype(place: str | Path, said: dict[str, Any]) -> None:
    for key in ("dtype", "torch_dtype"):
        name = said.get(key)
        if name is None or isinstance(name, dict):  # a dict: one for each part of a composite model
            continue
        if not isinstance(name, str) or not isinstance(getattr(torch, name.removeprefix("torch."), None), torch.dtype):
            raise ModelError(f"config.json of '{place}': {key} {json.dumps(name)} is no number format.", _CORRECT)


def _quantised() -> set[str]:
    """What ``quant_method`` may say; of bitsandbytes Transformers lists the two kinds alone."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    return {*AUTO_QUANTIZATION_CONFIG_MAPPING, "bitsandbytes"}


def _check_quantised(place: str | Path, said: Any) -> None:
    """Transformers passes over methods that it does not know, and would read quantised numbers as plain ones."""
    method = said.get("quant_method") if isinstance(said, dict) else None
    if isinstance(said, dict) and (said.get("load_in_8bit") or said.get("load_in_4bit")):
        return  # bitsandbytes, as old files say it
    if not isinstance(method, str):
        raise ModelError(f"config.json of '{place}': quantization_config names no quant_method.", _CORRECT)
    if method not in _quantised():
        raise UnsupportedModel(
            f"'{place}' is quantised as '{method}', which Transformers does not know.",
            did_you_mean(method, _quantised()),
        )


def _check_length(place: str | Path, config: PreTrainedConfig, said: dict[str, Any]) -> None:
    text = config.get_text_config()
    key = text.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    for part in (said, said.get("text_config")):
        longest = part.get(key) if isinstance(part, dict) else None
        if longest is not None and longest < 1:
            raise ModelError(f"config.json of '{place}': {key} must be > 0, not {longest}.", _CORRECT)
