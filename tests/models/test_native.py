"""The compiled kernels: against PyTorch, and the same values whatever else is in the pass."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.models import packed
from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.native import bf16, build
from laconic.speculation.drafters import few
from tests import tiny

KERNELS = bf16.kernels()
needs_kernels = pytest.mark.skipif(KERNELS is None, reason="no AVX2, or no C compiler")
SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 72,
    "num_hidden_layers": 2,
    "intermediate_size": 88,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),  # biases
    "qwen3": Qwen3Config(**SMALL),  # norms of heads
    "mistral-sliding": MistralConfig(**SMALL, sliding_window=8),
    "qwen3-odd-heads": Qwen3Config(**SMALL | {"head_dim": 20}),  # rotated by PyTorch
}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within what one rounding to bfloat16 may make, beside sums in another order."""
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-8, atol=2e-3)


@needs_kernels
@pytest.mark.parametrize(("size", "out"), [(6, 5), (64, 32), (72, 97), (768, 640)])
@pytest.mark.parametrize("biased", [False, True])
def test_linear_is_the_product_and_knows_nothing_of_other_rows(size: int, out: int, biased: bool) -> None:
    assert KERNELS
    weight, x = noise(out, size) / size**0.5, noise(30, size, seed=1)
    bias = noise(out, seed=2) if biased else None
    packed = KERNELS.pack(weight)
    alone = torch.cat([KERNELS.linear(row[None], packed, out, bias) for row in x])
    close(alone, F.linear(x.float(), weight.float(), None if bias is None else bias.float()))
    for rows in range(1, 31):
        assert torch.equal(KERNELS.linear(x[:rows], packed, out, bias), alone[:rows])
    broken = x.clone()
    broken[1, 3] = torch.nan
    found = KERNELS.linear(broken[:3], packed, out, bias)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], alone[[0, 2]])


@needs_kernels
@pytest.mark.parametrize("dim", [5, 16, 72, 2560])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_norm_and_gate(rows: int, dim: int) -> None:
    assert KERNELS
    x, gain = 3 * noise(rows, dim), noise(dim, seed=1).float()
    close(KERNELS.rms_norm(x, gain, 1e-5), F.rms_norm(x.float(), (dim,), gain, 1e-5))
    both = torch.cat([20 * noise(rows, dim), noise(rows, dim, seed=1)], 1)
    close(KERNELS.swiglu(both), F.silu(both[:, :dim].float()) * both[:, dim:].float())


