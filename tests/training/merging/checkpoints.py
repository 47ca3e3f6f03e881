"""Small checkpoints to merge, and what stands in a folder of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from laconic.models.loading import read_model
from laconic.training.merging import Merged, Plan, merge
from tests import tiny

HALVES = Plan("linear", (0.5, 0.5))
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def saved(folder: Path, seed: int, **options: Any) -> str:
    tiny.model(seed).save_pretrained(folder, **options)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


def weights(folder: str | Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(file)
    return found


def written(out: Path, models: list[str], plan: Plan = HALVES, **more: Any) -> Merged:
    return merge(out, models, plan, **more)


def config(folder: str, **said: Any) -> None:
    file = Path(folder) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))


def lora(base: str, folder: Path) -> str:
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    adapted = peft.get_peft_model(
        read_model(base, dtype=torch.float32), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(folder)
    return str(folder)


def changed(folder: str, change: Callable[[dict[str, Tensor]], Any]) -> None:
    found = weights(folder)
    change(found)
    save_file(found, Path(folder) / WEIGHTS, metadata={"format": "pt"})
