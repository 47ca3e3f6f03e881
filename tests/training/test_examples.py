"""Every reward on a group small enough to be worked out by hand; the traps that their docstrings warn of."""

from __future__ import annotations

import pytest

from laconic.errors import GroupError, InvalidKnob
from laconic.policy import registry
from laconic.training.group import Group, Rollout
from laconic.training.rewards.arlcp import reflections
from tests.training.groups import group, having, make

near = pytest.approx
LOW, HIGH = 0.330240, 0.669760
"""The logistic function at -0.707107 and 0.707107: where two values stand in units of their sample deviation."""


def rewards(spec: str, of: Group) -> list[float]:
    return registry.build("reward", spec).rewards(of)  # type: ignore[attr-defined, no-any-return]


def test_outcome() -> None:
    assert rewards("outcome", group("+100 -200 +300")) == [1, 0, 1]


def test_kimi_counts_wrong_rollouts_for_the_spread_and_never_rewards_them() -> None:
    # min 100, max 500: g = .5 - 0/400, .5 - 200/400, .5 - 100/400, .5 - 400/400 = .5, 0, .25, -.5; times 0.4
    assert rewards("kimi", group("+100 +300 -200 -500")) == near([1.2, 1.0, 0.0, -0.2])
    assert rewards("kimi", group("+100 -100")) == [1, 0]
    assert rewards("kimi:warmup=5", group("+100 -500", step=4)) == [1, 0]
    assert rewards("kimi:warmup=5", group("+100 -500", step=5)) == near([1.2, -0.2])
    assert rewards("kimi", group("+100 +300 -4000"))[1] > 1.1, "one long failure makes all right ones look short"


def test_arora_zanette() -> None:
    # right ones: mean 200, deviation sqrt(2 * 100^2 / 1) = 141.42, z = -/+ 0.7071
    assert rewards("arora-zanette:0.2", group("+100 +300 -10")) == near([1 - 0.2 * LOW, 1 - 0.2 * HIGH, 0], abs=1e-6)
    assert rewards("arora-zanette:0.2", group("+100 -10")) == near([0.9, 0])  # z = 0: sigmoid 0.5
    assert rewards("arora-zanette:0.2", group("+7 +7 +7")) == near([0.9] * 3)


def test_arlcp_weighs_reflection_by_its_own_count() -> None:
    def of(*counts: int) -> list[float]:
        return rewards("arlcp", having(group("+50 " * len(counts)), text=["wait " * n for n in counts]))

    # equal lengths: sigmoid(0) = .5 times w2 = .2 - w1; reflections at z = -/+ 0.7071
    assert of(0, 2) == near([1 - 0.05 * LOW - 0.15 * 0.5, 1 - 0.05 * HIGH - 0.15 * 0.5], abs=1e-6)
    assert of(39, 41) == near([1 - 0.05 * LOW - 0.15 * 0.5, 1 - 0.10 * HIGH - 0.10 * 0.5], abs=1e-6)
    assert of(79, 81) == near([1 - 0.10 * LOW - 0.10 * 0.5, 1 - 0.15 * HIGH - 0.05 * 0.5], abs=1e-6)
    assert of(40, 80)[1] == near(1 - 0.10 * HIGH - 0.10 * 0.5, abs=1e-6)
    assert rewards("arlcp", having(group("-50"), text=["wait"])) == [0]
    assert reflections("Wait, 3 + 4 is 7. HOLD ON: butter is none, and double-check is one.") == 3


def test_arlcp_reads_length_too_and_its_weights_jump() -> None:
    lengths = rewards("arlcp", having(group("+100 +300"), text=["", ""]))
    assert lengths == near([1 - 0.15 * LOW - 0.05 * 0.5, 1 - 0.15 * HIGH - 0.05 * 0.5], abs=1e-6)
    words = having(group("+1000 +1000 +10"), text=["wait " * n for n in (40, 41, 200)])
    fewer, more, _ = rewards("arlcp", words)
    assert more > fewer, "a word more moves weight from a length that is punished to reflections that are few"


