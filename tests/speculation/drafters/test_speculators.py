"""EAGLE-3 checkpoints that others have made: read as their format says, and refused where they would not run right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from laconic import Limits
from laconic.engine import Engine, Methods
from laconic.errors import HeadError
from laconic.models.causal_lm import CausalLM
from laconic.speculation.drafters.head.files import load
from tests import tiny

WIDTH, HEADS, KV, DIM, INNER, KEPT, VOCAB = 32, 4, 2, 8, 48, 60, 264
LAYER: dict[str, Any] = {
    "model_type": "llama", "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": KV,
    "head_dim": DIM, "intermediate_size": INNER, "num_hidden_layers": 1, "vocab_size": VOCAB, "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 700.0},
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "speculators_model_type": "eagle3", "transformer_layer_config": LAYER, "draft_vocab_size": KEPT,
    "eagle_aux_hidden_state_layer_ids": [1, 2],
}  # fmt: skip


def weights(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    sizes = {
        "fc": (WIDTH, 2 * WIDTH), "lm_head": (KEPT, WIDTH),
        "layers.0.self_attn.q_proj": (HEADS * DIM, 2 * WIDTH), "layers.0.self_attn.k_proj": (KV * DIM, 2 * WIDTH),
        "layers.0.self_attn.v_proj": (KV * DIM, 2 * WIDTH), "layers.0.self_attn.o_proj": (WIDTH, HEADS * DIM),
        "layers.0.mlp.gate_proj": (INNER, WIDTH), "layers.0.mlp.up_proj": (INNER, WIDTH),
        "layers.0.mlp.down_proj": (WIDTH, INNER), "norm": (WIDTH,), "layers.0.input_layernorm": (WIDTH,),
        "layers.0.hidden_norm": (WIDTH,), "layers.0.post_attention_layernorm": (WIDTH,),
    }  # fmt: skip
    made = {f"{name}.weight": torch.randn(size) * 0.3 + (len(size) == 1) for name, size in sizes.items()}
    return made | {"d2t": torch.arange(KEPT) * 3}


def write(folder: Path, config: dict[str, Any], found: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(found, folder / "model.safetensors")
    return folder


def first_step(found: dict[str, Tensor], embeddings: Tensor, features: Tensor) -> Tensor:
    """Logits ``[pairs, kept]`` of the first drafted token as the format defines them, by Transformers' own rotation."""
    w = {name.removeprefix("layers.0.").removesuffix(".weight"): weight for name, weight in found.items()}
    norm = lambda x, name: rms_norm(x, (WIDTH,), w[name], 1e-5)  # noqa: E731
    state = features.flatten(1) @ w["fc"].T
    both = torch.cat([norm(embeddings, "input_layernorm"), norm(state, "hidden_norm")], -1)
    heads = [
        (both @ w[f"self_attn.{name}_proj"].T).view(1, len(both), -1, DIM).transpose(1, 2) for name in ("q", "k", "v")
    ]
    rotary = LlamaRotaryEmbedding(LlamaConfig(**{**LAYER, "hidden_size": 2 * WIDTH}))
    q, k = apply_rotary_pos_emb(heads[0], heads[1], *rotary(both[None], torch.arange(len(both))[None]))
    k, v = (part.repeat_interleave(HEADS // KV, 1) for part in (k, heads[2]))
    scores = (q @ k.transpose(-1, -2) / DIM**0.5).masked_fill(
        ~torch.ones(len(both), len(both)).tril().bool(), -torch.inf
    )
    state = state + (scores.softmax(-1) @ v).transpose(1, 2).reshape(len(both), -1) @ w["self_attn.o_proj"].T
    inner = norm(state, "post_attention_layernorm")
    state = state + (silu(inner @ w["mlp.gate_proj"].T) * (inner @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
    return norm(state, "norm") @ w["lm_head"].T


@pytest.mark.parametrize("layout", ["speculators", "the authors'"])
def test_a_checkpoint_says_what_its_format_defines(layout: str, tmp_path: Path) -> None:
    found = weights()
    if layout == "speculators":
        folder = write(tmp_path, CONFIG, found | {"t2d": torch.ones(VOCAB, dtype=torch.bool)})
    else:
        flat = {**LAYER, "draft_vocab_size": KEPT, "eagle_aux_hidden_state_layer_ids": [1, 2]}
        folder = write(tmp_path, flat, {n.replace("layers.0.", "midlayer."): w for n, w in found.items()})
    made = load(folder)
    tokens, features = torch.randint(0, VOCAB, (1, 12)), torch.randn(1, 11, 2, WIDTH)
    embed = nn.Embedding.from_pretrained(torch.randn(VOCAB, WIDTH))
    (said,) = made.head.unrolled(embed(tokens[:, 1:]), features, 1)
    assert said[0].allclose(first_step(found, embed(tokens[0, 1:]), features[0])[:-1], atol=1e-4)
    assert made.head.shape.layers == (0, 1)
    assert made.head.kept.tolist() == [4 * i for i in range(KEPT)]


def test_it_drafts_by_path_and_changes_no_token(tmp_path: Path) -> None:
    model = CausalLM(tiny.model())
    write(tmp_path, CONFIG, weights())
    drafts = Engine(model, tiny.text(), Methods(drafter=f"head:{tmp_path}", length="constant:3"))
    plain = drafts.using(drafter="none")
    request = drafts.request("What is 3 + 4?", limits=Limits(40))
    (mine,), (theirs,) = drafts.run([request]), plain.run([request])
    assert mine.tokens == theirs.tokens
    assert mine.usage.drafted > 40


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"speculators_model_type": "dflash"}, {}, "no EAGLE-3 head"),
    ({"eagle_aux_hidden_state_layer_ids": None}, {}, "which layers it reads"),
    ({"eagle_aux_hidden_state_layer_ids": [0, 2]}, {}, "what its first layer is given"),
    ({"embed_requires_grad": True}, {}, "embed_requires_grad"),
    ({"target_hidden_size": 64}, {}, "target_hidden_size"),
    ({}, {"num_hidden_layers": 2}, "num_hidden_layers"),
    ({}, {"attention_bias": True}, "attention_bias"),
    ({}, {"hidden_act": "gelu"}, "hidden_act"),
    ({}, {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}}, "rope_type"),
    ({"draft_vocab_size": 61}, {}, "damaged"),
    ({}, {"hidden_size": None}, "damaged"),
]