@needs_kernels
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("dim", [32, 64, 128, 256])
def test_heads_are_normed_rotated_and_put_in_their_places(dim: int, normed: bool) -> None:
    assert KERNELS
    nodes, heads, kv = 40, 6, 2
    x = noise(nodes, heads + 2 * kv, dim)
    gain = noise(heads + kv, dim, seed=1).float() if normed else None
    cos, sin = noise(nodes, 1, dim, seed=2), noise(nodes, 1, dim, seed=3)
    keys, values = (torch.zeros(3, 50, kv, dim).bfloat16() for _ in range(2))
    places = torch.randperm(150, generator=torch.Generator().manual_seed(0))[:nodes]
    query = KERNELS.heads(x, gain, 1e-6, (cos, sin), places, keys, values)
    both = x[:, : heads + kv].float()
    if gain is not None:
        both = F.rms_norm(both, (dim,), None, 1e-6) * gain
    turned = both * cos.float() + both.roll(dim // 2, -1) * sin.float()
    close(query, turned[:, :heads])
    close(keys.view(150, kv, dim)[places], turned[:, heads:])
    assert torch.equal(values.view(150, kv, dim)[places], x[:, heads + kv :])
    others = torch.ones(150, dtype=torch.bool).index_fill_(0, places, False)
    assert not keys.view(150, kv, dim)[others].any()
    assert not values.view(150, kv, dim)[others].any()


@needs_kernels
@pytest.mark.parametrize("dim", [6, 20, 64, 80, 128, 256])
@pytest.mark.parametrize(("heads", "kv"), [(2, 2), (6, 2), (20, 1)])
@pytest.mark.parametrize(("rows", "width", "keys"), [(1, 1, 1), (1, 1, 37), (3, 7, 50), (2, 33, 300)])
def test_attention(dim: int, heads: int, kv: int, rows: int, width: int, keys: int) -> None:
    assert KERNELS
    query, cache = noise(rows, width, heads, dim), noise(2, rows, keys + 9, kv, dim, seed=1)
    cache[:, :, keys:] = torch.nan  # what lies behind is not looked at
    key, value = cache[0, :, :keys], cache[1, :, :keys]
    mask = torch.rand(rows, 1, width, keys, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[..., 0] = True
    parts = [x.float().transpose(1, 2) for x in (query, key, value)]
    for seen in (mask, None):
        expected = F.scaled_dot_product_attention(*parts, attn_mask=seen, scale=0.3, enable_gqa=True).transpose(1, 2)
        close(KERNELS.attention(query, key, value, seen, 0.3), expected)


@needs_kernels
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_a_token_has_the_same_logits_alone_in_a_draft_on_a_branch_and_in_a_batch(name: str) -> None:
    torch.manual_seed(1)
    lm = CausalLM(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name])).bfloat16())
    assert lm.host.fast is not None
    assert lm.host.fast.packed
    prompt, text = [(7 * i) % 90 + 3 for i in range(30)], [(11 * i) % 90 + 3 for i in range(25)]
    alone = lm.open()
    lm.prefill(alone, prompt)
    expected = []
    for token in text:
        expected.append(lm.score([chain([token])], [alone]).of(0)[0].clone())
        alone.commit([0])

    other, draft = lm.open(), lm.open()
    lm.prefill(other, prompt[:11])
    lm.prefill(draft, prompt[:13])
    lm.prefill(draft, prompt[13:])
    assert torch.equal(lm.score([chain(text)], [draft]).of(0), torch.stack(expected))
    # Siblings before the path, and a longer row beside it.
    tree = ScoreTree([5, text[0], 6, text[1], 8, text[2]], [-1, -1, 1, 1, 3, 3])
    scores = lm.score([chain([4] * 9), tree], [other, draft])
    assert torch.equal(scores.of(1)[[1, 3, 5]], torch.stack(expected[:3]))
    draft.commit([1, 3, 5])
    assert torch.equal(lm.score([chain(text[3:])], [draft]).of(0), torch.stack(expected[3:]))


@needs_kernels
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"qwen3-odd-heads"}))
def test_all_layers_in_one_call_are_those_layers_one_by_one(name: str) -> None:
    """Bit for bit: ragged rows, branches off earlier points, caches that grow, rows that take no part."""
    torch.manual_seed(1)
    model = CausalLM(AutoModelForCausalLM.from_config(CONFIGS[name]).bfloat16())
    assert model.host.fast is not None
    stack = model.host.fast.stack
    assert stack is not None
    found = []
    for whole in (stack, None):
        model.host.fast.stack = whole
        slots = [model.open() for _ in range(3)]
        model.prefill(slots[0], [i % 97 for i in range(40)])
        model.prefill(slots[2], [5, 6, 7])
        trees = [
            ScoreTree([1, 2, 3, 4, 5], [-1, 0, 0, 1, -1], [-1, -1, -1, -1, 20]),
            chain([9, 8]),
        ]
        logits = [model.score(trees, [slots[0], slots[2]]) for _ in range(2)][-1]
        slots[0].commit([0, 2])
        model.prefill(slots[1], [i % 89 for i in range(300)])  # the buffers grow
        after = model.score([chain([1]), chain([2, 3]), chain([4])], slots)
        found.append(torch.cat([logits.of(0), logits.of(1), after.flat]))
        for slot in slots:
            slot.close()
    assert torch.equal(*found)


