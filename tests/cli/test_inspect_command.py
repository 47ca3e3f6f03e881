"""``laconic inspect``: the report for a person and for a program, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import tiny
import torch
from transformers import AutoModelForCausalLM, BertConfig
from typer.testing import CliRunner

from laconic.cli.main import app


def saved(folder: Path, *, template: str | None = tiny.TEMPLATE) -> str:
    model = tiny.model(0, bias=tiny.REASONER)
    model.generation_config.temperature, model.generation_config.do_sample = 0.6, True
    model.lm_head.bias = None
    model.save_pretrained(folder)
    tiny.tokenizer(template=template).save_pretrained(folder)
    return str(folder)


def test_says_what_a_program_needs(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", saved(tmp_path), "--json", "--tokens", "100"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert {k: told[k] for k in ("model_type", "supported", "path", "device", "dtype", "exact")} == {
        "model_type": "qwen3", "supported": True, "path": "written-out", "device": "cpu", "dtype": "float32",
        "exact": True,
    }  # fmt: skip
    thinking = told["thinking"]
    assert (thinking["open"], thinking["close"], thinking["opened_by"]) == ("<think>", "</think>", "model")
    assert thinking["off"] == "enable_thinking"
    assert told["sampling"]["temperature"] == 0.6
    assert told["end_tokens"] == {"<|im_end|>": tiny.text().tokenizer.eos_token_id}
    # Two layers, keys and values, two heads of eight numbers, four bytes each.
    assert told["cache"] == {"tokens": 100, "bytes": 100 * 256, "bytes_a_token": 256}
    assert told["weights_bytes"] == 4 * told["parameters"]
    assert "suffix" in told["drafters"]
    assert "draft-model" not in told["drafters"]


def test_says_it_to_a_person_and_names_what_is_missing(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["inspect", saved(tmp_path, template="{{ messages[0].content }}"), "--dtype", "bfloat16"]
    )
    assert done.exit_code == 0, done.output
    assert "qwen3: supported" in done.output
    assert "bfloat16 on cpu" in done.output


def test_ends_with_1_where_the_model_cannot_be_run(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=264, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        initializer_range=0.2,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    done = CliRunner().invoke(app, ["inspect", str(tmp_path), "--json"])
    assert done.exit_code == 1, done.output
    told = json.loads(done.output)
    assert told["supported"] is False
    assert told["model_type"] == "bert"
    assert "not causal" in told["reason"]
