"""Padded checkpoints against their sources: the same logits, the same tokens, and more work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from laconic import Engine, Limits
from laconic.errors import ModelError, ModelNotFound, RequestError, UnsupportedModel
from laconic.models.load import load_text
from laconic.models.pad import Shape, pad, pad_to, parse_size, plan
from laconic.models.pad import weights as weights_module
from laconic.models.pad.shards import save
from laconic.models.reasoner import target_path
from tests import tiny

SMALL: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    # So large that an epsilon which is off by the width ratio, in any norm, shows in every logit.
    "rms_norm_eps": 0.05,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "qwen2": Qwen2Config(**SMALL, tie_word_embeddings=True, use_sliding_window=True, sliding_window=8,
                         max_window_layers=1),
    "qwen3": Qwen3Config(**SMALL, head_dim=16),
    "mistral": MistralConfig(**SMALL, sliding_window=8),
}  # fmt: skip
PROMPT = torch.tensor([[(13 * i * i + 5 * i) % 264 for i in range(40)]])
TOLERANCE = 3e-5
"""Logits here are of order 3; float32 sums over more numbers, in another order, differ by about 1e-6 of that."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of each architecture; gains and biases are random too, or their places could not matter."""
    made = {}
    for name, config in CONFIGS.items():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        made[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(made[name])
        tiny.tokenizer().save_pretrained(made[name])
    return made


def load(place: Path, **options: Any) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(place, **options).eval()


@torch.inference_mode()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model(PROMPT).logits


def shape(place: Path, **changes: Any) -> Shape:
    return replace(Shape.of(load(place).config), **changes)


SHAPES = {
    "wider and deeper": {"width": 128, "heads": 16, "kv_heads": 4, "mlp": 100, "layers": 5},
    "wider groups": {"width": 128, "heads": 16, "kv_heads": 2},
    "as many groups as can be": {"width": 128, "heads": 16, "kv_heads": 8},
    "deeper": {"layers": 7},
    "wider MLP": {"mlp": 65},
    "with rounding": {"width": 96, "heads": 12, "kv_heads": 3},
}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_sources(sources: dict[str, Path], tmp_path: Path, name: str, changes: dict[str, int]) -> None:
    wanted = shape(sources[name], **changes)
    made = pad_to(sources[name], tmp_path / "out", wanted)
    padded = load(tmp_path / "out")
    assert sum(p.numel() for p in padded.parameters()) == made.parameters == wanted.parameters
    torch.testing.assert_close(logits(padded), logits(load(sources[name])), atol=TOLERANCE, rtol=TOLERANCE)
    assert made.exact == (changes.get("width") != 96)
    assert made.same_choice == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parameter_count_is_the_one_asked_for_and_the_work_grows_with_it(
    sources: dict[str, Path], tmp_path: Path, name: str
) -> None:
    made = pad(sources[name], tmp_path / "out", "1.5M")
    assert abs(made.parameters / 1.5e6 - 1) <= 0.03
    source, padded = load(sources[name]), load(tmp_path / "out")
    work = []
    for model in (source, padded):
        with FlopCounterMode(display=False) as counter:
            logits(model)
        work.append(counter.get_total_flops())
    outside = sum(p.numel() for n, p in padded.named_parameters() if "embed_tokens" in n) * (not made.new.tied)
    # Two operations for a weight and a token, and a little attention. A layer that were left out would show.
    assert work[1] > 0.98 * 2 * (made.parameters - outside) * PROMPT.shape[1]
    assert work[1] > 10 * work[0]
    for layer in padded.model.layers[made.old.layers :]:
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.mlp.gate_proj, layer.mlp.up_proj):
            assert part.weight.abs().max() > 0, "an identity layer works on real numbers"
        assert not layer.self_attn.o_proj.weight.any()
        assert not layer.mlp.down_proj.weight.any()


def test_decoding_with_a_cache_gives_the_same_tokens(sources: dict[str, Path], tmp_path: Path) -> None:
    pad(sources["qwen3"], tmp_path / "out", "1.5M")
    answers = [
        [result.tokens for result in Engine.load(place).generate_many(["one two two", "three"], limits=Limits(60))]
        for place in (sources["qwen3"], tmp_path / "out")
    ]
    assert answers[0] == answers[1]
    assert len(set(answers[0][0])) > 5, "a model that repeats itself would hide differences"


def test_in_sixteen_bits_a_power_of_four_changes_exponents_only(sources: dict[str, Path], tmp_path: Path) -> None:
    wanted = shape(sources["qwen3"], width=128, heads=16, kv_heads=2, layers=4)
    made = pad_to(sources["qwen3"], tmp_path / "out", wanted, torch.bfloat16)
    source, padded = load(sources["qwen3"], dtype=torch.bfloat16), load(tmp_path / "out")
    assert padded.dtype == torch.bfloat16
    old, new = source.state_dict(), padded.state_dict()
    assert torch.equal(new["model.norm.weight"][:32] * 2, old["model.norm.weight"])
    assert torch.equal(new["model.layers.0.self_attn.q_norm.weight"], old["model.layers.0.self_attn.q_norm.weight"])
    assert torch.equal(new["model.layers.2.mlp.up_proj.weight"][:48, :32], old["model.layers.2.mlp.up_proj.weight"])
    assert padded.config.rms_norm_eps * 4 == source.config.rms_norm_eps
    # What is left is the order of sums, rounded to 8 bits a few times.
    assert made.difference < 0.05 * made.largest
    assert (logits(padded) - logits(source)).abs().max() < 0.05 * made.largest


