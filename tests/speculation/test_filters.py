"""Filtering by the likeliest few keeps exactly what sorting everything keeps."""

import pytest
import torch

from laconic.speculation.draws import Draws, warp
from laconic.types import Sampling


def obvious(logits, sampling):
    """The same distribution by sorting the whole vocabulary."""
    logits = logits.float() / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        kth = logits.sort(dim=-1, descending=True).values[..., sampling.top_k - 1, None]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probs = logits.softmax(-1)
    if sampling.top_p < 1:
        ranked, order = probs.sort(dim=-1, descending=True, stable=True)
        before = ranked.cumsum(-1).roll(1, -1)
        before[..., 0] = 0
        drop = before >= sampling.top_p
        probs = probs.masked_fill(drop.scatter(-1, order, drop), 0.0)
    if sampling.min_p > 0:
        probs = probs.masked_fill(probs < sampling.min_p * probs.amax(-1, keepdim=True), 0.0)
    return probs / probs.sum(-1, keepdim=True)


SAMPLINGS = [
    Sampling(temperature, top_k=k, top_p=p, min_p=m)
    for temperature in (0.6, 1.0)
    for k in (0, 1, 20, 300)
    for p in (0.05, 0.5, 0.95, 0.9999999, 1.0)
    for m in (0.0, 0.1)
]


def rows(vocab):
    """Sure, doubtful and level rows; some with ties everywhere, or with tokens that are forbidden."""
    generator = torch.Generator().manual_seed(vocab)
    made = [scale * torch.randn(vocab, generator=generator) for scale in (0.0, 0.01, 0.3, 1, 3, 9)]
    made += [row.round() for row in made] + [(2 * row).bfloat16().float() for row in made]
    forbidden = 3 * torch.randn(vocab, generator=generator)
    forbidden[torch.rand(vocab, generator=generator) < 0.9] = -torch.inf
    forbidden[0] = 0.0
    return torch.stack([*made, forbidden])


@pytest.mark.parametrize("vocab", [2, 21, 256, 257, 3000])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda s: f"{s.temperature}-{s.top_k}-{s.top_p}-{s.min_p}")
def test_equals_the_sort_bit_for_bit(sampling, vocab):
    logits = rows(vocab)
    expected = obvious(logits, sampling)
    assert torch.equal(warp(logits, sampling), expected)
    for row, want in zip(logits, expected, strict=True):
        assert torch.equal(warp(row, sampling), want)


def test_the_same_draws_at_a_large_vocabulary():
    logits = rows(151_936)
    for sampling in (Sampling(0.6, top_k=20, top_p=0.95), Sampling(1.0, top_p=0.95)):
        fast, slow = warp(logits, sampling), obvious(logits, sampling)
        assert torch.equal(fast, slow)
        for draws in map(Draws, range(5)):
            assert [draws.pick(row, 7) for row in fast] == [draws.pick(row, 7) for row in slow]


def test_shapes_of_any_rank():
    logits = rows(300)[:12].reshape(2, 6, 300)
    sampling = Sampling(0.8, top_k=40, top_p=0.9)
    assert torch.equal(warp(logits, sampling), obvious(logits, sampling))
