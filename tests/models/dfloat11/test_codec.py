"""Tensors of bfloat16 come back bit for bit, from both decoders, and damage is told from weights."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from laconic.models.dfloat11 import codec, huffman, native
from laconic.models.dfloat11.codec import BLOCK, Coded, Damaged, encode

NATIVE = native.decoder()
needs_native = pytest.mark.skipif(NATIVE is None, reason="no C compiler")
DECODERS = [pytest.param(False, id="numpy"), pytest.param(True, id="c", marks=needs_native)]


@pytest.fixture(params=DECODERS)
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Decode with the twin, or with the kernel; says whether it is the kernel."""
    if not request.param:
        monkeypatch.setattr(native, "decoder", lambda: None)
    return request.param  # type: ignore[no-any-return]


def weights(size: int, seed: int = 0) -> torch.Tensor:
    return (torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 0.02).bfloat16()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int16)


def coded(tensor: torch.Tensor) -> Coded:
    made = encode(tensor)
    assert made is not None
    return made


@pytest.mark.parametrize("size", [700, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK, 5 * BLOCK + 3, 16 * BLOCK + 2, 70_001])
def test_sizes(size: int, either: bool) -> None:
    tensor = weights(size)
    made = coded(tensor)
    assert torch.equal(bits(made.decode()), bits(tensor))
    assert made.nbytes < tensor.nbytes
    assert made.blocks == math.ceil(size / BLOCK)


def test_blocks_alone_and_in_any_stretch(either: bool) -> None:
    tensor = weights(9 * BLOCK + 17)
    made = coded(tensor)
    assert torch.equal(bits(torch.cat([made.decode_block(i) for i in range(made.blocks)])), bits(tensor))
    for first, last in ((0, 4), (1, 6), (3, 10), (9, 10)):
        part = tensor[first * BLOCK : last * BLOCK]
        out = torch.zeros_like(part)
        made.decode_into(out, first, last)
        assert torch.equal(bits(out), bits(part))


def test_every_value_that_there_is(either: bool) -> None:
    """All 65,536: NaN with every payload, both infinities and zeros, subnormals; among ordinary weights."""
    every = torch.from_numpy(np.arange(65_536, dtype=np.uint16).view(np.int16)).view(torch.bfloat16)
    mixed = torch.cat([weights(2_000_000), every, weights(777, seed=1)])
    assert torch.equal(bits(coded(mixed).decode()), bits(mixed))


def test_one_exponent_takes_no_bits(either: bool) -> None:
    tensor = torch.cat([torch.linspace(1, 1.99, 3 * BLOCK + 5), -torch.linspace(1, 1.99, 60)]).bfloat16()
    made = coded(tensor)
    assert made.code.numel() == codec.SPARE
    assert torch.equal(bits(made.decode()), bits(tensor))


def test_two_exponents_take_a_bit(either: bool) -> None:
    tensor = torch.where(torch.arange(2 * BLOCK) % 3 == 0, 1.0, 4.0).bfloat16()
    made = coded(tensor)
    assert made.offsets.tolist() == [0, BLOCK, 2 * BLOCK]
    assert torch.equal(bits(made.decode()), bits(tensor))


def test_shapes_and_order_in_memory_do_not_matter() -> None:
    tensor = weights(6000).view(10, 20, 30).transpose(0, 2)
    made = coded(tensor)
    assert made.decode().shape == tensor.shape
    assert torch.equal(made.decode(), tensor)


def test_what_would_not_shrink_is_not_coded() -> None:
    assert encode(torch.empty(0, dtype=torch.bfloat16)) is None
    assert encode(torch.empty(3, 0, dtype=torch.bfloat16)) is None
    assert encode(weights(40)) is None  # the lengths of codes alone take more
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 65_536, 50_000, np.uint16).view(np.int16))
    assert encode(noise.view(torch.bfloat16)) is None


