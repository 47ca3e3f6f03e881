"""A tiny checkpoint and a file of problems; without the packages of the extra ``train`` these tests are skipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests import tiny

for package in ("trl", "datasets", "peft"):
    pytest.importorskip(package, reason=f"{package} is not installed (extra: train)")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny") / "model"
    model = tiny.model(3)
    with torch.no_grad():  # so that some rollouts end by themselves; a bias would not be saved
        for token in tiny.tokenizer().encode("<|im_end|></think>"):
            model.lm_head.weight[token] *= 3
    model.save_pretrained(place)
    tiny.tokenizer().save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data") / "problems.jsonl"
    rows = [{"question": f"{i} + {i}?", "answer": str(2 * i)} for i in range(12)]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place
