"""``laconic inspect``: the report for a person and for a program, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig
from typer.testing import CliRunner

from laconic.cli.main import app
from tests import tiny
from tests.cli.checkpoint import needs_bundled


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
    assert "thinking  none" in done.output


def test_says_who_says_how_the_model_thinks(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", saved(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "'<think>' ... '</think>', opened by the model, off by enable_thinking\n" in done.output
    assert "so the chat template writes\n" in done.output
    assert "between thought and answer '\\n\\n'" in done.output
    assert "limit     512 new tokens, its whole context" in done.output
    leveled = (
        tiny.TEMPLATE + "{% if reasoning_effort == 'high' %}Think hard.{% elif reasoning_effort == 'low' %}.{% endif %}"
    )
    done = CliRunner().invoke(app, ["inspect", saved(tmp_path, template=leveled), "--format", "think"])
    assert "so it was said (--format)" in done.output
    assert "levels of effort: low, high" in done.output


@pytest.mark.parametrize("context", [6, 16, 108])
def test_a_short_context_is_inspected_as_far_as_it_goes(tmp_path: Path, context: int) -> None:
    place = saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": context}))
    done = CliRunner().invoke(app, ["inspect", place, "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["exact"]
    assert 0 < told["checked"]["tokens"] <= context // 2
    assert told["cache"] == {"tokens": context, "bytes": context * 256, "bytes_a_token": 256}
    assert told["sampling"]["max_new_tokens"] == context
    said = CliRunner().invoke(app, ["inspect", place]).stdout
    assert f"of cache at {context:,} tokens, its whole context" in said


def test_says_that_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    base, adapter = saved(tmp_path / "base"), tmp_path / "adapter"
    adapted = peft.get_peft_model(tiny.model(), peft.LoraConfig(r=4, target_modules=["q_proj"]))
    adapted.peft_config["default"].base_model_name_or_path = base
    adapted.save_pretrained(adapter)
    told = json.loads(CliRunner().invoke(app, ["inspect", str(adapter), "--json"]).stdout)
    assert told["adapter"] == {"base": base, "merged": True}
    assert f"adapter   merged into its base, {base}" in CliRunner().invoke(app, ["inspect", str(adapter)]).stdout
    assert json.loads(CliRunner().invoke(app, ["inspect", base, "--json"]).stdout)["adapter"] is None


def test_what_cannot_be_loaded_ends_with_2_and_says_so_as_json(tmp_path: Path) -> None:
    place = saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    done = CliRunner().invoke(app, ["inspect", place, "--json"])
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["supported"] is False
    assert "model.safetensors" in told["error"]
    assert told["hint"]
    assert "model.safetensors" in done.stderr
    assert CliRunner().invoke(app, ["inspect", place]).stdout == ""


@pytest.mark.parametrize("options", [("--device", ""), ("--device", "cpu:3"), ("--dtype", "")])
def test_a_device_or_a_number_format_that_is_none_is_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    place = saved(tmp_path)
    for command in (["inspect", place], ["run", "x", "--model", place]):
        assert CliRunner().invoke(app, [*command, *options]).exit_code == 2


@needs_bundled
def test_the_bundled_model_is_listed_with_what_its_draft_model_can_do() -> None:
    told = json.loads(CliRunner().invoke(app, ["inspect", "bundled", "--json"]).stdout)
    assert "draft-model" in told["drafters"]


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
