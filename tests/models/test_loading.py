"""What a checkpoint's folder or file may be, and how one that cannot be read or is not whole is refused."""

from __future__ import annotations

import json
import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen3Config

from laconic.errors import MissingExtra, ModelError, ModelNotFound, UnsupportedModel
from laconic.models import damage, loading
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.devices import preferred
from laconic.models.load import load_text
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.model().save_pretrained(tmp_path / "whole")
    tiny.tokenizer().save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name in modules else object())


def test_missing_weights_are_refused_by_name(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 .*model\.layers\.1\.mlp\.up_proj\.weight"):
        CausalLM.load(folder)


def test_weights_without_use_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["extra.weight"] = weights["model.norm.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING, "laconic"):
        CausalLM.load(folder)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records if "laconic" in record.name] == [
        "1 weights that the model has no use for are left out"
    ]


@pytest.mark.parametrize(
    ("method", "package"),
    [
        ("fp8", "accelerate"),
        ("awq", "gptqmodel"),
        ("gptq", "optimum"),
        ("bitsandbytes", "bitsandbytes"),
        ("compressed-tensors", "compressed-tensors"),
        ("mxfp4", "accelerate"),
        ("torchao", "torchao"),
    ],
)
def test_quantised_formats_name_the_package_that_they_need(
    folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method}
    (folder / "config.json").write_text(json.dumps(config))
    without(monkeypatch, *(module for modules in loading._PACKAGES.values() for module in modules))
    with pytest.raises(UnsupportedModel, match=f"quantised as {method}.*{package}") as caught:
        CausalLM.load(folder)
    assert f"pip install {package}" in caught.value.hint or f" {package}" in caught.value.hint


def test_a_gguf_file_names_the_extra_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    without(monkeypatch, "accelerate")
    for load in (CausalLM.load, load_text):
        with pytest.raises(MissingExtra, match=r"accelerate .*laconic\[gguf\]"):
            load(file)
    with pytest.raises(ModelNotFound):
        CausalLM.load(tmp_path / "other.gguf")


def test_weights_of_another_shape_are_refused_by_name(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(7, 32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 of .*model\.layers\.1\.mlp\.up_proj\.weight is \[7, 32\], not \[48, 32\]"):
        CausalLM.load(folder)


@pytest.mark.parametrize("kept", [0, 5, 3000])
def test_a_file_of_weights_that_was_cut_short_is_named(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"model\.safetensors' cannot be read") as caught:
        CausalLM.load(folder)
    assert caught.value.hint


@pytest.mark.parametrize("held", [b"", b"GGUFjunk", b"GGUF" + bytes(200), b"no such thing" * 20])
def test_junk_instead_of_a_gguf_file_is_named(tmp_path: Path, held: bytes) -> None:
    for module in ("gguf", "accelerate"):
        pytest.importorskip(module)
    file = tmp_path / "junk.gguf"
    file.write_bytes(held)
    for load in (CausalLM.load, load_text):
        with pytest.raises(ModelError, match=r"junk\.gguf"):
            load(file)


@pytest.mark.parametrize("held", ["{}", "[1]", "{", ""])
def test_a_damaged_tokenizer_is_refused(folder: Path, held: str) -> None:
    (folder / "tokenizer.json").write_text(held)
    with pytest.raises(ModelError, match=str(folder)):
        load_text(folder)


@pytest.mark.parametrize("kept", [None, "Qwen2Tokenizer"])
def test_a_folder_without_a_tokenizer_says_so(folder: Path, kept: str | None) -> None:
    for file in folder.glob("*tok*"):
        file.unlink()
    if kept is not None:  # Transformers makes a tokenizer of that class with no words in it
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kept}))
    with pytest.raises(ModelNotFound, match=f"no tokenizer in '{folder}'"):
        load_text(folder)


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ({"dtype": "float99"}, ModelError, 'dtype "float99" is no number format'),
        ({"dtype": "auto"}, ModelError, 'dtype "auto" is no number format'),
        ({"dtype": 32}, ModelError, "dtype 32 is no number format"),
        ({"dtype": "nn"}, ModelError, 'dtype "nn" is no number format'),
        ({"quantization_config": {}}, ModelError, "quantization_config names no quant_method"),
        ({"quantization_config": "awq"}, ModelError, "quantization_config names no quant_method"),
        ({"quantization_config": {"quant_method": "zzz"}}, UnsupportedModel, "quantised as 'zzz'"),
        ({"max_position_embeddings": -1}, ModelError, "max_position_embeddings must be > 0, not -1"),
        ({"max_position_embeddings": 0}, ModelError, "max_position_embeddings must be > 0, not 0"),
        ({"max_position_embeddings": None}, ModelError, "max_position_embeddings"),
        ({"max_position_embeddings": "512"}, ModelError, "max_position_embeddings"),
        ({"num_hidden_layers": "two"}, ModelError, "num_hidden_layers"),
        ({"model_type": "nonesuch"}, UnsupportedModel, "no architecture 'nonesuch'"),
        ({"model_type": "nonesuch", "auto_map": {}}, UnsupportedModel, "code of its own"),
        ({"model_type": None}, ModelError, "model_type"),
    ],
)
def test_a_configuration_that_cannot_be_names_folder_and_entry(
    folder: Path, said: dict[str, Any], error: type[ModelError], message: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | said))
    with pytest.raises(error, match=message) as caught:
        CausalLM.load(folder)
    assert str(folder) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("held", ["{", "", "[1]", "3"])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, held: str) -> None:
    (folder / "config.json").write_text(held)
    with pytest.raises(ModelError, match=f"{folder}"):
        CausalLM.load(folder)


