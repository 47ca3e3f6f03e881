"""Writing a checkpoint's weights coded: a tensor at a time, file after file; it gets its name when all is there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor

from laconic.errors import ModelNotFound, RequestError, UnsupportedModel
from laconic.models.adapters import adapted
from laconic.models.damage import readable
from laconic.models.dfloat11 import huffman
from laconic.models.dfloat11.codec import BLOCK, encode, exponents
from laconic.models.dfloat11.folder import FORMAT, HEADER, INDEX, PARTS, VERSION, is_compressed, part_name
from laconic.models.load import resolve
from laconic.models.loading import read_config

SHARD = 1 << 30
"""Bytes after which a file is written; what writing holds at once is this much and one tensor."""
_TEXT_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.md", "LICENSE*", "NOTICE*")


@dataclass(frozen=True, slots=True)
class Compressed:
    """What was written. Bytes are those of weights, without headers of files.

    ``before`` and ``after`` count all tensors; ``weights``, ``coded_before`` and ``coded_after`` the coded ones alone.
    ``entropy`` is the mean over coded weights of what is known of an exponent from its tensor's histogram, in bits:
    no code of single exponents goes below. ``grown`` are bfloat16 tensors that are kept as they are, since coding
    would not make them smaller; ``other`` counts tensors of other formats, which are kept too. ``cast`` is the format
    that was rounded to bfloat16 first, if one was: the copy is then exact of the rounded weights.
    """

    path: str
    source: str
    before: int
    after: int
    weights: int
    coded_before: int
    coded_after: int
    entropy: float
    grown: list[str]
    other: int
    cast: str | None
    seconds: float

    @property
    def ratio(self) -> float:
        """All bytes after, as a share of those before."""
        return self.after / self.before

    @property
    def bits(self) -> float:
        """Bits of a coded weight, with offsets and lengths of codes."""
        return 8 * self.coded_after / self.weights

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"ratio": self.ratio, "bits": self.bits, "bound": 8 + self.entropy}


class _Writer:
    """Files of up to ``shard`` bytes as tensors come, and what the index says of them."""

    def __init__(self, folder: Path, shard: int) -> None:
        self.folder, self.shard = folder, shard
        self.files: dict[str, dict[str, list[str]]] = {}
        self._held: dict[str, Tensor] = {}
        self._kinds: dict[str, list[str]] = {"coded": [], "plain": []}

    def add(self, name: str, parts: dict[str, Tensor], *, coded: bool) -> None:
        held = sum(part.nbytes for part in self._held.values())
        if held and held + sum(part.nbytes for part in parts.values()) > self.shard:
            self.flush()
        self._held |= parts
        self._kinds["coded" if coded else "plain"].append(name)

    def flush(self) -> None:
        from safetensors.torch import save_file

        name = f"dfloat11-{len(self.files) + 1:05d}.safetensors"
        plain = self.folder / INDEX
        plain.touch()
        save_file(self._held, self.folder / name, metadata=HEADER)
        (self.folder / name).chmod(plain.stat().st_mode)  # what the umask gives; theirs are for their owner alone
        self.files[name] = self._kinds
        self._held, self._kinds = {}, {"coded": [], "plain": []}


def compress(source: str | Path, out: str | Path, *, cast: bool = False, shard: int = SHARD) -> Compressed:
    """Write ``source`` (a path, a hub name or one of laconic's own) to ``out`` with its bfloat16 weights coded.

    ``cast`` rounds float32 and float16 weights to bfloat16 first, and config.json then says so; without it they are
    kept as they are. Raises RequestError for a place that will not do or where no weight is bfloat16, UnsupportedModel
    for adapters, quantised checkpoints and weights that are in no safetensors files, ModelNotFound, and ModelError for
    files that cannot be read.
    """
    out, begun = Path(out), time.perf_counter()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"'{out}' exists and is not an empty directory.", "Choose another place, or clear it.")
    place = _place(source)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot make '{out.parent}': {error.strerror}.", "Choose another place.") from error
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        draft = Path(folder) / "checkpoint"
        draft.mkdir()
        told = _write(place, draft, cast, shard)
        made = Compressed(str(out), str(source), **told, seconds=time.perf_counter() - begun)
        _texts(place, draft, made.cast is not None)
        index = json.loads((draft / INDEX).read_text(encoding="utf-8")) | {"report": made.as_dict()}
        (draft / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(draft, out)  # only a checkpoint that is complete ever carries the name
    return made


def _place(source: str | Path) -> Path:
    """The source's folder, refused where its weights cannot be coded; a hub name is downloaded."""
    name = resolve(source)
    if adapted(name) is not None:
        raise UnsupportedModel(f"'{source}' is an adapter.", "Merge it into its base first, and save that.")
    config = read_config(name)
    if getattr(config, "quantization_config", None) is not None or Path(name).suffix == ".gguf":
        raise UnsupportedModel(f"'{source}' is quantised already.", "Give the bfloat16 checkpoint that it was made of.")
    place = Path(name)
    if not place.is_dir():
        try:
            place = Path(snapshot_download(name, allow_patterns=[*_TEXT_FILES, "*.safetensors"]))
        except (OSError, ValueError) as error:
            raise ModelNotFound(f"no weights at '{source}': {str(error).splitlines()[0]}") from error
    if is_compressed(place):
        raise RequestError(f"the weights of '{source}' are coded already.", "Copy the folder.")
    return place


def _write(place: Path, draft: Path, cast: bool, shard: int) -> dict[str, Any]:
    """Write all weights and the index; what Compressed says of them."""
    writer, floor = _Writer(draft, shard), 0.0
    told: dict[str, Any] = dict.fromkeys(("before", "after", "weights", "coded_before", "coded_after", "other"), 0)
    told |= {"grown": [], "cast": None}
    for name, tensor in _tensors(place):
        if cast and tensor.dtype in (torch.float32, torch.float16):
            told["cast"] = str(tensor.dtype).removeprefix("torch.")
            tensor = tensor.bfloat16()
        told["before"] += tensor.nbytes
        coded = encode(tensor) if tensor.dtype == torch.bfloat16 else None
        if coded is None:
            writer.add(name, {name: tensor}, coded=False)
            told["after"] += tensor.nbytes
            told["grown"] += [name] if tensor.dtype == torch.bfloat16 else []
            told["other"] += tensor.dtype != torch.bfloat16
            continue
        writer.add(name, {part_name(name, part): getattr(coded, part) for part in PARTS}, coded=True)
        told["after"] += coded.nbytes
        told["coded_before"] += tensor.nbytes
        told["coded_after"] += coded.nbytes
        told["weights"] += tensor.numel()
        floor += huffman.entropy(exponents(tensor)) * tensor.numel()
    if not told["weights"]:
        raise RequestError(
            f"no weights in '{place}' are bfloat16 and become smaller.", "--cast rounds float32 and float16 ones to it."
        )
    writer.flush()
    index = {"format": FORMAT, "version": VERSION, "block": BLOCK, "files": writer.files}
    (draft / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return told | {"entropy": floor / told["weights"]}


def _tensors(place: Path) -> Iterator[tuple[str, Tensor]]:
    """The weights of a folder, one at a time, as its index or its one file has them; tied ones are there once."""
    from safetensors import safe_open

    files = [place / "model.safetensors"]
    index = place / "model.safetensors.index.json"
    if index.is_file():
        with readable("weights", place):
            files = [place / name for name in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))]
    if not files[0].is_file():
        raise UnsupportedModel(f"'{place}' has no weights in safetensors files.", "Save it with save_pretrained first.")
    for file in files:
        with readable("weights", place), safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is no mapping)
                yield name, opened.get_tensor(name)


def _texts(place: Path, draft: Path, cast: bool) -> None:
    """Configuration, tokenizer, templates, as they are; but for the number format of weights that were cast."""
    for pattern in _TEXT_FILES:
        for file in place.glob(pattern):
            if not file.name.endswith(".index.json") and file.name != INDEX:
                shutil.copyfile(file, draft / file.name)
    if cast:
        file = draft / "config.json"
        said = json.loads(file.read_text(encoding="utf-8"))
        said.pop("torch_dtype", None)
        file.write_text(json.dumps(said | {"dtype": "bfloat16"}, indent=2) + "\n", encoding="utf-8")
