"""TRL's own trainers on what was written: two steps each, on the very tokens that the model would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from laconic.models.text import Text
from tests import tiny
from tests.training.traces.made import HARMONY, PLAIN, QUESTION, STEPS, THINK, WRONG, record, thought
from tests.training.traces.test_run import run

trl = pytest.importorskip("trl", reason="TRL is not installed: what its trainers make of the rows is not tested")
pytestmark = pytest.mark.filterwarnings("ignore")
FORMATS = pytest.mark.parametrize("text", [THINK, HARMONY, PLAIN], ids=["think", "channels", "plain"])


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return record(tmp_path / "in.jsonl", *[thought(STEPS[:n], "53") for n in (2, 3, 4)], thought(WRONG, "43"))


def arguments(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "trained"), "max_steps": 2, "per_device_train_batch_size": 2, "report_to": [],
        "use_cpu": True, "max_length": None, "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no",
    }  # fmt: skip


def network(folder: Path) -> str:
    tiny.model(vocab=272).save_pretrained(folder / "model")
    return str(folder / "model")


def data(path: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


@FORMATS
def test_sft(recorded: Path, text: Text) -> None:
    _, lines = run(recorded, "rft", text=text)
    trainer = trl.SFTTrainer(
        network(recorded.parent), args=trl.SFTConfig(**arguments(recorded.parent)), processing_class=text.tokenizer,
        train_dataset=data(recorded.parent / "out.jsonl"),
    )  # fmt: skip
    seen = trainer.train_dataset[0]
    prompt = list(text.prompt(QUESTION))
    assert seen["input_ids"] == prompt + text.encode(lines[0]["completion"])
    assert seen["labels"] == [-100] * len(prompt) + text.encode(lines[0]["completion"])  # the loss is the reply's
    assert trainer.train().global_step == 2
    assert all(loss > 0 for loss in (log["loss"] for log in trainer.state.log_history if "loss" in log))


@FORMATS
def test_dpo(recorded: Path, text: Text) -> None:
    _, lines = run(recorded, "irpo", text=text)
    trainer = trl.DPOTrainer(
        network(recorded.parent), args=trl.DPOConfig(**arguments(recorded.parent)), processing_class=text.tokenizer,
        train_dataset=data(recorded.parent / "out.jsonl"),
    )  # fmt: skip
    seen = trainer.train_dataset[0]
    assert seen["prompt_ids"] == list(text.prompt(QUESTION))
    assert seen["chosen_ids"] == text.encode(lines[0]["chosen"])
    assert seen["rejected_ids"] == text.encode(lines[0]["rejected"])
    assert trainer.train().global_step == 2