@needs_kernels
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(("drafter", "shape"), [("prompt-lookup", "chain"), ("suffix", "best-first")])
def test_in_bfloat16_speculation_changes_no_token(drafter: str, shape: str, temperature: float) -> None:
    torch.manual_seed(2)
    lm = CausalLM(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS["qwen3"])).bfloat16())
    requests = [
        Request(tuple((k * i) % 90 + 3 for i in range(20)), Sampling(temperature, seed=k), Limits(80)) for k in (3, 7)
    ]
    plain = [Engine(lm, tiny.text(), Methods(drafter="none")).run([request])[0] for request in requests]
    methods = Methods(drafter=drafter, shape=shape, length="constant:6")
    for result, expected in zip(Engine(lm, tiny.text(), methods).run(requests, batch=2), plain, strict=True):
        assert result.tokens == expected.tokens
        assert result.usage.drafted


def test_what_cannot_be_compiled_is_an_error_that_names_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int f(void) { return missing; }")
    monkeypatch.setenv("CC", "")
    try:
        build.load("none", [])
    except build.BuildError as error:
        if "no C compiler" in str(error):
            pytest.skip(str(error))
    with pytest.raises(build.BuildError, match="missing"):
        build.load("broken", [source], folder=tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.so"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.BuildError, match="no C compiler"):
        build.load("broken", [source], folder=tmp_path)


def test_a_library_is_compiled_once_and_anew_when_its_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    made = []
    for value in (1, 1, 2):
        source.write_text(f"int f(void) {{ return {value}; }}")
        try:
            library = build.load("one", [source], folder=tmp_path)
        except build.BuildError as error:
            pytest.skip(str(error))
        assert library.f() == value
        made.append({path: path.stat().st_mtime_ns for path in tmp_path.glob("*.so")})
    assert made[0] == made[1]
    assert len(made[2]) == 2


def test_without_kernels_pytorchs_products_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LACONIC_NATIVE", "0")
    assert bf16.kernels.__wrapped__() is None
    monkeypatch.setattr(packed, "kernels", lambda: None)
    weight, x = noise(40, 64) / 8, noise(3, 64, seed=1)
    if not packed.worthwhile(weight):
        pytest.skip("this CPU or build of PyTorch has no packed bfloat16 products")
    close(packed.PlainProjection(weight).packed()(x), x.float() @ weight.float().T)


@needs_kernels
def test_wrong_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16.Kernels, "swiglu", lambda self, x: x[:, :3])
    assert bf16.kernels.__wrapped__() is None


@needs_kernels
def test_entries_move_as_pytorch_moves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch is kept of a tree, in a cache of two requests and beside a third's outputs; once in each way."""
    caches = []
    for way in (bf16.kernels, lambda: None):
        monkeypatch.setattr(bf16, "loaded", way)
        lm = CausalLM(tiny.model(0))
        lm.show((0, 1))
        slots = [lm.open(), lm.open()]
        for slot in slots:
            lm.prefill(slot, [5, 6, 7])
        lm.score([ScoreTree([1, 2, 3, 4, 5], [-1, 0, 0, 2, 3])] * 2, slots)
        slots[1].commit([0, 2, 3, 4])
        slots[0].commit([0, 1])
        caches.append([lm.keep(slot) for slot in slots] + [lm.shown(slot, 0, (0, 1)) for slot in slots])
    ours, theirs = (str(cache) for cache in caches)
    assert ours == theirs


@needs_kernels
def test_shares_of_equal_tokens_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    tokens, shares = random.integers(-1, 9, (6, 20)), random.random((6, 20)) * (random.random((6, 20)) > 0.3)
    found = []
    for way in (bf16.kernels, lambda: None):
        monkeypatch.setattr(bf16, "loaded", way)
        found.append(few._added(tokens, shares))
    for ours, theirs in zip(*found, strict=True):
        assert list(ours) == list(theirs), "in the same order"
        assert list(ours.values()) == pytest.approx(list(theirs.values()))
