"""Commands leave out what others log for users of their own, and nothing that matters."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import laconic.cli
from laconic.cli.quiet import matters
from tests.cli.checkpoint import save

SLOW = "`causal_conv1d_fn` is falling back to its reference PyTorch implementation because it is not installed."


def told(message: str) -> bool:
    return matters(logging.LogRecord("transformers", logging.WARNING, "", 0, message, None, None))


def test_reports_are_left_out_unless_an_error_points_to_them() -> None:
    assert not told("Qwen3ForCausalLM LOAD REPORT from: place\nKey | Status | MISSING")
    assert told("Qwen3ForCausalLM LOAD REPORT from: place\nKey | Status | CONVERSION")
    assert told("`loss_type=None` was set in the config but it is unrecognized.")


@pytest.mark.parametrize("here", [False, True])
def test_kernels_for_accelerators_are_named_where_there_is_one(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: here)
    assert told(SLOW) == here


def test_missing_weights_are_told_in_two_lines(tmp_path: Path) -> None:
    place = save(tmp_path)
    weights = load_file(place / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    environment = os.environ | {"PYTHONPATH": str(Path(laconic.cli.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "laconic", "inspect", str(place)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert "model.norm.weight" in error
    assert hint.startswith("hint: ")
