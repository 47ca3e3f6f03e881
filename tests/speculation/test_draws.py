"""Random numbers that depend on seed, position and stream alone, and what is drawn with them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from laconic.errors import BrokenLogits
from laconic.speculation.draws import Draws, _mixed, foresee, foreseen, warp
from laconic.splitmix import mix
from laconic.types import Sampling
from tests.speculation.exact import g_excess


def test_the_mixer_of_arrays_is_the_mixer_of_integers():
    words = [mix(i) for i in range(200)]
    assert _mixed(np.array(words, dtype=np.uint64)).tolist() == [mix(word) for word in words]


def test_arrivals_are_draws_without_replacement():
    probs = [0.5, 0.0, 0.3, 0.2]
    law = {
        (a, b): probs[a] * probs[b] / (1 - probs[a]) for a, b in itertools.permutations((0, 2, 3), 2)
    }  # fmt: skip
    row = torch.tensor(probs)
    pairs = [tuple(Draws(seed).arrivals(row, 2, 4, Draws.DRAFT)[0].tolist()) for seed in range(4000)]
    assert g_excess(pairs, law) < 1
    tokens, waits = Draws(1).arrivals(row, 9, 4)
    assert sorted(tokens) == [0, 2, 3]
    assert list(waits) == sorted(waits)
    assert tokens[0] == Draws(1).pick(row, 4)
    assert Draws(1).arrivals(row, 1, 4)[0].tolist() == [tokens[0]]


def test_siblings_drawn_one_by_one_have_numbers_of_their_own():
    row, law = torch.tensor([0.6, 0.4]), {(0, 0): 0.36, (0, 1): 0.24, (1, 0): 0.24, (1, 1): 0.16}
    pairs = [tuple(Draws(seed).pick(row, 4, Draws.DRAFT, sub) for sub in (0, 1)) for seed in range(4000)]
    assert g_excess(pairs, law) < 1


@pytest.mark.parametrize("seed", range(5))
def test_what_is_foreseen_is_what_a_like_target_draws(seed):
    probs, draws = torch.rand(50, generator=torch.Generator().manual_seed(seed)).softmax(-1), Draws(seed)
    tokens, chances = foresee(probs, draws, 9)
    assert tokens[chances.argmax()] == draws.pick(probs, 9)
    assert chances.sum() == pytest.approx(1)
    assert tokens[(-chances).argsort()[:5]].tolist() == draws.arrivals(probs, 5, 9)[0].tolist()


def test_what_is_foreseen_is_as_sure_as_it_is_right():
    generator = torch.Generator().manual_seed(0)
    sure, doubtful = [], []
    for position in range(2000):
        logits = torch.randn(8, generator=generator)
        target = (logits + 0.3 * torch.randn(8, generator=generator)).softmax(-1)
        tokens, chances = foresee(logits.softmax(-1), Draws(3), position)
        right = int(tokens[chances.argmax()]) == Draws(3).pick(target, position)
        (sure if chances.max() > 0.9 else doubtful).append(right)
    assert sum(sure) / len(sure) > 0.95 > 0.85 > sum(doubtful) / len(doubtful)


def test_picks_follow_the_distribution():
    probs = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    law = {i: float(p) for i, p in enumerate(probs) if p > 0}
    for stream in (Draws.TOKEN, Draws.DRAFT):
        assert g_excess([Draws(seed).pick(probs, 7, stream) for seed in range(3000)], law) < 1
        assert g_excess([Draws(5).pick(probs, position, stream) for position in range(3000)], law) < 1
    skewed = probs + torch.tensor([0.05, 0.0, -0.05, 0.0, 0.0])
    assert g_excess([Draws(seed).pick(skewed, 7) for seed in range(3000)], law) > 1
    assert Draws(0).pick(7 * probs, 3) == Draws(0).pick(probs, 3)


def test_positions_and_streams_are_independent():
    probs = torch.tensor([0.6, 0.4])
    pairs = {(a, b): float(probs[a] * probs[b]) for a in range(2) for b in range(2)}
    drawn = [Draws(seed) for seed in range(2000)]
    assert g_excess([(d.pick(probs, 4), d.pick(probs, 5)) for d in drawn], pairs) < 1
    assert g_excess([(d.pick(probs, 4), d.pick(probs, 4, Draws.DRAFT)) for d in drawn], pairs) < 1


def test_like_distributions_choose_alike():
    generator = torch.Generator().manual_seed(0)
    for spread in (0.1, 0.5, 2.0):
        logits = torch.randn(40, generator=generator)
        p, q = (x.softmax(0) for x in (logits, logits + spread * torch.randn(40, generator=generator)))
        distance = float((p - q).abs().sum() / 2)
        n = 1500
        agreed = sum(Draws(seed).pick(p, 3) == Draws(seed).pick(q, 3) for seed in range(n)) / n
        floor = (1 - distance) / (1 + distance)
        error = 4 * (floor * (1 - floor) / n) ** 0.5
        assert floor - error <= agreed <= 1 - distance + error
        independent = float((p * q).sum())
        assert agreed > independent


def test_a_token_without_probability_is_never_drawn():
    probs = warp(torch.randn(300), Sampling(1.5, top_k=3))
    allowed = set(probs.nonzero()[:, 0].tolist())
    assert {Draws(seed).pick(probs, seed % 5) for seed in range(300)} == allowed
    alone = torch.zeros(50)
    alone[17] = 1
    assert Draws(0).pick(alone, 0) == 17


def test_waits_of_a_few_tokens_at_several_positions_are_the_targets_own():
    draws, probs = Draws(7), torch.tensor([0.1, 0.0, 0.4, 0.2, 0.3])
    few = np.array([[0, 2, 4], [3, 2, 0]])
    units = draws.units(few, [11, 12])
    for row, position in enumerate((11, 12)):
        tokens, waits = draws.waits(probs, position)
        known = dict(zip(tokens.tolist(), waits.tolist(), strict=True))
        found = units[row] / probs.numpy()[few[row]]
        assert found.tolist() == pytest.approx([known[token] for token in few[row].tolist()])


def test_what_is_foreseen_of_all_tokens_is_foreseen_of_few():
    """Where nothing is left to others; what is left lowers all chances, the more of it the more."""
    draws, probs = Draws(7), torch.tensor([0.1, 0.5, 0.4])
    tokens, chances = foresee(probs, draws, 11)
    units = draws.units(tokens[None], [11])
    assert foreseen(units, probs.double().numpy()[None])[0].tolist() == pytest.approx(chances.tolist(), abs=1e-6)
    sums = [float(foreseen(units, share * probs.double().numpy()[None]).sum()) for share in (1.0, 0.9, 0.5, 0.1)]
    assert sums == sorted(sums, reverse=True)
    assert sums[0] > 0.99
    assert sums[-1] < 0.5


WIDE_ROWS = [(49152, 0.3), (49152, 4.0), (151936, 2.0)]
FILTERS = [
    Sampling(1.0),
    Sampling(0.6, top_p=0.95, top_k=20),
    Sampling(0.7, top_p=0.95),
    Sampling(1.3, top_k=50, min_p=0.02),
    Sampling(1.0, min_p=0.05),
    Sampling(1e-20, top_p=0.5),
]


@pytest.mark.parametrize(("vocab", "spread"), WIDE_ROWS)
@pytest.mark.parametrize("sampling", FILTERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_a_long_row_the_token_is_drawn_that_comes_first_of_all(
    vocab: int, spread: float, sampling: Sampling, dtype: torch.dtype
) -> None:
    """Neither the likely tokens alone nor those that filters leave are looked at for another result."""
    rows = (torch.randn(6, vocab, generator=torch.Generator().manual_seed(vocab)) * spread).to(dtype)
    for position, row in enumerate(rows):
        draws = Draws(position)
        tokens, waits = draws.waits(warp(row, sampling), position)
        first = int(tokens[waits.argmin()])
        assert draws.pick(warp(row, sampling), position) == first
        assert draws.draw(row, sampling, position) == first


def test_a_faint_token_of_a_long_row_is_drawn_as_often_as_it_should_be() -> None:
    """Those that are not looked at closely have their share: here a third of all, in 8192 pieces."""
    probs = torch.full((8193,), 1 / 3 / 8192)
    probs[5000] = 2 / 3
    picked = [Draws(seed).pick(probs, 7) for seed in range(900)]
    faint = [token for token in picked if token != 5000]
    assert 240 < len(faint) < 360  # 300, and four standard deviations of 14 on both sides
    assert len(set(faint)) > 0.9 * len(faint)


def test_equals_at_a_filters_edge_are_treated_as_everywhere() -> None:
    """As many large logits are level as there are tokens in the vocabulary's first half: top-k leaves them all."""
    row = torch.zeros(8192)
    row[:4096] = 5.0
    for sampling in (Sampling(1.0, top_k=20), Sampling(1.0, top_p=0.3)):
        kept = warp(row, sampling).nonzero()[:, 0].tolist()
        drawn = {Draws(seed).draw(row, sampling, 3) for seed in range(60)}
        assert drawn <= set(kept)
        assert len(drawn) > 30


def test_of_a_long_row_only_what_is_all_but_impossible_is_not_foreseen() -> None:
    row = (torch.randn(30000, generator=torch.Generator().manual_seed(0)) * 2).softmax(-1)
    for position in range(8):
        draws = Draws(5)
        tokens, waits = draws.waits(row, position)
        all_chances = (waits.min() / waits) ** 2
        found, chances = foresee(row, draws, position)
        assert tokens[all_chances >= 1 / 1024].tolist() == sorted(found.tolist())
        assert found[chances.argmax()] == draws.pick(row, position)


def test_tokens_that_a_low_temperature_rules_out_are_no_division_by_zero() -> None:
    row = torch.randn(8192, generator=torch.Generator().manual_seed(0)) * 5
    for seed in range(5):
        assert Draws(seed).draw(row, Sampling(0.01, top_k=20), 5) == Draws(seed).pick(
            warp(row, Sampling(0.01, top_k=20)), 5
        )


def test_a_long_row_that_is_no_distribution_is_said_to_be_broken() -> None:
    with pytest.raises(BrokenLogits):
        Draws(0).pick(torch.full((9000,), torch.nan), 3)