@pytest.mark.parametrize(("whole", "layer", "said"), REFUSED)
def test_what_would_not_run_right_is_refused(
    whole: dict[str, Any], layer: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(HeadError, match=said):
        load(write(tmp_path, {**CONFIG, "transformer_layer_config": {**LAYER, **layer}, **whole}, weights()))


def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "short", CONFIG, {n: w for n, w in weights().items() if n != "fc.weight"})
    with pytest.raises(HeadError, match=r"damaged.*"):
        load(folder)
    far = weights() | {"d2t": torch.arange(KEPT) * 9}
    with pytest.raises(HeadError, match="leads nowhere"):
        load(write(tmp_path / "far", CONFIG, far))
    norms = weights() | {"layers.0.self_attn.q_norm.weight": torch.ones(DIM)}
    with pytest.raises(HeadError, match="norms of queries"):
        load(write(tmp_path / "norms", CONFIG, norms))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(HeadError, match="damaged"):
        load(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(HeadError):
        load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(HeadError, match="no draft head"):
        load(folder)


def test_a_head_for_another_size_of_model_is_refused(tmp_path: Path) -> None:
    model = CausalLM(tiny.model())
    other = {**CONFIG, "eagle_aux_hidden_state_layer_ids": [1, 3]}
    with pytest.raises(HeadError, match="reads layer 2"):
        load(write(tmp_path / "deep", other, weights())).suits(model)
    wide = {**CONFIG, "transformer_layer_config": {**LAYER, "vocab_size": 300}}
    with pytest.raises(HeadError, match="a vocabulary of 300"):
        load(write(tmp_path / "wide", wide, weights())).suits(model)