def test_memory_that_does_not_suffice_is_not_called_damage(folder: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError), damage.readable("weights", folder):
        raise torch.OutOfMemoryError("no more")


def in_fp8(folder: Path) -> torch.nn.Module:
    """Write a checkpoint as DeepSeek and Qwen publish theirs: layers in FP8 by blocks of 64, the rest in bfloat16."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=264, hidden_size=128, num_hidden_layers=2, intermediate_size=256, num_attention_heads=2,
        num_key_value_heads=1, head_dim=64, max_position_embeddings=256, tie_word_embeddings=False, dtype="bfloat16",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    written = {}
    for name, weight in model.state_dict().items():
        written[name] = weight.contiguous()
        if weight.dim() == 2 and "layers" in name:
            rows, columns = (size // 64 for size in weight.shape)
            blocks = weight.float().reshape(rows, 64, columns, 64)
            scale = blocks.abs().amax((1, 3)) / 448
            values = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
            written |= {name: values.reshape(weight.shape).contiguous(), f"{name}_scale_inv": scale}
    save_file(written, folder / "model.safetensors", metadata={"format": "pt"})
    config.quantization_config = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64],
                                  "modules_to_not_convert": ["lm_head"]}  # fmt: skip
    config.save_pretrained(folder)
    return model


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a GPU may compute in FP8 itself")
@pytest.mark.parametrize("asked", [None, torch.bfloat16, torch.float32])
def test_fp8_blocks_are_unpacked_to_one_number_format_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: torch.dtype | None
) -> None:
    pytest.importorskip("accelerate")
    original = in_fp8(tmp_path)
    lm = CausalLM.load(tmp_path, dtype=asked)
    expected = asked or preferred(lm.device, torch.bfloat16)
    assert {parameter.dtype for parameter in lm.model.parameters()} == {expected} == {lm.dtype}
    assert f"unpacked to {expected}" in caplog.text
    with closing(lm.open()) as slot, torch.inference_mode():
        found = lm.score([chain([1, 2, 3, 4])], [slot]).of(0).float()
        original_logits = original(torch.tensor([[1, 2, 3, 4]])).logits[0].float()
    assert float((found - original_logits).norm() / original_logits.norm()) < 0.1
