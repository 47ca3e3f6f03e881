"""Random numbers that depend on seed, position and stream alone, and what is drawn with them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

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