def test_o1_pruner() -> None:
    of = group("+100 -100 +400 -400 +25", reference=200.0, pass_rate=0.5)
    # 200/100-1 + 2*(1-.5); 1 - 1; 200/400-1 + 1; -.5 - 1; 7 + 1 clipped to 4
    assert rewards("o1-pruner:alpha=2", of) == near([2.0, 0.0, 0.5, -1.5, 4.0])
    assert rewards("o1-pruner:alpha=4", group("-10000", reference=200.0, pass_rate=0.5)) == [-2]  # -.98 - 2
    assert rewards("o1-pruner:alpha=2", group("+0", reference=200.0, pass_rate=0.5)) == [4]
    short_wrong, usual_right = rewards("o1-pruner:alpha=0.25", group("-50 +200", reference=200.0, pass_rate=0.5))
    assert short_wrong > usual_right  # 3 - .125 and 0 + .125


def test_l1_exact() -> None:
    of = having(group("+900 -600 +600 +300"), budget=[600] * 4)
    assert rewards("l1-exact", of) == near([0.9, 0, 1, 0.9])  # 300 / 3000 off, either way
    wrong, right = rewards("l1-exact", having(group("-600 +4000"), budget=[600] * 2))
    assert (wrong, right) == near((0, 1 - 3400 / 3000))
    assert wrong > right


def test_l1_max() -> None:
    of = having(group("+600 +300 +2100 +2500 -0"), budget=[600] * 5)
    assert rewards("l1-max", of) == near([0.5, 0.6, 0, 0, 0])  # .5 + 300/3000; .5 - 1500/3000; clipped; wrong
    assert rewards("l1-max", having(group("+0 +400"), budget=[2000] * 2)) == [1, 1]  # .5 + 2000/3000, 1600/3000


def test_e1() -> None:
    of = having(group("+150 +250 -350", effort=0.5), thought=[100, 200, 300])
    assert rewards("e1", of) == [1, 0, 0]  # mean 200, half of it 100
    kept = having(group("+150 +250 -350", effort=0.5, reference=400.0), thought=[100, 200, 300])
    assert rewards("e1", kept) == [1, 1, 0]
    with pytest.raises(GroupError, match="usual length"):
        rewards("e1", having(group("+150", effort=0.5), thought=[100]))


def test_hbpo() -> None:
    of = having(group("+0 +1024 +512 +2048 -9 +4096 +4097"), budget=[None, 1024, 1024, 1024, 1024, None, None])
    # u(0) = 4; u(1024) = 4 cos(pi/8) = 3.695518; u(512) - 512/4096 = 3.923141 - .125, so u(1024);
    # u(2048) - 1024/4096 = 2.828427 - .25; wrong; u(4096) = 0; beyond the longest
    assert rewards("hbpo", of) == near([4, 3.695518, 3.695518, 2.578427, 0, 0, 0], abs=1e-6)
    assert rewards("hbpo", having(group("-9"), formatted=[False])) == [-1]
    assert rewards("hbpo:longest=1024", group("+1024 +1025")) == near([3.695518, 0], abs=1e-6)
    far, wrong = rewards("hbpo", having(group("+4000 -9"), budget=[512, 512]))
    assert far == near(4 * 0.0368072 - 3488 / 4096, abs=1e-5)  # cos(1.533981) = .0368072
    assert far < wrong


def test_lapo_discovery() -> None:
    # quantiles of 100..500: .3 at rank 1.2 = 220, .7 at rank 2.8 = 380; 20 tokens outside leave .8, 120 nothing
    of = group("+100 +200 +300 +400 +500 -300")
    assert rewards("lapo-discovery", of) == near([1, 1 + 0.7 * 0.8, 1.7, 1 + 0.7 * 0.8, 1, 0])
    assert rewards("lapo-discovery", group("+300 -300")) == [1, 0]  # no width
    assert rewards("lapo-discovery", group("-300")) == [0]


