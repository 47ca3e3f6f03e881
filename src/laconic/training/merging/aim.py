"""AIM (arXiv:2502.02421): the base reads texts, and where its inputs are large a merge keeps nearer to its weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from laconic.errors import MergeError, ModelError, RequestError, TaskError
from laconic.models.devices import SPREAD, named_device, placed
from laconic.models.load import load_text
from laconic.models.loading import read_model
from laconic.training.merging.checkpoint import Checkpoint
from laconic.training.merging.texts import HINT, Texts, blocks

_BLOCK = 512
"""Tokens that are read at once, each block by itself; as in the authors' code."""


@dataclass(frozen=True)
class Aim:
    """A step behind a merge (arithmetic.relax). Raises RequestError for what cannot be.

    ``texts`` is a file (texts.read), of which the first ``tokens`` are read (by default 256 blocks of 512, the most
    that the authors read). ``omega``, from 0 to 1, is what is left of the difference in the channel with the largest
    inputs: 1 changes nothing, 0.4 is the default of the authors' program and the value of the long-to-short study
    (arXiv:2503.20641).
    """

    texts: str
    omega: float = 0.4
    tokens: int = 256 * _BLOCK

    def __post_init__(self) -> None:
        if not 0 <= self.omega <= 1:
            raise RequestError(f"an omega of {self.omega} is no share.", "Say one from 0 to 1.")
        if self.tokens < 1:
            raise RequestError(f"{self.tokens} tokens tell nothing of inputs.", "Say 1 or more.")


@dataclass(frozen=True)
class Calibration:
    """What was read: the file by its SHA-256, texts (the last perhaps in part), tokens; and how the base was run."""

    sha256: str
    texts: int
    tokens: int
    dtype: str
    device: str


def calibrate(base: Checkpoint, aim: Aim, texts: Texts, device: str) -> tuple[dict[str, Tensor], Calibration]:
    """How large the inputs of the base's linear layers are: ``[in]``, from 0 to 1, by the name of the weight.

    Mean absolute values over all tokens, divided by the largest of the layer. The base is read once, in its own number
    format, runs on ``device`` (devices.named_device, or spread) and is let go of. Left out are layers through which
    no token comes, or nothing but zeros, and those whose weight is no tensor of the checkpoint, as a head that is tied
    to the embeddings.

    Raises TaskError where texts have no tokens, MergeError where no layer is left, ModelError for inputs that are not
    finite, and what ``load_text``, ``read_model`` and ``placed`` do.
    """
    width = min(_BLOCK, getattr(base.config.get_text_config(), "max_position_embeddings", None) or _BLOCK)
    parts, count = blocks(texts.found, load_text(base.name).tokenizer.encode, aim.tokens, width)
    if not parts:
        raise TaskError(f"the texts of '{aim.texts}' have no tokens.", HINT)
    model = read_model(base.adapter or base.place, dtype="auto", spread=device == SPREAD)
    if device != SPREAD:
        model = placed(model, named_device(device))
    found = {f"{name}.weight": size for name, size in inputs(model, parts).items()}
    if not all(torch.isfinite(size).all() for size in found.values()):
        raise ModelError(f"'{base.name}' computes NaN or infinities on '{aim.texts}'.", "Give a base that is sound.")
    weighed = {
        name: (size / size.max()).float()
        for name, size in found.items()
        if base.shapes.get(name, ())[1:] == size.shape and size.max() > 0
    }
    if not weighed:
        raise MergeError(
            f"no tensor of '{base.name}' is the weight of a linear layer, so AIM has nothing to weigh.",
            "Merge without AIM.",
        )
    ran = str(model.dtype).removeprefix("torch."), model.device.type
    return weighed, Calibration(texts.sha256, count, sum(map(len, parts)), *ran)


def inputs(model: Any, parts: Iterable[Sequence[int]]) -> dict[str, Tensor]:
    """The mean absolute input of each linear layer, ``[in]`` in float64, over the tokens that come through it."""
    totals: dict[str, Tensor] = {}
    counts: Counter[str] = Counter()

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0].reshape(-1, given[0].shape[-1])
            if len(rows):
                totals[name] = totals.get(name, 0.0) + rows.float().abs().sum(0).cpu().double()
                counts[name] += len(rows)

        return hook

    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(watch(name)) for name, module in linear]
    model.eval()
    try:
        with torch.inference_mode():
            for part in parts:
                model(input_ids=torch.tensor([list(part)], device=model.device), use_cache=False)
    finally:
        for each in hooks:
            each.remove()
    return {name: total / counts[name] for name, total in totals.items()}


def untouched(names: Iterable[str], weighed: Mapping[str, Tensor]) -> list[str]:
    """A note that names the tensors which AIM leaves as they are merged, numbers in names as ``*``; none without any.

    >>> untouched(["h.0.norm.weight", "h.1.norm.weight", "head.weight"], {"head.weight": torch.ones(1)})
    ['AIM leaves 2 tensors as merged, of which no inputs are known: h.*.norm.weight (2)']
    """
    kinds = Counter(re.sub(r"\b\d+\b", "*", name) for name in names if name not in weighed)
    if not kinds:
        return []
    shown = ", ".join(kind if count == 1 else f"{kind} ({count})" for kind, count in kinds.items())
    return [f"AIM leaves {kinds.total()} tensors as merged, of which no inputs are known: {shown}"]
