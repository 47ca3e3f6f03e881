"""Entries in few bits: what is stored, how near it is, and that kernels read what is decoded."""

from __future__ import annotations

import pytest
import torch

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.kv.base import Codec
from laconic.kv.codec.rotated import turned
from laconic.kv.stored import packed, unpacked
from laconic.models.base import ScoreTree, chain
from laconic.models.four_bits import FourBits
from laconic.models.past import Past, Plain
from laconic.policy import registry
from tests.kv.test_passes import TOKENS, built, pool
from tests.models.test_native import KERNELS, needs_kernels

NAMES = registry.names("codec")


def entries(
    count: int = 128, heads: int = 2, dim: int = 32, *, outliers: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random keys and values; with outliers a few dimensions of the keys are much larger than the others."""
    dice = torch.Generator().manual_seed(1)
    keys, values = (torch.randn(count, heads, dim, generator=dice) for _ in range(2))
    if outliers:
        keys[..., 3] *= 20
        keys[..., 17] += 15
    return keys, values


def codec(spec: str) -> Codec:
    made = registry.build("codec", spec)
    assert isinstance(made, Codec)
    return made


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_codes_come_back_and_take_their_bits(bits: int) -> None:
    codes = torch.randint(0, 1 << bits, (3, 5, 24), generator=torch.Generator().manual_seed(bits))
    held = packed(codes, bits)
    assert held.dtype == torch.uint8
    assert held.shape == (3, 5, 3 * bits)
    assert torch.equal(unpacked(held, bits).long(), codes)


def test_three_bits_by_hand() -> None:
    """1, 2, 3, 4, 5, 6, 7, 0 in three bits each, the first lowest: 0 111 110 101 100 011 010 001 in binary."""
    held = packed(torch.tensor([1, 2, 3, 4, 5, 6, 7, 0]), 3)
    assert held.tolist() == [0b11010001, 0b01011000, 0b00011111]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", NAMES)
def test_every_codec_is_as_near_as_its_bits_allow_and_as_small(name: str, bits: int) -> None:
    keys, values = entries()
    made = codec(f"{name}:bits={bits}").encode(keys.bfloat16(), values.bfloat16())
    found = made.dense()
    assert made.count == 128
    whole = 2 * keys.numel() * 2
    extra = {"gear": 0.55}.get(name, 0.13)  # outliers, low ranks; steps and lows
    assert bits / 16 < made.nbytes / whole <= bits / 16 + extra
    for near, exact in zip(found, (keys, values), strict=True):
        assert near.dtype == torch.bfloat16
        error = (near.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
        assert error < {2: 0.55, 3: 0.25, 4: 0.12, 8: 0.02}[bits]


@pytest.mark.parametrize("name", NAMES)
def test_parts_join(name: str) -> None:
    keys, values = (x.bfloat16() for x in entries(192))
    made = codec(f"{name}:bits=4")
    parts = [made.encode(keys[a:b], values[a:b]) for a, b in ((0, 64), (64, 192))]
    joined = made.joined([made.joined(parts[:1]), *parts[1:]])
    assert joined.count == 192
    assert joined.nbytes == sum(part.nbytes for part in parts)
    for i in range(2):
        assert torch.equal(joined.dense()[i], torch.cat([part.dense()[i] for part in parts]))


def test_what_each_codec_is_for() -> None:
    """With a few large dimensions per-token steps are coarse; steps by dimension, rotation and outliers mend that."""
    keys, values = entries(outliers=True)
    small = [i for i in range(32) if i not in (3, 17)]
    errors = {
        name: float((codec(f"{name}:bits=4").encode(keys, values).dense()[0] - keys)[..., small].square().mean())
        for name in NAMES
    }
    assert errors["kivi"] < errors["per-token"] / 20
    assert errors["gear"] < errors["per-token"] / 3
    assert errors["rotated"] < errors["per-token"]


def test_a_hadamard_matrix_is_its_own_inverse_and_keeps_lengths() -> None:
    x = torch.randn(5, 24)  # three blocks of eight
    assert torch.allclose(turned(turned(x)), x, atol=1e-6)
    assert torch.allclose(turned(x).norm(dim=-1), x.norm(dim=-1))
    assert torch.allclose(turned(torch.tensor([1.0, 0, 0, 0])), torch.full((4,), 0.5))
    assert torch.allclose(turned(torch.tensor([0.0, 1, 0, 0])), torch.tensor([0.5, -0.5, 0.5, -0.5]))


@pytest.mark.parametrize("dim", [32, 64, 96, 128])
def test_four_bits_by_hand(dim: int) -> None:
    """Keys that are steps of a quarter about 1 come back exactly; so do values, a step for each token."""
    count = torch.arange(64) % 16
    keys = (1 + (count[:, None, None] - 8) * 0.25).expand(64, 2, dim).clone()
    scale = 2.0 ** (torch.arange(64) % 3)[:, None, None]
    values = ((torch.arange(dim) % 16 - 8) * scale).expand(64, 2, dim).clone()
    made = FourBits.of(keys, values)
    found = made.dense()
    assert torch.equal(found[0], keys)
    assert torch.equal(found[1], values)
    assert made.nbytes == 2 * (2 * 64 * dim // 2) + 2 * 2 * (2 * dim + 2 * 64)


def test_whole_groups_alone() -> None:
    with pytest.raises(ValueError, match="no whole groups"):
        FourBits.of(torch.zeros(63, 1, 32), torch.zeros(63, 1, 32))


@needs_kernels
@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral-sliding"])
@torch.inference_mode()
def test_kernels_read_four_bits_as_they_are_decoded(kind: str) -> None:
    """Beside a plain past and a whole text in one pass; chains and trees, one query and many."""
    assert KERNELS
    if not KERNELS.packs:
        pytest.skip("no AVX512 with products of bytes")
    model, _ = built(kind, layers=2, dtype=torch.bfloat16)
    text = [*TOKENS, *TOKENS]
    full = model.open()
    model.prefill(full, text)
    held = pool(model).held(full, ())
    four = Past(256, tuple(FourBits.of(h.keys[:256], h.values[:256]) for h in held))
    plain = Past(256, tuple(Plain(*layer.dense()) for layer in four.layers if layer is not None))
    if kind == "mistral-sliding":  # what is far back is hidden, so it makes no difference how it is kept
        positions = torch.arange(256)
        plain = Past(256, tuple(Plain(p.keys, p.values, positions) for p in plain.layers))  # type: ignore[union-attr]
        four = plain
    exact = []
    for past in (four, plain):
        views = [model.view(past), model.view(plain)]
        assert all(model.follow(view, full) for view in views)
        trees = [ScoreTree([5, 6, 7, 8, 9, 10, 11], [-1, 0, 0, 2, 2, 2, 0]), chain([9])]
        scores = model.score(trees, views)
        found = [scores.of(i).float().clone() for i in range(2)]
        alone = torch.cat([model.score([chain([5])], [views[0]]).of(0), model.score([chain([9])], [views[1]]).of(0)])
        assert torch.equal(alone[0].float(), found[0][0])
        assert torch.equal(alone[1].float(), found[1][0])
        exact.append(torch.cat(found))
        for view in views:
            view.close()
    torch.testing.assert_close(exact[0], exact[1], rtol=0.05, atol=0.12)
    assert kind == "mistral-sliding" or not torch.equal(exact[0], exact[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [64, 128])
def test_what_is_decoded_lies_in_order(name: str, count: int) -> None:
    """Kernels that cannot read codes read rows one behind the other; a single group was a view across them."""
    keys, values = (part.bfloat16() for part in entries(count))
    kept = codec(f"{name}:bits=4").encode(keys, values)
    for part, given in zip(kept.dense(), (keys, values), strict=True):
        assert part.is_contiguous()
        assert (part.dtype, part.shape) == (given.dtype, given.shape)
