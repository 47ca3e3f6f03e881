"""Checkpoints merged on disk: the right numbers, however files are cut, and within memory."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.models.load import load_model, load_text
from laconic.models.loading import read_model
from laconic.training.merging import Plan
from laconic.training.merging import write as writing
from laconic.training.merging.plan import BASED, METHODS
from laconic.types import Limits
from tests import tiny
from tests.training.merging.checkpoints import HALVES, WEIGHTS, config, lora, saved, weights, written


def test_what_is_written_is_what_the_methods_give(pair: list[str], base: str, tmp_path: Path) -> None:
    inputs = [weights(name) for name in pair]
    for method in METHODS:
        plan, origin = Plan(method, (0.25, 0.75)), base if method in BASED else None
        made = written(tmp_path / method, pair, plan, base=origin)
        found = weights(made.path)
        assert found.keys() == inputs[0].keys()
        for name, tensor in found.items():
            start = None if origin is None else weights(base)[name]
            assert torch.equal(tensor, plan.merge(name, start, [each[name] for each in inputs]))
        assert made.tensors == len(found)
        assert made.parameters == sum(tensor.numel() for tensor in found.values())
        assert json.loads((tmp_path / method / "merging.json").read_text())["plan"]["weights"] == [0.25, 0.75]


def test_a_merged_model_loads_and_writes(pair: list[str], tmp_path: Path) -> None:
    made = written(tmp_path / "out", pair)
    engine = Engine.load(made.path)
    assert engine.generate("What is 2 + 3?", limits=Limits(8)).tokens
    assert engine.text.format == load_text(pair[0]).format
    assert not list(tmp_path.glob(".*"))  # nothing is left of the work


def test_the_first_bit_for_bit_and_oneself(pair: list[str], tmp_path: Path) -> None:
    for i, (models, shares) in enumerate(((pair, (1.0, 0.0)), ([pair[0]] * 2, (0.3, 0.7)))):
        made = written(tmp_path / f"out{i}", models, Plan("linear", shares))
        assert (Path(made.path) / WEIGHTS).read_bytes() == (Path(pair[0]) / WEIGHTS).read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_files_may_be_cut_anywhere(method: str, pair: list[str], base: str, tmp_path: Path) -> None:
    plan, origin = Plan(method, (0.25, 0.75), seed=3), base if method in BASED else None
    whole = written(tmp_path / "whole", pair, plan, base=origin)
    assert (Path(whole.path) / WEIGHTS).is_file()
    for i, name in enumerate(pair):  # cut in different places
        saved(Path(name), i, max_shard_size=f"{8 + 4 * i}KB")
        (Path(name) / WEIGHTS).unlink(missing_ok=True)
    cut = written(tmp_path / "cut", pair, plan, base=origin, shard=20_000)
    assert len(list(Path(cut.path).glob("*.safetensors"))) > 2
    assert all(file.stat().st_size < 42_000 for file in Path(cut.path).glob("*.safetensors"))  # the largest is 33,792
    first, second = weights(whole.path), weights(cut.path)
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert load_model(cut.path).fingerprint() == load_model(whole.path).fingerprint()


def test_one_tensor_of_each_model_is_held_at_a_time(pair: list[str], base: str, tmp_path: Path, monkeypatch) -> None:
    """Every tensor that is read is followed to its end: none of another name lives when the next is read."""
    alive: dict[int, str] = {}
    most = 0
    read = writing.Checkpoint.read

    def counted(self: Any, name: str) -> Tensor:
        nonlocal most
        found = read(self, name)
        assert set(alive.values()) <= {name}
        alive[id(found)] = name
        weakref.finalize(found, alive.pop, id(found))
        most = max(most, len(alive))
        return found

    monkeypatch.setattr(writing.Checkpoint, "read", counted)
    monkeypatch.setattr(writing, "save", lambda tensors, *_: [None for _ in tensors])
    for method in METHODS:
        based = method in BASED
        alive.clear()
        written(tmp_path / method, pair, Plan(method, (0.4, 0.6)), base=base if based else None)
    assert most == 3  # of two models and a base


def test_the_number_format_is_that_of_the_base_else_of_the_first(pair: list[str], tmp_path: Path) -> None:
    half = tmp_path / "half"
    tiny.model(2).bfloat16().save_pretrained(half)
    tiny.tokenizer().save_pretrained(half)
    for models, base, dtype in (
        ([pair[0], str(half)], None, torch.float32),
        ([str(half), pair[0]], None, torch.bfloat16),
        (pair, str(half), torch.bfloat16),
    ):
        plan = HALVES if base is None else Plan("task-arithmetic", (0.5, 0.5))
        made = written(tmp_path / f"out-{len(list(tmp_path.iterdir()))}", models, plan, base=base)
        assert {tensor.dtype for tensor in weights(made.path).values()} == {dtype}
    exact = weights(half)["lm_head.weight"].float() + 0.5 * sum(
        weights(name)["lm_head.weight"] - weights(half)["lm_head.weight"].float() for name in pair
    )  # rounded once, at the end
    torch.testing.assert_close(weights(made.path)["lm_head.weight"], exact.bfloat16(), rtol=0.008, atol=1e-6)


def test_tied_embeddings_stay_tied(tmp_path: Path) -> None:
    names = []
    for seed in range(2):
        model = tiny.model(seed)
        model.config.tie_word_embeddings = True
        model.tie_weights()
        model.save_pretrained(tmp_path / str(seed))
        tiny.tokenizer().save_pretrained(tmp_path / str(seed))
        names.append(str(tmp_path / str(seed)))
    assert "lm_head.weight" not in weights(names[0])
    twice = weights(names[1])  # as older programs wrote it
    save_file(twice | {"lm_head.weight": twice["model.embed_tokens.weight"].clone()}, Path(names[1]) / WEIGHTS)
    made = written(tmp_path / "out", names)
    assert "lm_head.weight" not in weights(made.path)
    merged = read_model(made.path, dtype=torch.float32)
    assert merged.get_output_embeddings().weight is merged.get_input_embeddings().weight


def test_text_files_are_those_of_the_base_and_differences_are_told(pair: list[str], base: str, tmp_path: Path) -> None:
    other = tiny.tokenizer(template=tiny.TEMPLATE + "{# another #}")
    other.add_tokens(["<|tool|>"])
    other.save_pretrained(pair[1])
    config(pair[1], rms_norm_eps=1e-5)
    (Path(pair[1]) / "generation_config.json").write_text('{"temperature": 0.3, "do_sample": true}')
    (Path(base) / "README.md").write_text("a card")
    (Path(base) / "LICENSE").write_text("a licence")
    made = written(tmp_path / "out", pair, Plan("ties", (0.5, 0.5)), base=base)
    assert [note.split(";")[0] for note in made.notes] == [
        f"'{pair[1]}' has another {what}"
        for what in ("rms_norm_eps", "set of added tokens (262: '<|tool|>')", "chat template", "generation config")
    ]
    assert all(note.endswith(f"that of '{base}' is written") for note in made.notes)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE"):
        assert (tmp_path / "out" / name).read_bytes() == (Path(base) / name).read_bytes()
    assert not (tmp_path / "out" / "README.md").exists()  # a card of another model
    assert written(tmp_path / "alike", [pair[0]] * 2).notes == ()


def test_an_adapter_is_merged_into_its_base_first(base: str, pair: list[str], tmp_path: Path) -> None:
    adapter = lora(base, tmp_path / "adapter")
    whole = read_model(adapter, dtype=torch.float32).state_dict()
    made = written(tmp_path / "out", [adapter, pair[0]], Plan("task-arithmetic", (0.5, 0.25)), base=base)
    start, other = weights(base), weights(pair[0])
    for name, tensor in weights(made.path).items():
        expected = start[name] + 0.5 * (whole[name] - start[name]) + 0.25 * (other[name] - start[name])
        torch.testing.assert_close(tensor, expected)
    alone = written(tmp_path / "first", [adapter, base])  # an adapter decides what is written, by its base
    torch.testing.assert_close(weights(alone.path)["lm_head.weight"], start["lm_head.weight"])
    assert load_text(alone.path).format == load_text(base).format
    with pytest.raises(RequestError, match=r"the adapter '.*adapter' is for '.*base', and the base is '.*one'"):
        written(tmp_path / "no", [adapter], Plan("task-arithmetic", (0.5,)), base=pair[0])
