"""AIM: its formula by hand, what the inputs of layers are, and checkpoints merged with it."""

from __future__ import annotations

import gc
import hashlib
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config

from laconic.errors import LaconicError, MergeError, ModelError, RequestError, TaskError
from laconic.models.loading import read_model
from laconic.training.merging import Aim, Plan
from laconic.training.merging import aim as aiming
from laconic.training.merging import write as writing
from laconic.training.merging.arithmetic import relax
from laconic.training.merging.checkpoint import open_checkpoint
from laconic.training.merging.plan import BASED
from laconic.training.merging.texts import Texts, read
from tests import tiny
from tests.training.merging.checkpoints import changed, lora, weights, written

SAID = ("Two and three is five.", "What is 17 + 4 * 9?\n\nIt is 53.", "x")
DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture
def texts(tmp_path: Path) -> str:
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text, "other": 1}) + "\n" for text in SAID))
    return str(file)


def measured(base: str, aim: Aim) -> dict[str, Tensor]:
    return aiming.calibrate(open_checkpoint(base), aim, read(aim.texts), "cpu")[0]


def test_relax_by_hand() -> None:
    base, merged = torch.tensor([[1.0, 1.0], [2.0, 0.0]]), torch.tensor([[3.0, 3.0], [2.0, -4.0]])
    # The factors are 1 - 1 * 0.75 = 0.25 and 1 - 0.5 * 0.75 = 0.625; the differences 2, 2 and 0, -4.
    found = relax(base, merged, torch.tensor([1.0, 0.5]), 0.25)
    assert found.tolist() == [[1.5, 2.25], [2.0, -2.5]]


def test_what_omega_leaves() -> None:
    made = torch.Generator().manual_seed(3)
    base, merged = (torch.randn(5, 7, generator=made) for _ in range(2))
    importance = torch.rand(7, generator=made)
    importance[2] = 1
    assert torch.equal(relax(base, merged, importance, 1.0), merged)
    assert torch.equal(relax(base, merged, torch.zeros(7), 0.0), merged)
    assert torch.equal(relax(merged, merged, importance, 0.0), merged)
    nothing = relax(base, merged, importance, 0.0)
    torch.testing.assert_close(nothing[:, 2], base[:, 2])
    torch.testing.assert_close(nothing, base + (1 - importance) * (merged - base))


def test_inputs_by_hand() -> None:
    class Two(nn.Module):
        """Two layers, of which the second sees half of the first's outputs of the first token alone."""

        device = torch.device("cpu")

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.none = nn.Linear(2, 2, bias=False), nn.Linear(1, 1), nn.Linear(3, 3)
            self.one.weight.data = torch.tensor([[1.0, 1.0], [1.0, -1.0]])

        def forward(self, input_ids: Tensor, use_cache: bool) -> Tensor:
            rows = torch.stack([input_ids.float(), -input_ids.float() - 1], -1)
            return self.two(self.one(rows)[:, :1, 1:])

    found = aiming.inputs(Two(), [[2, 4], [9]])
    # Rows of the first: (2, -3), (4, -5), (9, -10). Of the second: 2 + 3 and 9 + 10.
    assert {name: size.tolist() for name, size in found.items()} == {"one": [5.0, 6.0], "two": [12.0]}


def test_inputs_of_a_model_are_what_its_layers_are_given(pair: list[str]) -> None:
    model = read_model(pair[0], dtype=torch.float32).eval()
    tokens = [tiny.tokenizer().encode(text) for text in SAID]
    found = aiming.inputs(model, tokens)
    states = [model(input_ids=torch.tensor([each]), output_hidden_states=True).hidden_states for each in tokens]

    def mean(rows: list[Tensor]) -> Any:
        return np.abs(np.concatenate([each[0].double().detach().numpy() for each in rows])).mean(0)

    first = model.model.layers[0]
    normed = mean([first.input_layernorm(state[0]) for state in states])
    for name in ("q_proj", "k_proj", "v_proj"):
        np.testing.assert_allclose(found[f"model.layers.0.self_attn.{name}"].numpy(), normed, rtol=1e-5)
    np.testing.assert_allclose(found["lm_head"].numpy(), mean([state[-1] for state in states]), rtol=1e-5)
    assert len(found) == 2 * 7 + 1  # four of attention, three of the MLP
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_importance_is_a_share_of_the_layers_largest(pair: list[str], texts: str) -> None:
    weighed = measured(pair[0], Aim(texts))
    sizes = aiming.inputs(read_model(pair[0], dtype="auto"), [tiny.tokenizer().encode(text) for text in SAID])
    for name, importance in weighed.items():
        size = sizes[name.removesuffix(".weight")]
        torch.testing.assert_close(importance.double(), size / max(size.tolist()), rtol=1e-6, atol=0)
        assert float(importance.max()) == 1.0
        assert importance.dtype == torch.float32