def test_within_a_tenth_of_a_bit_of_the_bound() -> None:
    tensor = weights(1_000_000)
    made = coded(tensor)
    bound = 8 + huffman.entropy(codec.exponents(tensor))
    assert bound < 8 * made.nbytes / tensor.numel() < bound + 0.1


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("rest", lambda t: t[:-1], "offsets are"),
        ("rest", lambda t: t.int(), "rest are"),
        ("code", lambda t: t[:-1], "offsets do not rise"),
        ("code", lambda t: t[:0], "offsets do not rise"),
        ("offsets", lambda t: t + 1, "offsets do not rise"),
        ("offsets", lambda t: t.flip(0), "offsets do not rise"),
        ("offsets", lambda t: t[:-1], "offsets are"),
        ("offsets", lambda t: t - t[1], "offsets do not rise"),
        ("offsets", lambda t: t * 2**40, "offsets do not rise"),
        ("lengths", lambda t: t[:-1], "lengths are"),
        ("lengths", lambda t: torch.zeros_like(t), "no complete code"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(part: str, change: object, said: str) -> None:
    made = coded(weights(BLOCK + 1))
    with pytest.raises(Damaged, match=said):
        dataclasses.replace(made, **{part: change(getattr(made, part))})  # type: ignore[operator]


def test_a_block_that_begins_elsewhere_is_damaged(either: bool) -> None:
    made = coded(weights(6 * BLOCK))
    moved = made.offsets.clone()
    moved[3] += 1
    with pytest.raises(Damaged, match="block 2 is no code"):
        dataclasses.replace(made, offsets=moved).decode()


def test_other_codes_of_the_right_form_are_damaged(either: bool) -> None:
    made = coded(weights(BLOCK))
    with pytest.raises(Damaged, match="block 0"):
        dataclasses.replace(made, code=torch.zeros_like(made.code)).decode()


def test_wrong_places_are_refused() -> None:
    made = coded(weights(2 * BLOCK))
    for out, first, last in (
        (torch.empty(BLOCK, dtype=torch.bfloat16), 0, 2),
        (torch.empty(BLOCK, dtype=torch.bfloat16), 2, 3),
        (torch.empty(2 * BLOCK, dtype=torch.bfloat16)[::2], 0, 1),
    ):
        with pytest.raises(IndexError):
            made.decode_into(out, first, last)
    with pytest.raises(TypeError, match="float16"):
        made.decode_into(torch.empty(BLOCK, dtype=torch.float16), 0, 1)


@needs_native
def test_the_kernel_says_what_its_twin_says_of_any_bytes() -> None:
    """Offsets and codes at random, past the end too: no reading outside of the arrays, and the same verdict."""
    assert NATIVE is not None
    random = np.random.default_rng(0)
    made = coded(weights(6 * BLOCK + 9))
    rest = made.rest.numpy()
    verdicts = set()
    for trial in range(60):
        size = int(random.integers(codec.SPARE, made.code.numel() + 1))
        code = random.integers(0, 256, size, np.uint8) if trial % 2 else made.code.numpy()[:size].copy()
        limit = 8 * (size - codec.SPARE)
        offsets = np.sort(random.integers(0, limit + 1, made.blocks + 1)) if trial % 3 else made.offsets.numpy()
        offsets = np.minimum(offsets, limit).astype(np.int64)
        # Canaries behind what is written.
        out = [np.full(len(rest) + 64, 0x7777, np.uint16) for _ in range(2)]
        found = [
            decode(code, limit, offsets, made.table, rest, 0, made.blocks, where[: len(rest)])
            for decode, where in zip((NATIVE, codec._decode), out, strict=True)
        ]
        assert found[0] == found[1]
        assert all((where[len(rest) :] == 0x7777).all() for where in out)
        verdicts.add(found[0])
    assert len(verdicts) > 1
    beyond = np.array([0, -5, 2**62, 2**62, 0, -(2**62), 2**40, 1], np.int64)
    out_ = np.zeros(len(rest), np.uint16)
    assert NATIVE(made.code.numpy(), made.bits, beyond, made.table, rest, 0, made.blocks, out_) == 0
