"""Writing a cost-padded checkpoint, in the ordinary Transformers format, and checking what was written."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM

from laconic.errors import ModelError, ModelNotFound, RequestError
from laconic.models.load import resolve
from laconic.models.loading import read_config
from laconic.models.pad.shape import Shape, is_power_of_four, parse_size, plan
from laconic.models.pad.shards import save
from laconic.models.pad.weights import padded

REPORT = "padding.json"

_TEXT_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
_TRIAL = 48
"""Tokens of the trial prompt that both checkpoints are run on."""
_ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest difference of logits that passes, as a share of the largest logit. In 16 bits the sums of a wider layer,
taken in another order, round differently, and later layers carry that on."""


@dataclass(frozen=True, slots=True)
class Padded:
    """What was written: both shapes, and how the logits of a trial prompt compare.

    ``difference`` is the largest absolute difference of two logits, ``largest`` the largest logit;
    ``same_choice`` the share of positions at which both find the same token likeliest.
    """

    path: str
    source: str
    dtype: str
    old: Shape
    new: Shape
    exact: bool
    """Whether the corrections of norms are free of rounding (the width grew by a power of four)."""
    difference: float
    largest: float
    same_choice: float

    @property
    def parameters(self) -> int:
        """Parameters of the padded checkpoint."""
        return self.new.parameters

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        made = asdict(self) | {"parameters": self.parameters}
        for side in ("old", "new"):
            made[side]["biases"] = sorted(made[side]["biases"])
        return made


def pad(source: str | Path, out: str | Path, parameters: int | str, dtype: torch.dtype | None = None) -> Padded:
    """Write a checkpoint that computes what ``source`` does, at the cost of about ``parameters`` parameters.

    ``source`` is a path, a hub name or ``bundled``; ``dtype`` None keeps the source's. Only float32 may take widths
    whose norms need rounding. Raises RequestError for a size or place that will not do, UnsupportedModel for an
    architecture outside the Llama family, ModelNotFound.
    """
    old = Shape.of(_config(source))
    size = parse_size(parameters)
    chosen = dtype or _dtype(_config(source))
    return pad_to(source, out, plan(old, size, rounding=chosen == torch.float32), chosen)


def pad_to(source: str | Path, out: str | Path, shape: Shape, dtype: torch.dtype | None = None) -> Padded:
    """Write ``source`` padded to exactly ``shape``; see :func:`pad`."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"'{out}' exists and is not an empty directory.", "Choose another place, or clear it.")
    config = _config(source)
    old = Shape.of(config)
    chosen = dtype or _dtype(config)
    if chosen not in _ALLOWED:
        raise RequestError(f"cannot write {chosen}.", "Use float32, bfloat16 or float16.")
    _check(old, shape, chosen)
    place = _place(source)
    model = _load(place, source, chosen)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot make '{out.parent}': {error.strerror}.", "Choose another place.") from error
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        draft = Path(folder) / "checkpoint"
        draft.mkdir()
        for pattern in _TEXT_FILES:
            for file in place.glob(pattern):
                if file.name != "config.json" and not file.name.endswith(".index.json"):
                    shutil.copyfile(file, draft / file.name)
        _padded_config(config, old, shape, chosen).save_pretrained(draft)
        save(padded(model.state_dict(), old, shape, chosen), draft)
        exact = is_power_of_four(shape.width // old.width)
        name = str(chosen).removeprefix("torch.")
        report = Padded(str(out), str(source), name, old, shape, exact, *_compare(model, draft, chosen))
        (draft / REPORT).write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(draft, out)  # only a checkpoint that is complete and agrees ever carries the name
    return report


def _config(source: str | Path) -> Any:
    return read_config(resolve(source))


def _dtype(config: Any) -> torch.dtype:
    return getattr(config, "dtype", None) or torch.float32


def _place(source: str | Path) -> Path:
    """The source's directory; a hub name is downloaded, text files and safetensors only."""
    name = resolve(source)
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=[*_TEXT_FILES, "*.safetensors"]))
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no weights at '{source}': {str(error).splitlines()[0]}") from error


def _load(place: Path, source: str | Path, dtype: torch.dtype) -> Any:
    try:
        return AutoModelForCausalLM.from_pretrained(place, dtype=dtype).eval()
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no weights at '{source}': {str(error).splitlines()[0]}") from error


def _check(old: Shape, new: Shape, dtype: torch.dtype) -> None:
    """Raise RequestError unless ``new`` can hold ``old``'s function."""
    ratio, rest = divmod(new.width, old.width)
    if rest or new.heads * old.width != old.heads * new.width or new.heads % new.kv_heads:
        raise RequestError(f"a width of {new.width} with {new.heads} heads is no multiple of the source's.")
    if new.layers < old.layers or new.mlp < old.mlp or new.kv_heads < old.kv_heads:
        raise RequestError("the padded shape must be at least the source's in every dimension.")
    if new.heads // new.kv_heads < old.heads // old.kv_heads:
        raise RequestError("a key-value head must serve at least as many query heads as in the source.")
    if not is_power_of_four(ratio) and dtype != torch.float32:
        raise RequestError(
            f"{ratio} times the width needs norm gains that {dtype} cannot hold exactly.",
            "Use a power of four, or float32.",
        )


def _padded_config(config: Any, old: Shape, new: Shape, dtype: torch.dtype) -> Any:
    changes: dict[str, Any] = {
        "hidden_size": new.width,
        "num_hidden_layers": new.layers,
        "intermediate_size": new.mlp,
        "num_attention_heads": new.heads,
        "num_key_value_heads": new.kv_heads,
        "rms_norm_eps": config.rms_norm_eps * old.width / new.width,
    }
    types = getattr(config, "layer_types", None)
    if types:
        changes["layer_types"] = [types[i % old.layers] for i in range(new.layers)]
    for name, value in changes.items():
        setattr(config, name, value)
    config.dtype = dtype
    return config


@torch.inference_mode()
def _compare(model: Any, folder: Path, dtype: torch.dtype) -> tuple[float, float, float]:
    """Largest difference, largest logit and share of equal choices on a trial prompt, the copy read back from disk.

    Raises ModelError if the two do not agree as ``dtype`` lets one expect.
    """
    vocab = model.config.vocab_size
    prompt = torch.tensor([[(7 * i * i + 3 * i + 1) % vocab for i in range(_TRIAL)]])
    expected = model(prompt).logits.float()
    found = _load(folder, folder, dtype)(prompt).logits.float()
    difference, largest = float((found - expected).abs().max()), float(expected.abs().max())
    if not difference <= _ALLOWED[dtype] * largest or not math.isfinite(largest):  # NaN compares as false
        raise ModelError(
            f"the padded model's logits are off by {difference:.3g}, the largest is {largest:.3g}.",
            "Nothing was written. Is this an ordinary checkpoint of its architecture?",
        )
    return difference, largest, float((found.argmax(-1) == expected.argmax(-1)).float().mean())