@pytest.mark.parametrize("method", BASED)
def test_aim_is_a_step_behind_any_method_with_a_base(
    method: str, pair: list[str], base: str, texts: str, tmp_path: Path
) -> None:
    aim = Aim(texts, omega=0.3)
    plain = Plan(method, (0.25, 0.75))
    made = written(tmp_path / "out", pair, Plan(method, (0.25, 0.75), aim=aim), base=base, device="cpu")
    start, inputs, weighed = weights(base), [weights(name) for name in pair], measured(base, aim)
    for name, tensor in weights(made.path).items():
        merged = plain.merge(name, start[name], [each[name] for each in inputs])
        if name in weighed:
            factor = 1 - 0.7 * weighed[name]
            torch.testing.assert_close(tensor, start[name] + factor * (merged - start[name]), rtol=1e-5, atol=1e-7)
            assert not torch.allclose(tensor, merged, rtol=0.01)
        else:
            assert torch.equal(tensor, merged)
    same = written(tmp_path / "same", pair, Plan(method, (0.25, 0.75), aim=Aim(texts, omega=1.0)), base=base)
    for name, tensor in weights(same.path).items():
        assert torch.equal(tensor, plain.merge(name, start[name], [each[name] for each in inputs]))


def test_a_base_merged_with_itself_is_itself(base: str, texts: str, tmp_path: Path) -> None:
    made = written(tmp_path / "out", [base], Plan("task-arithmetic", (1.0,), aim=Aim(texts, 0.0)), base=base)
    start = weights(base)
    assert all(torch.equal(tensor, start[name]) for name, tensor in weights(made.path).items())


def test_all_that_the_result_depends_on_is_told(pair: list[str], base: str, texts: str, tmp_path: Path) -> None:
    made = written(tmp_path / "out", pair, Plan("ties", (0.5, 0.5), aim=Aim(texts, tokens=30)), base=base, device="cpu")
    said = json.loads((tmp_path / "out" / "merging.json").read_text())
    assert said["plan"]["aim"] == {"texts": texts, "omega": 0.4, "tokens": 30}
    assert said["plan"]["density"] == 0.2  # what was not said, too
    digest = hashlib.sha256(Path(texts).read_bytes()).hexdigest()
    expected = {"sha256": digest, "texts": 2, "tokens": 30, "dtype": "float32", "device": "cpu"}
    assert said["calibration"] == expected
    assert made.notes == (
        "AIM leaves 10 tensors as merged, of which no inputs are known: model.embed_tokens.weight, "
        "model.layers.*.input_layernorm.weight (2), model.layers.*.post_attention_layernorm.weight (2), "
        "model.layers.*.self_attn.k_norm.weight (2), model.layers.*.self_attn.q_norm.weight (2), model.norm.weight",
    )
    assert written(tmp_path / "plain", pair, Plan("ties", (0.5, 0.5)), base=base).calibration is None


def test_a_text_is_read_in_blocks_and_no_further_than_asked(pair: list[str], monkeypatch) -> None:
    seen: list[list[int]] = []
    inputs = aiming.inputs
    monkeypatch.setattr(
        aiming, "inputs", lambda model, parts: inputs(model, [seen.append(each) or each for each in parts])
    )
    found = Texts(("a" * 700, "b" * 700, "c"), "digest")
    _, calibration = aiming.calibrate(open_checkpoint(pair[0]), Aim("f", tokens=1300), found, "cpu")
    assert [len(part) for part in seen] == [512, 188, 512, 88]
    assert (calibration.texts, calibration.tokens) == (2, 1300)
    _, calibration = aiming.calibrate(open_checkpoint(pair[0]), Aim("f"), found, "cpu")
    assert (calibration.texts, calibration.tokens) == (3, 1401)


def test_the_base_is_read_once_and_gone_before_anything_is_merged(
    pair: list[str], base: str, texts: str, tmp_path: Path, monkeypatch
) -> None:
    models: list[Any] = []
    alive: dict[int, str] = {}

    def watched(*given: Any, **more: Any) -> Any:
        model = read_model(*given, **more)
        models.append(weakref.ref(model))
        return model

    read_tensor = writing.Checkpoint.read

    def counted(self: Any, name: str) -> Tensor:
        if not alive:  # once: a collection takes a while
            gc.collect()
        assert [model() for model in models] == [None]
        found = read_tensor(self, name)
        assert set(alive.values()) <= {name}
        alive[id(found)] = name
        weakref.finalize(found, alive.pop, id(found))
        return found

    monkeypatch.setattr(aiming, "read_model", watched)
    monkeypatch.setattr(writing.Checkpoint, "read", counted)
    monkeypatch.setattr(writing, "save", lambda tensors, *_: [None for _ in tensors])
    written(tmp_path / "out", pair, Plan("ties", (0.5, 0.5), aim=Aim(texts)), base=base)