def test_lapo_internalization() -> None:
    of = group("+300 +420 -300", reference=300.0)
    assert rewards("lapo-internalization", of) == near([1.8, 1 + 0.8 * 0.606531, 0], abs=1e-6)  # exp(-1/2)
    assert rewards("lapo-internalization", group("+200 +440 -1")) == near([1.485225, 1.485225, 0], abs=1e-6)  # 320
    assert rewards("lapo-internalization", group("-300")) == [0]


def test_shorterbetter() -> None:
    assert rewards("shorterbetter", group("+100 +1100 -100 -3100 -50")) == near([2, 1, 0, -3, -0.05])
    assert rewards("shorterbetter", group("-100 -300")) == near([-0.1, -0.1])  # mean 200
    _, right, wrong = rewards("shorterbetter", group("+100 +2200 -100"))
    assert right == near(-0.1)  # 2 - 2.1
    assert wrong > right


def test_hapo() -> None:
    of = group("+100 +200 +300 +400 -100 -300 -400 -500", reference=200.0)
    # cos(pi/4) = .707107, cos(pi/2) = 0, cos(3pi/4) = -.707107 and -1 held at -.7; wrong: no reward, no floor
    assert rewards("hapo", of) == near([1.707107, 1, 0.3, 0.3, 0, -0.707107, -1, -1], abs=1e-6)
    assert rewards("hapo", group("+100 -100")) == [1, 0]
    assert rewards("hapo", group("+0 -0", reference=0.0)) == near([0.3, -1])


def test_slpo() -> None:
    assert rewards("slpo:alpha=0.5", group("+100 +200 +300 -50")) == near([1.5, 1.25, 1, 0])
    assert rewards("slpo:alpha=0.5", group("+100 -50")) == [1, 0]
    assert rewards("slpo:alpha=0.5", group("+100 +100 -50")) == [1, 1, 0]
    assert rewards("slpo:alpha=0.5", group("-50")) == [0]


def test_laser() -> None:
    assert rewards("laser:200", group("+200 +201 -100")) == [1.5, 1, 0]


def test_laser_d_has_a_target_for_each_level() -> None:
    method = "laser-d:easy=100,medium=200,hard=300"
    assert rewards(method, group("+100 +150 -10")) == [1.5, 1, 0]  # 2/3 right: easy
    assert rewards(method, group("+200 +201 -10 -10")) == [1.5, 1, 0, 0]  # 1/2: medium
    assert rewards(method, group("+250 -10 -10")) == [1, 0, 0]  # 1/3: still medium
    assert rewards(method, group("+300 -10 -10 -10")) == [1.5, 0, 0, 0]  # 1/4: hard


def test_laser_de_rewards_long_failures_that_do_not_repeat() -> None:
    method = "laser-de:easy=100,medium=200,hard=300"
    of = having(group("+300 -301 -301 -300"), repeats=[None, False, True, None])
    assert rewards(method, of) == [1.5, 0.5, 0, 0]
    assert rewards(method, having(group("+201 -1"), repeats=[False, False])) == [1, 0]
    with pytest.raises(GroupError, match="repeats"):
        rewards(method, group("-301"))
    with pytest.raises(InvalidKnob):
        rewards(method + ",weight=1", of)


def test_limits_alone() -> None:
    of = group("+100 +300! -100")
    assert rewards("dler", of) == [1, 0, 0]
    assert rewards("siri:shortest=100,longest=300,cycle=4", of) == [1, 0, 0]
    assert rewards("palu:target=0.5,quantile=0.5", of) == [1, 0, 0]
    assert rewards("palu:target=0.5,quantile=0.5", group("+150 +151 -1", reference=150.0)) == [1, 0, 0]


