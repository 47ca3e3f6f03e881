"""The checkpoint in llama.cpp's format holds the same numbers, and says what llama.cpp must know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from laconic.bench.peers.base import PeerUnavailable
from laconic.bench.peers.gguf import write
from tests import tiny

gguf = pytest.importorskip("gguf")

TEXT = tiny.text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    model = tiny.model(3)
    model.save_pretrained(tmp_path / "model")
    write(str(tmp_path / "model"), TEXT, tmp_path / "model.gguf", dtype)
    read = gguf.GGUFReader(tmp_path / "model.gguf")
    tensors = {tensor.name: tensor for tensor in read.tensors}
    weights = model.to(dtype).state_dict()
    assert len(tensors) == len(weights)
    for ours, theirs in (
        ("model.layers.1.self_attn.k_proj.weight", "blk.1.attn_k.weight"),
        ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ("lm_head.weight", "output.weight"),
        ("model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight"),
    ):
        found = tensors[theirs]
        if weights[ours].dim() == 1 or dtype == torch.float32:
            values = torch.from_numpy(found.data.copy()).to(dtype)
        else:
            assert found.tensor_type == gguf.GGMLQuantizationType.BF16
            values = torch.from_numpy(found.data.copy()).view(torch.bfloat16)
        assert torch.equal(values.view(weights[ours].shape), weights[ours]), ours
    fields = {name: field.contents() for name, field in read.fields.items()}
    assert fields["general.architecture"] == "qwen3"
    assert fields["qwen3.attention.head_count_kv"] == model.config.num_key_value_heads
    assert fields["qwen3.attention.key_length"] == model.config.head_dim
    assert fields["qwen3.rope.freq_base"] == model.config.rope_parameters["rope_theta"]
    assert len(fields["tokenizer.ggml.tokens"]) == model.config.vocab_size


def test_a_llama_is_read_back_as_the_same_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=264,
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=48,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "model")
    write(str(tmp_path / "model"), TEXT, tmp_path / "model.gguf", torch.float32)
    back = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
    with torch.no_grad():
        assert torch.allclose(back(ids).logits, model(ids).logits, atol=1e-5)


def test_other_families_are_named(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=264, n_embd=16, n_layer=1, n_head=2))
    model.save_pretrained(tmp_path)
    with pytest.raises(PeerUnavailable, match="only qwen2, qwen3 and llama"):
        write(str(tmp_path), TEXT, tmp_path / "model.gguf", torch.float32)
