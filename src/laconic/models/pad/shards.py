"""Weights files in the layout that Transformers reads: one file, or several and an index."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

SHARD = 4 << 30
"""Bytes per file; also about the memory that writing takes beside the source."""


def save(tensors: Iterable[tuple[str, Tensor]], folder: Path, shard_bytes: int = SHARD) -> None:
    """Write tensors as they come into files of at most ``shard_bytes``, and the index where there is more than one."""
    names: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    size = total = 0

    plain = folder / "part"
    plain.touch()
    mode = plain.stat().st_mode  # what the umask gives; safetensors' own files are for their owner alone
    plain.unlink()

    def flush() -> None:
        part = folder / f"part-{len(names)}"
        save_file(shard, part, metadata={"format": "pt"})
        part.chmod(mode)
        names.append(list(shard))
        shard.clear()

    for name, tensor in tensors:
        if shard and size + tensor.nbytes > shard_bytes:
            flush()
            size = 0
        shard[name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    if len(names) == 1:
        (folder / "part-0").rename(folder / "model.safetensors")
        return
    index: dict[str, str] = {}
    for i, part in enumerate(names):
        file = f"model-{i + 1:05d}-of-{len(names):05d}.safetensors"
        (folder / f"part-{i}").rename(folder / file)
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1)
    (folder / "model.safetensors.index.json").write_text(text + "\n", encoding="utf-8")
