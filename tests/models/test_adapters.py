"""Folders of adapters: whole ones are merged into their base, and all others are refused by what they lack."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from laconic.engine import Engine
from laconic.errors import LaconicError, ModelError, ModelNotFound, RequestError, UnsupportedModel
from laconic.models import adapters, loading
from laconic.models.causal_lm import CausalLM
from laconic.models.load import load_defaults, load_text
from tests import tiny

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny.model().save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    """A LoRA adapter of all query projections, whose weights are not zero."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    adapted = peft.get_peft_model(
        tiny.model(), peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def says(adapter: Path, **said: Any) -> None:
    file = adapter / adapters.ADAPTER
    file.write_text(json.dumps(json.loads(file.read_text()) | said))


def test_an_adapter_names_its_base_and_peft(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / adapters.ADAPTER).write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert load_text(adapter).format == load_text(base).format  # its base's tokenizer
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedModel, match="peft") as caught:
        CausalLM.load(adapter)
    assert str(base) in caught.value.message


@pytest.mark.parametrize("held", ["{}", '{"base_model_name_or_path": null}', '{"base_model_name_or_path": ""}'])
def test_an_adapter_of_no_base_is_refused(tmp_path: Path, held: str) -> None:
    (tmp_path / adapters.ADAPTER).write_text(held)
    for load in (CausalLM.load, load_text):
        with pytest.raises(ModelError, match=r"adapter_config\.json' does not name the checkpoint"):
            load(tmp_path)


@pytest.mark.parametrize("held", ["{", "[1]", "3"])
def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path, held: str) -> None:
    (tmp_path / adapters.ADAPTER).write_text(held)
    with pytest.raises(ModelError, match=r"adapter_config\.json' (is no JSON|holds no)"):
        CausalLM.load(tmp_path)


def test_an_adapter_is_merged_into_its_base(adapter: Path) -> None:
    from peft import PeftModel

    expected_model = PeftModel.from_pretrained(tiny.model(), adapter).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # nothing that a reader could act on
        found = loading.read_model(adapter, dtype=torch.float32)
    prompt = torch.arange(12)[None]
    with torch.inference_mode():
        expected = expected_model(prompt).logits
        torch.testing.assert_close(found.eval()(prompt).logits, expected)
        assert not torch.allclose(tiny.model()(prompt).logits, expected)


def lacking_weights(adapter: Path) -> None:
    (adapter / WEIGHTS).unlink()


def lacking_one(adapter: Path) -> None:
    weights = load_file(adapter / WEIGHTS)
    del weights["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"]
    save_file(weights, adapter / WEIGHTS)


def cut_short(adapter: Path) -> None:
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:500])


REFUSED: list[tuple[Callable[[Path], None], type[LaconicError], str]] = [
    (lacking_weights, ModelNotFound, r"has no weights: no adapter_model\.safetensors"),
    (lacking_one, ModelError, r"lacks 1 of .*layers\.1\.self_attn\.q_proj\.lora_B"),
    (cut_short, ModelError, r"adapter_model\.safetensors' cannot be read"),
    (lambda adapter: says(adapter, target_modules=["q_proj", "v_proj"]), ModelError, r"lacks 4 of .*v_proj"),
    (lambda adapter: says(adapter, target_modules=["nonesuch"]), ModelError, "nonesuch"),
    (lambda adapter: says(adapter, r=8), ModelError, "size mismatch.*q_proj"),
    (lambda adapter: says(adapter, r="four"), ModelError, "adapter"),
    (lambda adapter: says(adapter, peft_type="ZZZ"), UnsupportedModel, "ZZZ"),
    (lambda adapter: says(adapter, peft_type="PREFIX_TUNING"), UnsupportedModel, "PREFIX_TUNING"),
    (lambda adapter: says(adapter, peft_type=None), ModelError, r"adapter_config\.json.*peft_type"),
    (lambda adapter: says(adapter, base_model_name_or_path=str(adapter)), ModelError, "an adapter itself"),
]


@pytest.mark.parametrize(("broken", "error", "message"), REFUSED)
def test_an_adapter_that_is_not_whole_is_refused(
    adapter: Path, broken: Callable[[Path], None], error: type[LaconicError], message: str
) -> None:
    broken(adapter)
    with pytest.raises(error, match=message) as caught:
        CausalLM.load(adapter)
    assert str(adapter) in caught.value.message
    assert caught.value.hint


