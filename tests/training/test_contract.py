"""What all rewards have in common, and which of them put a right rollout above a wrong one."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from laconic.errors import GroupError, RewardError
from laconic.policy import registry
from laconic.training.base import Reward
from laconic.training.group import Group, Rollout
from laconic.training.rewards import score
from tests.training.groups import full, group, having, make

NAMES = registry.names("reward")
every = pytest.mark.parametrize("name", NAMES)
ORDINARY = {
    "mixed": "+100 -200 +300 -40 +500!",
    "all right": "+100 +200 +300",
    "all wrong": "-100 -200 -300",
    "all alike": "+100 +100 +100",
    "one": "+100",
    "one wrong": "-100",
    "empty completions": "-0 -0 +10",
    "empty and right": "+0 -0",
    "cut off": "-1000! -1000! +900",
    "right and cut off": "+1000! +1000!",
}
READS = {
    "arlcp": "text",
    "conciser": "limit",
    "cosine": "limit",
    "dapo": "limit",
    "drpo": "limit",
    "e1": "effort",
    "l1-exact": "budget",
    "l1-max": "budget",
    "laser-de": "repeats",
    "o1-pruner": "reference",
    "pear": "thought_entropy",
    "s-grpo": "thought",
}
"""What a reward reads that a rollout with a length and an outcome alone does not have."""
TRAPS = {
    "a-dlp": group("-10 +3000"),
    "alp": group("-10 +3000"),
    "hbpo": having(group("-10 +4000"), budget=[512, 512]),
    "l1-exact": having(group("-600 +4000"), budget=[600, 600]),
    "o1-pruner": group("-10 +400", reference=200.0, pass_rate=0.5),
    "shorterbetter": group("-100 +100 +2200"),
}
"""Groups in which a wrong rollout gets more than a right one, for rewards that allow it."""


@every
@pytest.mark.parametrize("case", ORDINARY)
def test_rewards_and_advantages_are_finite_numbers(name: str, case: str) -> None:
    of = full(ORDINARY[case])
    found = score(make(name), of)
    assert len(found.rewards) == len(found.advantages) == len(of)
    assert all(type(value) in (int, float) and math.isfinite(value) for value in (*found.rewards, *found.advantages))
    assert (found.right_discouraged is None) == ("+" not in ORDINARY[case])


@every
def test_a_shuffled_group_has_shuffled_rewards(name: str) -> None:
    random, method = Random(7), make(name)
    for _ in range(20):
        of = full(" ".join(f"{random.choice('+-')}{random.randrange(900)}" for _ in range(6)))
        order = random.sample(range(6), 6)
        shuffled = replace(of, rollouts=tuple(of.rollouts[at] for at in order))
        plain = method.rewards(of)
        assert method.rewards(shuffled) == pytest.approx([plain[at] for at in order])


@every
def test_a_rollout_that_nobody_has_judged_is_an_error(name: str) -> None:
    of = full("+100 -200")
    unknown = replace(of, rollouts=(of.rollouts[0], replace(of.rollouts[1], right=None)))
    with pytest.raises(GroupError, match="'right'"):
        make(name).rewards(unknown)


@every
def test_what_a_reward_reads_and_does_not_get_is_named(name: str) -> None:
    bare = group("+100 +200 -400 -400")
    if name in READS:
        with pytest.raises(GroupError, match=f"'{READS[name]}'"):
            make(name).rewards(bare)
    else:
        assert len(make(name).rewards(bare)) == 4


@every
def test_right_rollouts_get_no_less_than_wrong_ones_unless_the_method_says_so(name: str) -> None:
    method, random = make(name), Random(11)
    if not method.truthful:
        of = TRAPS[name]
        pairs = list(zip(method.rewards(of), of.rollouts, strict=True))
        assert max(value for value, it in pairs if not it.right) > min(value for value, it in pairs if it.right)
        assert "trap" in (type(method).__doc__ or "").lower()
        return
    for _ in range(200):
        size = random.randrange(2, 9)
        of = full(" ".join(f"{random.choice('+-')}{random.randrange(1001)}" for _ in range(size)))
        pairs = list(zip(method.rewards(of), of.rollouts, strict=True))
        right = [value for value, it in pairs if it.right]
        wrong = [value for value, it in pairs if not it.right]
        assert not right or not wrong or min(right) >= max(wrong)


@pytest.mark.parametrize("name", ["conciser", "cosine", "dapo", "drpo"])
def test_a_rollout_beyond_the_limit_is_an_error(name: str) -> None:
    with pytest.raises(GroupError, match="1001 tokens"):
        make(name).rewards(group("+1001", limit=1000))


@pytest.mark.parametrize("bad", [[1.0, math.nan], [1.0, math.inf], [1.0, None], [1.0]])
def test_a_reward_that_is_no_number_is_an_error(bad: list[float]) -> None:
    class Broken(Reward):
        name = "broken"

        def rewards(self, group: Group) -> list[float]:
            return bad

    with pytest.raises(RewardError, match="'broken'"):
        score(Broken(), group("+1 +2"))


def test_groups_that_cannot_be_are_refused() -> None:
    fine = (Rollout(5, 2),)
    for wrong in ({"limit": 0}, {"step": -1}, {"effort": -0.1}, {"reference": math.nan}, {"pass_rate": 1.1}):
        with pytest.raises(GroupError):
            Group(fine, **wrong)  # type: ignore[arg-type]
    with pytest.raises(GroupError, match="no rollouts"):
        Group(())


def test_rollouts_that_cannot_be_are_refused() -> None:
    assert Rollout(0, 0).tokens == 0
    assert Rollout(5, 5).thought == 5
    for wrong in ({"tokens": -1}, {"thought": -1}, {"thought": 6}, {"budget": -1}, {"thought_entropy": math.nan}):
        with pytest.raises(GroupError):
            Rollout(**{"tokens": 5, **wrong})  # type: ignore[arg-type]
    with pytest.raises(GroupError, match="answer_entropy"):
        Rollout(5, answer_entropy=-0.1)