def test_padding_is_zero_and_nothing_is_subnormal(sources: dict[str, Path], tmp_path: Path) -> None:
    source = load(sources["llama"])
    with torch.no_grad():
        source.model.embed_tokens.weight[5, :4] = 1e-40
    source.save_pretrained(tmp_path / "source")
    made = pad(tmp_path / "source", tmp_path / "out", "1.5M")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in tensors.items():
        assert not ((tensor != 0) & (tensor.abs() < torch.finfo(tensor.dtype).tiny)).any(), name
    nonzero = sum(int((tensor != 0).sum()) for tensor in tensors.values())
    layer = sum(int((t != 0).sum()) for n, t in source.state_dict().items() if n.startswith("model.layers.0."))
    assert nonzero <= made.old.parameters + layer * (made.new.layers - made.old.layers), "padding must be zero"


@pytest.mark.skipif(not (target_path() / "model.safetensors").is_file(), reason="no bundled weights (yet)")
def test_the_bundled_target(tmp_path: Path) -> None:
    config = load(target_path()).config
    old = Shape.of(config)
    wanted = replace(old, width=4 * old.width, heads=4 * old.heads, kv_heads=old.kv_heads * 2, layers=old.layers + 1)
    pad_to("bundled", tmp_path / "out", wanted)
    assert load_text(tmp_path / "out").format == load_text("bundled").format
    names = {file.name for file in target_path().iterdir()} | {"padding.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    question = "What is 37 * 48 + 15?"
    one, two = (Engine.load(place, drafter="none") for place in ("bundled", tmp_path / "out"))
    prompt = torch.tensor([one.request(question).prompt])
    with torch.inference_mode():
        expected, found = (load(place)(prompt).logits for place in (target_path(), tmp_path / "out"))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    limits = Limits(24)
    assert one.generate(question, limits=limits).tokens == two.generate(question, limits=limits).tokens


def test_weights_in_several_files(sources: dict[str, Path], tmp_path: Path) -> None:
    source = load(sources["qwen2"])
    source.config.save_pretrained(tmp_path)
    parts = {name: tensor for name, tensor in source.state_dict().items() if name != "lm_head.weight"}
    save(parts.items(), tmp_path, shard_bytes=20_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert torch.equal(logits(load(tmp_path)), logits(source))


def test_a_checkpoint_that_does_not_agree_is_not_written(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "_WRITERS", ("self_attn.o_proj",))  # identity layers that are none
    with pytest.raises(ModelError, match="logits are off"):
        pad_to(sources["llama"], tmp_path / "out", shape(sources["llama"], layers=4))
    assert list(tmp_path.iterdir()) == []


def test_plans_look_like_models() -> None:
    bundled = Shape(192, 8, 512, 3, 1, 64, 640, tied=True, head_norms=True)
    for size in ("20M", "0.1B", "0.3B", "1B", "3B", "8B"):
        made = plan(bundled, parse_size(size))
        assert abs(made.parameters / parse_size(size) - 1) <= 0.03
        assert made.width in (192, 768, 3072)
        assert made.heads * made.head_dim == made.width
        assert made.heads % made.kv_heads == 0
        assert made.layers >= 8
        assert 1.5 <= made.mlp / made.width <= 5
    assert plan(bundled, parse_size("0.3B")).kv_heads == 4
    assert plan(bundled, 50_000_000, rounding=True).width == 384, "float32 may take the more ordinary width"


@pytest.mark.parametrize(
    ("text", "size"), [("0.3B", 300_000_000), ("25m", 25_000_000), ("7 k", 7000), (12, 12), ("1_000", 1000)]
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-3M", "0", "3T", "1e9", "0.3 B B"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(RequestError, match="not a number of parameters"):
        parse_size(text)


def test_what_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    source = sources["qwen3"]
    with pytest.raises(RequestError, match="parameters already"):
        pad(source, tmp_path / "out", "10K")
    with pytest.raises(ModelNotFound):
        pad(tmp_path / "nothing", tmp_path / "out", "10M")
    with pytest.raises(RequestError, match="multiple"):
        pad_to(source, tmp_path / "out", shape(source, width=48))
    with pytest.raises(RequestError, match="power of four"):
        pad_to(source, tmp_path / "out", shape(source, width=64, heads=8, kv_heads=4), torch.bfloat16)
    with pytest.raises(RequestError, match="at least the source's"):
        pad_to(source, tmp_path / "out", shape(source, layers=2))
    with pytest.raises(RequestError, match="as many query heads"):
        pad_to(source, tmp_path / "out", shape(source, kv_heads=4))
    with pytest.raises(RequestError, match="Use float32"):
        pad_to(source, tmp_path / "out", shape(source, layers=4), torch.float64)
    BloomConfig(hidden_size=16, n_layer=1, n_head=2, vocab_size=50).save_pretrained(tmp_path / "bloom")
    with pytest.raises(UnsupportedModel, match=r"'bloom'.*Known: llama"):
        pad(tmp_path / "bloom", tmp_path / "out", "10M")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="not an empty directory"):
        pad(source, tmp_path / "full", "1.5M")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    LlamaConfig(**SMALL).save_pretrained(tmp_path / "bare")
    with pytest.raises(ModelNotFound, match="no weights"):
        pad(tmp_path / "bare", tmp_path / "out", "1.5M")
    assert not (tmp_path / "out").exists()