def test_a_base_runs_in_its_own_number_format(pair: list[str], base: str, texts: str, tmp_path: Path) -> None:
    tiny.model(2).bfloat16().save_pretrained(base)
    made = written(tmp_path / "out", [pair[0]], Plan("ties", (1.0,), aim=Aim(texts)), base=base)
    assert made.calibration is not None
    assert made.calibration.dtype == "bfloat16"
    assert {tensor.dtype for tensor in weights(made.path).values()} == {torch.bfloat16}


def test_a_tied_head_is_left_as_merged(tmp_path: Path, texts: str) -> None:
    names = []
    for seed in range(2):
        model = tiny.model(seed)
        model.config.tie_word_embeddings = True
        model.tie_weights()
        model.save_pretrained(tmp_path / str(seed))
        tiny.tokenizer().save_pretrained(tmp_path / str(seed))
        names.append(str(tmp_path / str(seed)))
    made = written(tmp_path / "out", names[1:], Plan("task-arithmetic", (0.5,), aim=Aim(texts)), base=names[0])
    one, two, found = weights(names[0]), weights(names[1]), weights(made.path)
    head = "model.embed_tokens.weight"
    torch.testing.assert_close(found[head], (one[head] + two[head]) / 2)
    assert head in made.notes[0]


def test_an_adapters_base_reads_the_texts(base: str, pair: list[str], texts: str, tmp_path: Path) -> None:
    """Of an adapter as the base it is the adapted model that is measured."""
    adapter, aim = lora(base, tmp_path / "adapter"), Aim(texts)
    whole = tmp_path / "whole"
    read_model(adapter, dtype=torch.float32).save_pretrained(whole)
    tiny.tokenizer().save_pretrained(whole)
    adapted, plain, expected = (measured(name, aim) for name in (adapter, base, str(whole)))
    assert adapted.keys() == plain.keys()
    name = "model.layers.0.self_attn.o_proj.weight"
    torch.testing.assert_close(adapted[name], expected[name])
    assert not torch.allclose(adapted[name], plain[name])


def test_a_layer_that_is_given_nothing_but_zeros_is_left_and_named(
    pair: list[str], base: str, texts: str, tmp_path: Path
) -> None:
    changed(base, lambda held: held["model.layers.0.mlp.up_proj.weight"].zero_())
    made = written(tmp_path / "out", [pair[0]], Plan("task-arithmetic", (0.5,), aim=Aim(texts)), base=base)
    start, one = weights(base), weights(pair[0])
    torch.testing.assert_close(weights(made.path)[DOWN], (start[DOWN] + one[DOWN]) / 2)
    assert "model.layers.*.mlp.down_proj.weight," in made.notes[0]  # one, not both


@pytest.mark.parametrize("name", ["texts.txt", "texts.jsonl"])
def test_texts_of_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    lines = (
        ("one", "", "zwei ü")
        if name.endswith("txt")
        else ('{"text": "one"}', "", '{"text": "zwei ü"}', '{"text": " "}')
    )
    file.write_bytes("\r\n".join(lines).encode())
    assert read(file) == Texts(("one", "zwei ü"), hashlib.sha256(file.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, "cannot read '.*gone.txt'"),
        ("empty.txt", b"\n \n", "holds no text"),
        ("empty.jsonl", b"", "holds no text"),
        ("bytes.txt", b"\xff\xfe", "is not UTF-8"),
        ("cut.jsonl", b'{"text": "a"}\n{"text"\n', "line 2: not JSON"),
        ("other.jsonl", b'{"text": "a"}\n{"question": "b"}\n', "line 2: it has no text"),
        ("number.jsonl", b'{"text": 3}\n', "line 1: it has no text"),
    ],
)
def test_files_without_texts_are_refused_before_a_model_is_opened(
    name: str, content: bytes | None, message: str, pair: list[str], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    plan = Plan("ties", (0.5, 0.5), aim=Aim(str(tmp_path / name)))
    with pytest.raises(TaskError, match=message) as caught:
        written(tmp_path / "out", pair, plan, base=str(tmp_path / "no model"))
    assert caught.value.hint


def test_a_device_that_is_not_there_is_refused_before_a_model_is_opened(
    pair: list[str], texts: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="no device is called 'gpu'"):
        written(tmp_path / "out", pair, Plan("ties", (0.5, 0.5), aim=Aim(texts)), base="no model", device="gpu")


def without_linear_layers(folder: str) -> None:
    config = GPT2Config(vocab_size=264, n_embd=32, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def unsound(folder: str) -> None:
    changed(folder, lambda held: held["model.norm.weight"].fill_(float("nan")))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (without_linear_layers, MergeError, "no tensor of '.*base' is the weight of a linear layer"),
        (unsound, ModelError, "'.*base' computes NaN or infinities on '.*texts.jsonl'"),
    ],
)
def test_a_base_that_cannot_be_measured_is_refused(
    spoil: Any, error: type[LaconicError], message: str, base: str, texts: str, tmp_path: Path
) -> None:
    spoil(base)
    with pytest.raises(error, match=message) as caught:
        written(tmp_path / "out", [base], Plan("task-arithmetic", (1.0,), aim=Aim(texts)), base=base)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