def test_alp() -> None:
    # half are right: a token costs .001 * .5
    assert rewards("alp:beta=0.001", group("+100 +1000 -100 -400")) == near([0.95, 0.5, -0.05, -0.2])
    assert rewards("alp:beta=0.001", group("-100 -100 -100 -100")) == near([-0.025] * 4)  # 1 / K = 1/4
    right, wrong = rewards("alp:beta=0.001", group("+3000 -100"))
    assert (right, wrong) == near((-0.5, -0.05))


def test_adlp() -> None:
    method = "a-dlp:accuracy=0.5,rate=0.01,price=0.001"
    assert rewards(method, group("+100 -100")) == near([0.9, -0.1])
    right, wrong = rewards(method, group("+2000 -100"))
    assert wrong > right


def test_grpo_lambda_chooses_among_the_groups_of_a_batch() -> None:
    method = make("grpo-lambda")
    surer, less_sure = group("+100 +300"), group("+100 -300")
    plain, shaped = [1, 0], [1.5, 0.5]  # kimi with weight 1: g = .5 and -.5
    assert method.batch_rewards([less_sure, surer]) == [plain, shaped]  # type: ignore[attr-defined]
    assert method.batch_rewards([less_sure, less_sure]) == [[1.5, -0.5]] * 2  # type: ignore[attr-defined]  # a tie
    assert method.rewards(less_sure) == [1.5, -0.5]
    three = method.batch_rewards([group("-100 -300"), less_sure, surer])  # type: ignore[attr-defined]
    assert three == [[0, 0], [1.5, -0.5], shaped], "half of three, rounded up"
    with pytest.raises(GroupError, match="no groups"):
        method.batch_rewards([])  # type: ignore[attr-defined]


def test_conciser_rewards_length_only_once_all_are_right() -> None:
    assert rewards("conciser", group("+100 +500", limit=1000)) == near([1.9, 1.5])
    assert rewards("conciser", group("+100 -500", limit=1000)) == [1, 0]


def test_pear() -> None:
    of = having(group("+1 +1 +1 -1"), thought_entropy=[0.6, 0.1, 3.0, 0.0], answer_entropy=[0.4] * 4)
    assert rewards("pear:alpha=0.5", of) == near([0.6, 1, 0, 0])  # .6 - .2; below 0; above 1; wrong


def test_s_grpo_counts_right_exits_from_the_front() -> None:
    of = having(group("+45 -15 +25 +35"), thought=[40, 10, 20, 30])
    assert rewards("s-grpo:exits=3", of) == [0.25, 0, 1, 0.5]
    assert rewards("s-grpo:exits=3", having(group("+45 +25 +26"), thought=[40, 20, 20])) == [0.25, 1, 1]


def test_drpo() -> None:
    assert rewards("drpo:temperature=0.5", group("+100 +600 -50", limit=1000)) == near([0.9, 0.4, 0])


def test_gfpo_and_gppo_reward_outcomes() -> None:
    assert rewards("gfpo:k=2", group("+100 -50")) == rewards("gppo", group("+100 -50")) == [1, 0]


def test_cosine() -> None:
    of = group("+0 +500 +1000 -0 -500 -1000 -1000! +1000!", limit=1000)
    assert rewards("cosine", of) == near([2, 1.5, 1, -10, -5, 0, -10, -10])
    short, long = rewards("cosine", group("-10 -900", limit=1000))
    assert long > short, "longer failures are better, on purpose"


def test_dapo() -> None:
    of = group("+900 +950 +1000 -100 -1000", limit=1000)
    assert rewards("dapo:buffer=100", of) == near([1, 0.5, 0, -1, -2])
    with pytest.raises(GroupError, match="buffer"):
        rewards("dapo", of)


def test_impossible_knobs_are_refused() -> None:
    with pytest.raises(InvalidKnob, match="swing"):
        make("siri").__class__(shortest=3, longest=2, cycle=4)  # type: ignore[call-arg]
    with pytest.raises(InvalidKnob):
        rewards("kimi:weight=-1", Group((Rollout(1, right=True),)))
