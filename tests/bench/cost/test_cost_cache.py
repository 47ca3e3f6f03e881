"""The cache: measured once, read again, and never trusted blindly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic.bench.cost import CostModel, load, pass_cost
from laconic.bench.cost.cache import cache_folder, fingerprint
from laconic.models.causal_lm import CausalLM
from tests import tiny
from tests.bench.cost.planted import Planted


def planted() -> Planted:
    return Planted(lambda n, c, r: 1e-3 + 1e-5 * n + 1e-7 * c * r)


OPTIONS: dict[str, Any] = {"tokens": (1, 2, 4), "contexts": (8, 16), "requests": (1,), "rounds": (2, 2)}


def cost_of(model: Planted, **options: Any) -> CostModel:
    return pass_cost(model, clock=model.clock, **(OPTIONS | options))


def test_the_second_time_nothing_is_measured(tmp_path: Path) -> None:
    first, second = planted(), planted()
    cost = cost_of(first, folder=tmp_path)
    assert cost_of(second, folder=tmp_path) == cost
    assert first.passes > 0
    assert second.passes == 0
    (file,) = tmp_path.iterdir()
    assert load(file) == cost
    cost_of(second, folder=tmp_path, fresh=True)
    assert second.passes > 0


def test_another_grid_or_model_is_measured_on_its_own(tmp_path: Path) -> None:
    cost_of(planted(), folder=tmp_path)
    other = planted()
    cost_of(other, folder=tmp_path, tokens=(1, 8))
    assert other.passes > 0
    wider = planted()
    wider.vocab_size = 12
    cost_of(wider, folder=tmp_path)
    assert wider.passes > 0
    assert len(list(tmp_path.iterdir())) == 3


def test_the_key_tells_models_types_and_threads_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = fingerprint(CausalLM(tiny.model(0)))
    assert one == fingerprint(CausalLM(tiny.model(7))), "other weights of the same shape cost the same"
    assert one != fingerprint(CausalLM(tiny.model(0, layers=3)))
    half = CausalLM(tiny.model(0).to(torch.bfloat16))
    assert one != fingerprint(half)
    plain = CausalLM(tiny.model(0))
    plain.host.fast = None
    assert one != fingerprint(plain)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert one != fingerprint(CausalLM(tiny.model(0)))


def spoil(text: str, change: str) -> str:
    record = json.loads(text)
    if change == "cut":
        return text[: len(text) // 2]
    if change == "list":
        return "[]"
    if change == "falling":
        record["cost"]["base"] = record["cost"]["base"][::-1]
    if change == "negative":
        record["cost"]["per_key"] = -1
    if change == "missing":
        del record["cost"]["per_pair"]
    if change == "no key":
        del record["key"]
    if change == "other key":
        record["key"]["threads"] = 99
    if change == "words":
        record["cost"]["knots"] = ["a", "b"]
    return json.dumps(record)


@pytest.mark.parametrize(
    "change", ["cut", "list", "falling", "negative", "missing", "no key", "other key", "words", "binary"]
)
def test_a_spoilt_file_is_measured_again_aloud(tmp_path: Path, change: str) -> None:
    cost = cost_of(planted(), folder=tmp_path)
    (file,) = tmp_path.iterdir()
    if change == "binary":
        file.write_bytes(b"\xff\xfe\x00")
    else:
        file.write_text(spoil(file.read_text(), change))
    again = planted()
    with pytest.warns(UserWarning, match=r"cannot be used \(.*measuring again"):
        cost_of(again, folder=tmp_path)
    assert again.passes > 0
    assert load(file).form == cost.form, "the file is mended"


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    cost = cost_of(planted(), folder=tmp_path / "file" / "cost", say=said.append)
    assert cost.seconds(1, 0) > 0
    assert "cannot be kept" in said[0]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "laconic" / "cost"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == Path.home() / ".cache" / "laconic" / "cost"