def test_an_adapter_whose_base_is_gone_names_the_base(adapter: Path, tmp_path: Path) -> None:
    says(adapter, base_model_name_or_path=str(tmp_path / "gone"))
    for load in (CausalLM.load, load_text, load_defaults):
        with pytest.raises(ModelNotFound) as caught:
            load(adapter)
        assert caught.value.message.index(str(tmp_path / "gone")) < caught.value.message.index(str(adapter))


def test_an_adapter_whose_base_is_broken_names_both(adapter: Path, base: Path) -> None:
    (base / "config.json").write_text("{")
    with pytest.raises(ModelError, match=rf"{base}/config\.json.*adapter '{adapter}' is for it"):
        CausalLM.load(adapter)


def test_weights_without_use_are_counted(adapter: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = load_file(adapter / WEIGHTS)
    weights["base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"] = torch.zeros(4, 32)
    save_file(weights, adapter / WEIGHTS)
    with caplog.at_level(logging.WARNING, "laconic"):
        CausalLM.load(adapter)
    assert "1 weights that the model has no use for are left out" in caplog.text


def scaled(adapter: Path, scale: float | None) -> dict[str, Any]:
    return loading.read_model(adapter, dtype=torch.float32, lora_scale=scale).state_dict()


def test_a_scale_multiplies_the_update(adapter: Path, base: Path) -> None:
    start, saved = loading.read_model(base, dtype=torch.float32).state_dict(), scaled(adapter, None)
    name = "model.layers.1.self_attn.q_proj.weight"
    held = load_file(adapter / WEIGHTS)
    lora = {part: held[f"base_model.model.{name.removesuffix('weight')}lora_{part}.weight"] for part in "AB"}
    update = json.loads((adapter / adapters.ADAPTER).read_text())["lora_alpha"] / 4 * lora["B"] @ lora["A"]
    assert float(update.abs().max()) > 0.01
    for scale in (-1.0, 0.0, 0.5, 1.0, 1.75):
        found = scaled(adapter, scale)
        torch.testing.assert_close(found[name], start[name] + scale * update)
        assert found.keys() == start.keys()
    assert all(torch.equal(value, start[key]) for key, value in scaled(adapter, 0).items())
    assert all(torch.equal(value, saved[key]) for key, value in scaled(adapter, 1).items())


def test_a_model_says_its_scale_where_it_is_not_one(adapter: Path) -> None:
    assert CausalLM.load(adapter, lora_scale=0.5).describe()["lora_scale"] == 0.5
    assert CausalLM.load(adapter, lora_scale=0).describe()["lora_scale"] == 0
    assert all("lora_scale" not in CausalLM.load(adapter, lora_scale=scale).describe() for scale in (None, 1.0))
    whole, part = (CausalLM.load(adapter, lora_scale=scale).fingerprint() for scale in (1.0, 0.5))
    assert whole != part  # heads and directions fitted at one strength are not for another
    engine = Engine.load(adapter, lora_scale=-0.5)
    assert engine.describe()["model"]["lora_scale"] == -0.5


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_refused(adapter: Path, scale: float) -> None:
    with pytest.raises(RequestError, match="cannot be scaled by"):
        CausalLM.load(adapter, lora_scale=scale)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_what_is_no_adapter_has_no_scale(base: Path, scale: float) -> None:
    for name in (str(base), "bundled"):
        with pytest.raises(RequestError, match="is no adapter") as caught:
            Engine.load(name, lora_scale=scale)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"bias": "all"}, "bias 'all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"peft_type": "LOHA"}, "peft_type 'LOHA'"),
    ],
)
def test_what_is_more_than_a_lora_update_has_no_scale(adapter: Path, base: Path, said: Any, named: str) -> None:
    says(adapter, **said)
    with pytest.raises(UnsupportedModel, match=f"with {named} is more than a LoRA update"):
        CausalLM.load(adapter, lora_scale=0.5)
    adapters.check(adapter, str(base), 1.0)  # as it was saved it is nothing to refuse


def test_weights_in_place_of_the_bases_own_have_no_scale(adapter: Path) -> None:
    name = "base_model.model.model.embed_tokens.weight"  # as peft saves them where a vocabulary was extended
    save_file(load_file(adapter / WEIGHTS) | {name: torch.ones(264, 32)}, adapter / WEIGHTS)
    assert (scaled(adapter, None)["model.embed_tokens.weight"] == 1).all()
    with pytest.raises(UnsupportedModel, match=r"weights of its base's own .*embed_tokens.* has no strength"):
        scaled(adapter, 0.5)
