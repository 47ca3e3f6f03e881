"""Where a model runs, and in which number format, where nobody says."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from laconic import Engine, Limits, Methods
from laconic.errors import MissingExtra, ModelError, RequestError
from laconic.models import devices
from laconic.models.causal_lm import CausalLM
from laconic.models.devices import best, named_device, placed, preferred
from tests import tiny

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_the_accelerator_and_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named_device() == named_device("spread") == best()
    assert named_device("cpu") == CPU
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: CUDA)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert (named_device(), named_device("cuda:1")) == (CUDA, torch.device("cuda:1"))
    with pytest.raises(RequestError, match=r"no .cuda:2."):
        named_device("cuda:2")
    with pytest.raises(RequestError, match="no device 'mps'"):
        named_device("mps")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("meta"))
    assert best() == CPU  # one that laconic does not know


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", ""])
def test_a_device_that_nothing_is_called(name: str) -> None:
    with pytest.raises(RequestError, match="no device is called") as caught:
        named_device(name)
    assert "auto" in str(caught.value.hint)


def test_the_cpu_is_one_device() -> None:
    assert named_device("cpu:0").type == "cpu"
    with pytest.raises(RequestError, match="no 'cpu:3'"):
        named_device("cpu:3")


def test_the_number_format_that_suits_device_and_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernels in (None, object()):
        monkeypatch.setattr(devices, "kernels", lambda kernels=kernels: kernels)
        assert preferred(CPU, torch.float32) == preferred(CPU, torch.float16) == torch.float32
        assert preferred(CPU, torch.bfloat16) == (torch.float32 if kernels is None else torch.bfloat16)
    for supported in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, s=supported: s)
        assert preferred(CUDA, torch.bfloat16) == (torch.bfloat16 if supported else torch.float16)
        assert preferred(CUDA, torch.float32) == torch.float32


def test_what_does_not_fit_says_what_to_do() -> None:
    class Large:
        def to(self, device: torch.device) -> Any:
            raise torch.OutOfMemoryError("no")

        def parameters(self) -> list[torch.Tensor]:
            return [torch.empty(2**28, device="meta")]

    with pytest.raises(ModelError, match=r"1.0 GiB of weights do not fit on 'cuda'") as caught:
        placed(Large(), CUDA)
    assert "spread" in str(caught.value.hint)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    tiny.model().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_a_model_is_loaded_where_it_was_asked_to_be(checkpoint: Path) -> None:
    lm = CausalLM.load(checkpoint, device="cpu")
    assert (lm.device, lm.dtype, lm.describe()["device"]) == (CPU, torch.float32, "cpu")
    if best() == CPU:
        with pytest.raises(RequestError, match="no device 'cuda'"):
            Engine.load(checkpoint, device="cuda")


def test_a_model_spread_over_devices_writes_the_same(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("accelerate") is None:
        with pytest.raises(MissingExtra, match="accelerate"):
            CausalLM.load(checkpoint, device="spread")
        pytest.skip("accelerate is not installed: nothing can be spread")
    expected = Engine.load(checkpoint, device="cpu").generate("2+2?", limits=Limits(40))
    assert Engine.load(checkpoint, device="spread").generate("2+2?", limits=Limits(40)).tokens == expected.tokens
    assert "accelerate" in sys.modules


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_with_weights_elsewhere_is_run_by_its_own_cache_and_says_so(
    checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, dtype: torch.dtype
) -> None:
    pytest.importorskip("accelerate")
    places = dict.fromkeys(("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=dtype, device_map=places | {"model.layers.1": "disk"},
        offload_folder=tmp_path_factory.mktemp("elsewhere"),
    )  # fmt: skip
    assert devices.offloaded(model)
    lm, here = CausalLM(model), CausalLM.load(checkpoint, dtype=dtype, device="cpu")
    assert lm.path == "own cache"
    assert lm.notes
    assert lm.fingerprint() == here.fingerprint()
    if dtype == torch.float32:
        found = [Engine(m, tiny.text(), Methods(length="constant:4")).generate("2+2?", limits=Limits(40))
                 for m in (lm, here)]  # fmt: skip
        assert found[0].tokens == found[1].tokens
