"""Merging checkpoints on disk: a tensor at a time, file after file; the folder gets its name when all is there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.errors import MergeError, RequestError
from laconic.models.devices import AUTO, named_device
from laconic.models.pad.shards import save
from laconic.training.merging import aim, alike, texts
from laconic.training.merging.checkpoint import Checkpoint, adapted, open_checkpoint
from laconic.training.merging.plan import BASED, Plan

REPORT = "merging.json"
SHARD = 1 << 30
"""Bytes of a file of weights, at most; what writing holds beside the tensors at hand."""


@dataclass(frozen=True)
class Merged:
    """What was written; ``notes`` say where the models differ in what is not merged, and whose was taken.

    ``calibration`` is what AIM read, None without it; ``notes`` name the tensors then that it could not weigh.
    """

    path: str
    plan: Plan
    models: tuple[str, ...]
    base: str | None
    tensors: int
    parameters: int
    notes: tuple[str, ...]
    calibration: aim.Calibration | None = None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def merge(
    out: str | Path,
    models: Sequence[str],
    plan: Plan,
    *,
    base: str | None = None,
    shard: int = SHARD,
    device: str = AUTO,
) -> Merged:
    """Write the merged checkpoint to ``out``, a new or empty folder.

    ``models`` and ``base`` are paths, hub names, laconic's own, or adapters (of ``base``, where there is one). Weights
    are merged in float32 and written in the number format of the base's, or else of the first model's, tensor by
    tensor; the other files are that model's too. Tensors that are tied stay so. Where it fails ``out`` is not there.
    ``device`` is where the base reads the texts of ``plan.aim``, before anything is merged; merging is on the CPU.

    Raises RequestError for a place, a number of models, a base or a device that will not do, MergeError and
    TokenizerMismatch for models that do not go together (alike.check) and for merged weights that are not finite, and
    what ``checkpoint.open_checkpoint`` and ``adapted``, ``texts.read`` and ``aim.calibrate`` do.
    """
    out = Path(out)
    _check(out, models, plan, base)
    if plan.aim is not None:
        named_device(device)
    found = None if plan.aim is None else texts.read(plan.aim.texts)
    opened = [open_checkpoint(name) for name in ([] if base is None else [base]) + list(models)]
    reference = opened[0]
    for checkpoint in opened if base is not None else ():
        _check_adapter(checkpoint, reference)
    notes = [line for other in opened[1:] for line in alike.check(reference, other)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot make '{out.parent}': {error.strerror}.", "Choose another place.") from error
    weighed: Mapping[str, Tensor] = {}
    calibration = None
    if plan.aim is not None and found is not None:
        weighed, calibration = aim.calibrate(reference, plan.aim, found, device)
        notes += aim.untouched(reference.shapes, weighed)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        draft = Path(folder) / "checkpoint"
        draft.mkdir()
        whole = [adapted(checkpoint, Path(folder) / f"adapted-{i}") for i, checkpoint in enumerate(opened)]
        for checkpoint in whole:
            alike.check_tensors(reference, checkpoint)
        parts = (None, whole) if base is None else (whole[0], whole[1:])
        save(merged(plan, *parts, like=reference, weighed=weighed), draft, shard)
        for name, file in reference.texts().items():
            shutil.copyfile(file, draft / name)
        sizes = [torch.Size(shape).numel() for shape in reference.shapes.values()]
        told = tuple(dict.fromkeys(notes))
        made = Merged(str(out), plan, tuple(models), base, len(sizes), sum(sizes), told, calibration)
        (draft / REPORT).write_text(json.dumps(made.as_dict(), indent=1) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(draft, out)  # only a checkpoint that is complete ever carries the name
    return made


def merged(
    plan: Plan,
    base: Checkpoint | None,
    models: Sequence[Checkpoint],
    *,
    like: Checkpoint,
    weighed: Mapping[str, Tensor],
) -> Iterator[tuple[str, Tensor]]:
    """Names and merged tensors, in the order and number formats of ``like``; what was read for one is let go of.

    ``weighed`` is what AIM knows of tensors, by name; those that it does not know are left as merged.

    Raises MergeError for a tensor that is not finite in that format, which weights above 1 can make of finite ones.
    """
    for name in like.shapes:
        yield name, _tensor(plan, base, models, name, weighed.get(name), like.dtypes[name])


def _tensor(
    plan: Plan,
    base: Checkpoint | None,
    models: Sequence[Checkpoint],
    name: str,
    importance: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    start = None if base is None else base.read(name)
    made = plan.merge(name, start, [model.read(name) for model in models], importance).to(dtype)
    if not torch.isfinite(made).all():
        raise MergeError(f"'{name}' merges to numbers beyond {made.dtype}.", "Give smaller weights.")
    return made


def check_place(out: Path) -> None:
    """Raise RequestError unless ``out`` is new or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"'{out}' exists and is not an empty directory.", "Choose another place, or clear it.")


def _check(out: Path, models: Sequence[str], plan: Plan, base: str | None) -> None:
    """Refuse what can be known before any file is read."""
    check_place(out)
    if len(models) != len(plan.weights):
        raise RequestError(f"{len(models)} models and {len(plan.weights)} weights.", "Give a weight for each.")
    if plan.method in BASED and base is None:
        raise RequestError(f"'{plan.method}' needs the model that the others were trained from.", "Say --base MODEL.")
    if plan.method not in BASED:
        if base is not None:
            raise RequestError(f"'{plan.method}' has no base.", f"Methods with one: {', '.join(BASED)}.")
        if len(models) < 2:
            raise RequestError(f"one model alone is nothing to merge by '{plan.method}'.", "Name at least two.")


def _check_adapter(checkpoint: Checkpoint, base: Checkpoint) -> None:
    if checkpoint.adapter is not None and checkpoint.place.resolve() != base.place.resolve():
        raise RequestError(
            f"the adapter '{checkpoint.name}' is for '{checkpoint.place}', and the base is '{base.name}'.",
            "Give the adapter's own base as --base.",
        )
