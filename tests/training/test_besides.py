"""What some methods do besides rewarding: advantages, filters, losses, limits, words, cuts, memory."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch

from laconic.errors import GroupError, InvalidKnob, RewardError
from laconic.policy import registry
from laconic.training.advantages import group_advantages
from laconic.training.base import besides, reads
from laconic.training.rewards import score
from tests.training.groups import group, having, make

near = pytest.approx


def method(name: str) -> Any:
    return make(name)


class TestAdvantages:
    def test_of_a_group(self) -> None:
        # mean .5; deviation sqrt(4 * .25 / 3) = .577350
        assert group_advantages([1, 0, 0, 1]) == near([0.866025, -0.866025, -0.866025, 0.866025], abs=1e-6)
        assert group_advantages([1, 0, 0, 1], scale=False) == [0.5, -0.5, -0.5, 0.5]
        assert group_advantages([3.0]) == group_advantages([3.0], scale=False) == [0]

    def test_rewards_that_only_rounding_tells_apart_give_none(self) -> None:
        assert group_advantages([0.1 + 0.2, 0.3, 0.3]) == [0, 0, 0]

    @pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf")]])
    def test_of_no_numbers(self, bad: list[float]) -> None:
        with pytest.raises(RewardError):
            group_advantages(bad)

    def test_score_counts_right_rollouts_that_are_pushed_away(self) -> None:
        # rewards 1.2, .8, 0 -> wrong pulls the mean to .667; with a third right one of 1.0 and no wrong one: mean 1
        assert score("kimi", group("+100 +500 -500"), scale=False).right_discouraged == 0
        found = score("kimi", group("+100 +300 +500"), scale=False)
        assert found.rewards == near([1.2, 1.0, 0.8])
        assert found.advantages == near([0.2, 0.0, -0.2])
        assert found.right_discouraged == near(1 / 3)
        assert score("kimi", group("-1 -2")).right_discouraged is None

    def test_drpo_pushes_no_right_rollout_away_where_others_do(self) -> None:
        of = group("+10 +20 +30 +1000 -5", limit=1000)
        assert score("arora-zanette:1", of).right_discouraged == near(1 / 4)
        assert score("drpo:temperature=0.1", of).right_discouraged == 0

    def test_o1_pruner_takes_its_weights_as_they_are(self) -> None:
        of = group("+100 -100", reference=200.0, pass_rate=0.5)
        assert score("o1-pruner:alpha=2", of).advantages == near([2, 0])

    def test_hbpo_adds_how_its_subgroup_does(self) -> None:
        # GRPO over 2, 0, 1: 1, -1, 0. Subgroup 2048: mean 1 minus u(2048) = 2.828427; the third has no budget
        of = having(group("+1 -1 +1"), budget=[2048, 2048, None])
        assert method("hbpo").advantages(of, [2, 0, 1]) == near([-0.828427, -2.828427, 0], abs=1e-6)

    def test_dler_scales_over_the_batch(self) -> None:
        # centred: .5 -.5 | .25 .25 .25 -.75; squares sum to 1.25, over 6 - 1: deviation .5
        found = method("dler").batch_advantages([[1, 0], [1, 1, 1, 0]])
        assert found == [near([1, -1]), near([0.5, 0.5, 0.5, -1.5])]
        assert method("dler").batch_advantages([[1, 1], [0]]) == [[0, 0], [0]]


@pytest.mark.parametrize("outer", ["cppo:k=1,reward=", "grpo-lambda:share=0.5,reward=", "lspo:short=0,long=1,reward="])
@pytest.mark.parametrize("inner", ["dler", "gfpo:k=1", "siri:shortest=1,longest=2,cycle=2", "hapo"])
def test_what_a_method_does_besides_is_not_lost_within_another(outer: str, inner: str) -> None:
    with pytest.raises(InvalidKnob, match=f"'{inner.partition(':')[0]}' is more than a reward"):
        registry.build("reward", f"{outer}[{inner}]")


def test_what_is_read_within_a_method_is_read() -> None:
    assert reads(make("cppo").__class__(reward=make("pear"), k=1)) == set(make("pear").reads)


class TestFilters:
    def test_dler_and_dapo_leave_out_groups_without_a_difference(self) -> None:
        mixed, same = group("+1 -2"), group("+1 +2")
        assert method("dler").keeps(mixed, [1, 0]) == method("dapo").keeps(mixed, [1, -1]) == [True, True]
        assert method("dler").keeps(same, [1, 1]) == method("dapo").keeps(same, [1, 0.5]) == [False, False]

    def test_gfpo_learns_from_the_shortest_alone(self) -> None:
        gfpo = method("gfpo").__class__(k=2)
        of = group("+300 -100 +200")
        assert gfpo.keeps(of, [1, 0, 1]) == [False, True, True]
        assert gfpo.advantages(of, [1, 0, 1]) == near([0, -0.707107, 0.707107], abs=1e-6)  # over 0 and 1

    def test_gfpo_by_reward_for_each_token(self) -> None:
        gfpo = method("gfpo").__class__(k=2, by="efficiency")
        assert gfpo.keeps(group("+300 -100 +200 -0"), [1, 0, 1, 0]) == [True, False, True, False]

    def test_gfpo_needs_more_rollouts_than_it_keeps(self) -> None:
        with pytest.raises(GroupError, match="keeps 2 rollouts"):
            method("gfpo").__class__(k=2).keeps(group("+300"), [1])

    def test_cppo_learns_from_the_largest_advantages_of_the_whole_group(self) -> None:
        cppo = replace(method("cppo"), reward=method("outcome"), k=2)
        of = group("+1 -2 +3 +4")
        assert cppo.rewards(of) == [1, 0, 1, 1]
        assert cppo.keeps(of, [1, 0, 1, 1]) == [True, True, False, False]  # 0.5, -1.5, 0.5, 0.5
        assert cppo.advantages(of, [1, 0, 1, 1]) == near([0.5, -1.5, 0, 0])
        assert cppo.advantages(of, [0, 1, 3, 2]) == near([-1.161895, 0, 1.161895, 0], abs=1e-6)  # deviation 1.290994
        with pytest.raises(GroupError, match="keeps 2 rollouts"):
            cppo.keeps(group("+300"), [1])

    def test_as_many_rewards_as_rollouts(self) -> None:
        of = having(group("+1 -2", limit=10, reference=1.0, pass_rate=0.0), budget=[1, 1])
        for name in ("o1-pruner", "hbpo", "drpo"):
            with pytest.raises(GroupError, match="1 rewards for a group of 2"):
                method(name).advantages(of, [1])
        for name in ("dler", "dapo"):
            with pytest.raises(GroupError, match="1 rewards for a group of 2"):
                method(name).keeps(of, [1])


class TestSchedules:
    def test_siri_swings(self) -> None:
        assert [method("siri").limit(step) for step in range(6)] == [300, 200, 100, 200, 300, 200]

    def test_adlp_raises_its_price_while_accuracy_allows_it(self) -> None:
        adlp = method("a-dlp")
        assert adlp.update([group("+1 +1"), group("+1 -1")]).price == near(0.001 + 0.01 * (0.75 - 0.5))
        assert adlp.update([group("-1")]).price == 0  # .001 - .005
        assert adlp.price == 0.001
        with pytest.raises(GroupError, match="empty batch"):
            adlp.update([])

    @pytest.mark.parametrize("name", ["laser-d", "laser-de"])
    def test_laser_d_moves_its_targets(self, name: str) -> None:
        easy = group("+10 +20 +30 +40 +50 +60 -1 -1")  # fewest 16 // 3 = 5: a fifth of six is the second
        medium = group("+300 +100 +200 -1 -1 -1 -1 -1")  # fewest 8 // 3 = 2: half of three is the second
        hard = group("+700 -1 -1 -1 -1 -1 -1 -1")  # fewest 1: all
        moved = method(name).update([easy, medium, hard])
        assert (moved.easy, moved.medium, moved.hard) == (20, 200, 700)
        alone = method(name).update([easy])
        assert (alone.easy, alone.medium, alone.hard) == (20, 200, 300)


class TestMemory:
    def test_hapo_keeps_the_shortest(self) -> None:
        hapo = method("hapo")
        assert hapo.remember(group("+100 +80 -10")) == 80
        assert hapo.remember(group("+100", reference=90.0)) == 90
        assert hapo.remember(group("-10", reference=90.0)) == 90
        assert hapo.remember(group("-10")) is None

    def test_palu_gives_a_budget_only_to_what_is_solved(self) -> None:
        palu = method("palu")
        assert palu.remember(group("+100 +200 -50")) == 150
        assert palu.remember(group("+100 +200 -50", pass_rate=0.4)) is None
        assert palu.remember(group("+100 -200 -50", reference=70.0)) is None  # back to the full limit
        assert palu.remember(group("-100", pass_rate=0.9)) is None

    def test_lapo_keeps_medians(self) -> None:
        first, second = method("lapo-discovery"), method("lapo-internalization")
        assert first.remember(group("+100 +300 +500 -1", reference=200.0)) == 300
        assert first.remember(group("-1", reference=200.0)) == 200
        assert second.remember(group("+100 +300 +500 -1", reference=200.0)) == 200
        assert second.remember(group("+100 +150", reference=200.0)) == 125
        assert second.remember(group("-1")) is None


class TestWordsAndCuts:
    def test_hints(self) -> None:
        of = having(group("+1 -2"), budget=[512, 1024])
        assert method("l1-exact").hint(of) == ["Think for 512 tokens.", "Think for 1024 tokens."]
        assert method("l1-max").hint(of)[0] == "Think for maximum 512 tokens."
        assert method("hbpo").hint(of)[1] == "I will answer the question with 1024 tokens."
        declared = group("+1 -2", reference=249.6)
        assert method("lapo-internalization").hint(declared) == ["I will answer the question with 250 tokens."] * 2

    @pytest.mark.parametrize("name", ["l1-exact", "l1-max", "hbpo", "lapo-internalization"])
    def test_hints_of_nothing_are_errors(self, name: str) -> None:
        with pytest.raises(GroupError, match="lacks"):
            method(name).hint(group("+1"))

    def test_s_grpo_leaves_a_thought_early_and_at_its_end(self) -> None:
        places = [method("s-grpo").cuts(20, Random(seed)) for seed in range(200)]
        assert all(len(set(at)) == 4 and at == sorted(at) and at[-1] == 20 and at[0] >= 1 for at in places)
        assert {at for of_one in places for at in of_one} == set(range(1, 21))
        assert method("s-grpo").cuts(3, Random(0)) == [1, 2, 3]
        assert method("s-grpo").cuts(1, Random(0)) == [1]
        with pytest.raises(GroupError, match="0 tokens"):
            method("s-grpo").cuts(0, Random(0))


class TestLosses:
    def test_gppo_keeps_the_gradient_that_ppo_clips_away(self) -> None:
        ratios, advantages = torch.tensor([[2.0, 0.5, 1.0, 2.0, 0.5]]), torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0]])
        old = torch.full((1, 5), -1.0)
        now = (old + ratios.log()).requires_grad_()
        loss = method("gppo").token_loss(now, old, advantages)
        # PPO's values: min(2, 1.2), min(-.5, -.8), 1, min(-2, -1.2), min(.5, .8)
        assert loss[0].tolist() == near([-1.2, 0.8, -1.0, 2.0, -0.5])
        loss.sum().backward()
        # PPO's gradients would be 0, 0, -1, 2, -.5
        assert now.grad is not None
        assert now.grad[0].tolist() == near([-1.2, 0.8, -1.0, 2.0, -0.5])

    def test_drpo(self) -> None:
        drpo = method("drpo")
        of = group("+100 +600 -50 -70", limit=1000)
        # r = .9, .4; weights 1 / (1 + e^-1) = .731059 and .268941
        assert drpo.weights(of) == near([0.731059, 0.268941, 0, 0], abs=1e-6)
        # .731059 + 2 * .268941 = 1.268941; 10 log((e^-.3 + e^-.5) / 2) = 10 log .673675 = -3.950080
        loss = drpo.group_loss(of, torch.tensor([-1.0, -2.0, -3.0, -5.0]))
        assert float(loss) == near(1.268941 - 3.950080, abs=1e-4)

    def test_drpo_advantages_are_what_its_loss_asks_for(self) -> None:
        drpo = method("drpo")
        of = group("+100 +600 -50 -70", limit=1000)
        scores = torch.full((4,), -2.0, requires_grad=True)
        drpo.group_loss(of, scores).backward()
        assert scores.grad is not None
        assert (-scores.grad).tolist() == near(drpo.advantages(of, drpo.rewards(of)), abs=1e-6)

    @pytest.mark.parametrize("alike", ["+100 +200", "-100 -200"])
    def test_drpo_learns_nothing_without_a_contrast(self, alike: str) -> None:
        of = group(alike, limit=1000)
        scores = torch.tensor([-1.0, -2.0], requires_grad=True)
        loss = method("drpo").group_loss(of, scores)
        loss.backward()
        assert scores.grad is not None
        assert loss.item() == 0
        assert scores.grad.tolist() == [0, 0]
        assert method("drpo").advantages(of, [0, 0]) == [0, 0]

    def test_drpo_punishes_divergence_beyond_a_little(self) -> None:
        penalty = method("drpo").divergence_penalty(torch.tensor([0.0, 1e-4, 1.1e-3]))
        assert penalty.tolist() == near([0, 0, 500 * 1e-3**2], abs=1e-9)


def test_each_says_what_it_is_besides_a_reward() -> None:
    assert besides(make("kimi")) == []
    assert besides(make("dler")) == ["BatchAdvantages", "Keeps"]
    assert besides(make("gfpo")) == ["Advantages", "Keeps"]
    assert besides(make("drpo")) == ["Advantages", "GroupLoss"]
    assert besides(make("siri")) == ["Limits"]
