"""A checkpoint to be merged: what its files say it holds, and its tensors, each read when it is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from laconic.errors import ModelError, ModelNotFound, UnsupportedModel
from laconic.models import adapters
from laconic.models.damage import AGAIN, readable
from laconic.models.dfloat11.folder import is_compressed
from laconic.models.load import resolve
from laconic.models.loading import read_config, read_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "*tok*",
    "vocab*",
    "merges.txt",
    "tekken.json",
    "*.model",
    "chat_template*",
    "LICENSE*",
    "NOTICE*",
)
"""What a checkpoint is besides its weights: configuration, tokenizer, templates, licence; but no card."""
_PLAIN = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Number formats in which weights are themselves, as safetensors names them."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model under the ``name`` that it was given by; of an adapter, what stands here is its base's.

    ``shapes`` and ``dtypes`` are those of all tensors, ``files`` where each of them is. Tied weights are there once.
    """

    name: str
    place: Path
    config: PreTrainedConfig
    files: Mapping[str, Path]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype]
    adapter: Path | None = None

    def read(self, tensor: str) -> Tensor:
        """One tensor, as it is stored. Raises ModelError for a file that is damaged and for NaN and infinities."""
        from safetensors import safe_open

        with readable("weights", self.place), safe_open(self.files[tensor], framework="pt") as opened:
            found: Tensor = opened.get_tensor(tensor)
        # A sum is not finite where an entry is not; it may also be too large, and then every entry is looked at.
        if not torch.isfinite(found.sum(dtype=torch.float64)) and not torch.isfinite(found).all():
            raise ModelError(
                f"'{tensor}' of '{self.name}' holds NaN or infinities.", "Give a checkpoint that is sound."
            )
        return found

    def texts(self) -> dict[str, Path]:
        """Files besides the weights, by name; those that an adapter brings go before its base's."""
        folders = [self.place] if self.adapter is None else [self.place, self.adapter]
        found = (file for folder in folders for form in TEXT_FILES for file in sorted(folder.glob(form)))
        return {file.name: file for file in found if file.is_file() and file.suffix not in (".safetensors", ".bin")}


def open_checkpoint(name: str) -> Checkpoint:
    """What is under a path, a hub name or one of laconic's own; no weight is read. Of an adapter it is the base.

    Raises ModelNotFound, ModelError for files that cannot be read or lack what their index names, UnsupportedModel for
    quantised or coded checkpoints, for weights in other files than safetensors, and what ``adapters.check`` does.
    """
    found = resolve(name)
    base = adapters.adapted(found)
    if base is not None:
        adapters.check(found, base)
    origin = found if base is None else base
    config = read_config(origin)
    if getattr(config, "quantization_config", None) is not None or Path(origin).suffix == ".gguf":
        raise UnsupportedModel(f"'{name}' is quantised.", "Merge the checkpoints that were quantised, then quantise.")
    if is_compressed(origin):
        raise UnsupportedModel(f"the weights of '{name}' are coded.", "Give the checkpoint that was compressed.")
    place = _folder(origin)
    return Checkpoint(name, place, config, *_weights(name, place, config), None if base is None else Path(found))


def adapted(checkpoint: Checkpoint, scratch: Path) -> Checkpoint:
    """An adapter's checkpoint with its base's weights adapted: written to ``scratch`` in float32, whole in memory once.

    Raises ModelError for an adapter that is not whole.
    """
    if checkpoint.adapter is None:
        return checkpoint
    model = read_model(checkpoint.adapter, dtype=torch.float32)
    model.save_pretrained(scratch, max_shard_size="1GB")
    files, shapes, dtypes = _weights(checkpoint.name, scratch, checkpoint.config)
    return replace(checkpoint, files=files, shapes=shapes, dtypes=dtypes)


def _folder(name: str) -> Path:
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=[*TEXT_FILES, "*.safetensors", "*.index.json"]))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no weights at '{name}': {str(error).splitlines()[0]}") from error


def _weights(
    name: str, place: Path, config: PreTrainedConfig
) -> tuple[dict[str, Path], dict[str, tuple[int, ...]], dict[str, torch.dtype]]:
    """Where each tensor is, its shape and its number format, by the headers of the files."""
    from safetensors import safe_open

    listed: dict[str, str] = {}
    files = [place / "model.safetensors"]
    if (index := place / "model.safetensors.index.json").is_file():
        with readable("weights", place):
            listed = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
            files = [place / file for file in sorted(set(listed.values()))]
    elif not files[0].is_file():
        raise UnsupportedModel(f"'{name}' has no weights in safetensors files.", "Save it with save_pretrained first.")
    found: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, torch.dtype] = {}
    for file in files:
        with readable("weights", place), safe_open(file, framework="pt") as opened:
            for tensor in opened.keys():  # noqa: SIM118  (it is no mapping)
                about = opened.get_slice(tensor)
                kind = about.get_dtype()
                if kind not in _PLAIN:
                    raise UnsupportedModel(f"'{tensor}' of '{name}' is {kind}: no plain weights.", "Is it quantised?")
                found[tensor], shapes[tensor], dtypes[tensor] = file, tuple(about.get_shape()), _PLAIN[kind]
    if lost := [tensor for tensor in listed if tensor not in found]:
        raise ModelError(f"'{lost[0]}' is in the index of '{name}', and in no file ({len(lost)} such).", AGAIN)
    if config.get_text_config().tie_word_embeddings:  # older checkpoints hold the tied matrix twice
        for about in (found, shapes, dtypes):
            about.pop("lm_head.weight", None)
    return found, shapes, dtypes
