"""Rollout plans over a step whose replies are written down."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import RecipeError
from laconic.policy import registry
from laconic.training.group import Group, Rollout
from laconic.training.plans.base import Plan
from laconic.training.plans.gvm import shared_out
from laconic.training.plans.seele import chosen
from laconic.types import Limits, Request, Result
from tests.training.groups import group

near = pytest.approx
END, RIGHT, WRONG = 0, 1, 2
LIMIT = 12


class Step:
    """Two problems. A reply is random numbers from 10 on, 9 tokens of them, then RIGHT or WRONG, and END."""

    def __init__(self, size: int, skill: Sequence[float], solutions: Sequence[tuple[int, ...]] = ((), ())) -> None:
        self.size, self.limit, self.skill, self.solutions = size, LIMIT, skill, solutions
        self.asked = [Request((100 + at,)) for at in range(len(skill))]
        self.parts: list[int] = []
        self.sampled, self.norms = 0, [1.0] * len(skill)
        self._random = Random(5)

    def run(self, requests: Sequence[Request], problems: Sequence[int], part: int) -> list[Result]:
        assert part not in self.parts
        self.parts.append(part)
        return [self._reply(request, at) for request, at in zip(requests, problems, strict=True)]

    def _reply(self, request: Request, problem: int) -> Result:
        assert request.prompt[0] == 100 + problem
        begun, most = len(request.prompt) - 1, request.limits.max_new_tokens
        told = sum(token in self.solutions[problem][:-2] for token in request.prompt[1:])
        skill = min(self.skill[problem] + told / 10, 1.0)
        end = [RIGHT if self._random.random() < skill else WRONG, END]
        whole = [10 + self._random.randrange(1000) for _ in range(max(9 - begun, 0))] + (end if begun < 10 else [END])
        self.sampled += len(whole[:most])
        reason = "stop" if len(whole) <= most else "length"
        return cast(Result, SimpleNamespace(tokens=tuple(whole[:most]), finish_reason=reason))

    def request(self, problem: int, begun: Sequence[int], limit: int) -> Request:
        return Request((100 + problem, *begun), limits=Limits(limit))

    def solution(self, problem: int) -> tuple[int, ...]:
        return self.solutions[problem]

    def right(self, problem: int, completion: Sequence[int]) -> bool:
        return RIGHT in completion

    def words(self, problem: int) -> range:
        return range(1, len(self.solutions[problem]) - 1)

    def gradient(self, problem: int, completion: Sequence[int]) -> float:
        return self.norms[problem]

    def random(self, problem: int) -> Random:
        return Random(problem)


SOLUTION = (*range(2000, 2010), RIGHT, END)
SPECS = ("tree:segment=3", "anchor", "anchor:needed=true", "seele", "seele:rounds=4", "gvm")


def plan(spec: str) -> Plan:
    return cast(Plan, registry.build("plan", spec))


def test_every_plan_has_a_spec_here() -> None:
    assert {spec.partition(":")[0] for spec in SPECS} == set(registry.names("plan"))


@pytest.mark.parametrize("spec", SPECS)
def test_a_step_has_as_many_rollouts_as_were_asked_for(spec: str) -> None:
    step = Step(8, [0.3, 0.6], [SOLUTION, ()])
    made = plan(spec).rollouts(step)
    problems = [each.problem for each in made]
    assert len(made) == 16
    assert problems == sorted(problems)
    assert set(problems) == {0, 1}
    for each in made:
        assert each.prompt[0] == 100 + each.problem
        assert 0 < len(each.completion) <= LIMIT
        assert each.completion[-1] == END


class TestTree:
    def test_leaves_share_what_lies_above_them_and_it_is_sampled_once(self) -> None:
        step = Step(8, [0.5])
        made = plan("tree:segment=3").rollouts(step)
        assert len({each.completion[:3] for each in made}) == 2  # the root parts in two, these in four, these in eight
        assert len({each.completion[:6] for each in made}) == 4
        assert len({each.completion[:9] for each in made}) == 8
        # 2 + 4 + 8 segments of three tokens, and eight ends of two, where eight rollouts have 88
        assert step.sampled == 14 * 3 + 8 * 2
        assert sum(len(each.completion) for each in made) == 88
        for one in made:
            for other in made:
                shared = sum(a == b for a, b in zip(one.path, other.path, strict=True))
                assert one.completion[: 3 * shared] == other.completion[: 3 * shared]

    def test_a_group_that_is_no_power_of_the_branches_is_filled(self) -> None:
        made = plan("tree:segment=3").rollouts(Step(5, [0.5]))
        assert Counter(each.path[0] for each in made).most_common() in ([(0, 3), (1, 2)], [(1, 3), (0, 2)])

    def test_places_left_when_all_have_ended_are_filled_from_inner_nodes(self) -> None:
        step = Step(8, [0.5])
        made = plan("tree:segment=10").rollouts(step)  # the second segment ends; four leaves at first
        assert len(made) == 8
        assert len(step.parts) > 2
        assert len({each.path for each in made}) == 8

    def test_a_loop_ends_its_path(self) -> None:
        step = Step(2, [0.5])
        step._reply = lambda request, problem: cast(  # type: ignore[method-assign]
            Result, SimpleNamespace(tokens=(7,) * request.limits.max_new_tokens, finish_reason="length")
        )
        step.limit = 1000
        assert {len(each.completion) for each in plan("tree:segment=40").rollouts(step)} == {40}

    def test_advantages_are_over_the_nodes_above(self) -> None:
        # two subtrees of two: rewards 1 0 | 1 1. Root mean 3/4, left mean 1/2, right mean 1.
        paths = [(0, 2), (0, 3), (1, 4), (1, 5)]
        of = Group(tuple(Rollout(10, right=True, path=path) for path in paths))
        # by leaves: (4 (1 - 3/4) + 2 (1 - 1/2)) / 6 = 1/3, (4 (-3/4) + 2 (-1/2)) / 6 = -2/3, (4 / 4 + 0) / 6 = 1/6
        raw = [1 / 3, -2 / 3, 1 / 6, 1 / 6]
        deviation = math.sqrt(sum(each**2 for each in raw) / 4)
        found = cast(Any, plan("tree:segment=3")).step_advantages([of], [[1.0, 0.0, 1.0, 1.0]])
        assert found == [near([each / deviation for each in raw])]
        # alike: (1/4 + 1/2) / 2 = 3/8, (-3/4 - 1/2) / 2 = -5/8, (1/4 + 0) / 2 = 1/8
        raw = [3 / 8, -5 / 8, 1 / 8, 1 / 8]
        deviation = math.sqrt(sum(each**2 for each in raw) / 4)
        found = cast(Any, plan("tree:segment=3,weigh=alike")).step_advantages([of], [[1.0, 0.0, 1.0, 1.0]])
        assert found == [near([each / deviation for each in raw])]

    def test_a_node_with_one_leaf_says_nothing(self) -> None:
        paths = [(0, 2), (1, 3)]
        of = Group(tuple(Rollout(10, right=True, path=path) for path in paths))
        found = cast(Any, plan("tree:segment=3")).step_advantages([of], [[1.0, 0.0]])
        assert found == [near([1, -1])]  # 1/2 and -1/2, by the root of their mean square

    def test_a_group_without_a_difference_teaches_nothing(self) -> None:
        lopsided = Group(tuple(Rollout(10, right=True, path=path) for path in [(0, 2), (0, 3), (1,)]))
        same = Group(tuple(Rollout(10, right=True, path=path) for path in [(0, 2), (0, 3), (1, 4)]))
        mixed, flat = cast(Any, plan("tree:segment=3")).step_advantages([lopsided, same], [[1.0, 0.0, 0.0], [1.0] * 3])
        assert flat == [0, 0, 0]
        assert sum(mixed) != near(0)


class TestAnchor:
    def test_the_solution_is_the_first_of_its_group(self) -> None:
        made = plan("anchor").rollouts(Step(4, [0.0, 1.0], [SOLUTION, ()]))
        assert [each.completion == SOLUTION for each in made] == [True, *[False] * 7]

    def test_where_it_is_only_needed_it_stands_in_for_groups_without_a_right_one(self) -> None:
        made = plan("anchor:needed=true").rollouts(Step(4, [0.0, 1.0], [SOLUTION, SOLUTION]))
        assert [each.completion == SOLUTION for each in made] == [True, *[False] * 7]

    def test_a_solution_beyond_the_limit_is_none(self) -> None:
        step = Step(4, [0.0], [(*SOLUTION, *SOLUTION)])
        made = plan("anchor").rollouts(step)
        assert step.sampled == sum(len(each.completion) for each in made) == 4 * 11


class TestSEELE:
    def test_hints_come_where_they_are_needed_and_are_no_part_of_what_is_learned(self) -> None:
        made = plan("seele").rollouts(Step(8, [0.0, 1.0], [SOLUTION, SOLUTION]))
        hints = [[each.hint for each in made if each.problem == at] for at in (0, 1)]
        assert hints[0][:4] == [0] * 4
        assert min(hints[0][4:]) > 0
        assert hints[1] == [0] * 8
        for each in made:
            assert each.prompt == (100 + each.problem, *SOLUTION[: each.hint])
            assert len(each.completion) == 11 - each.hint  # what is left of nine numbers, the answer and the end

    def test_hints_lead_to_the_target(self) -> None:
        # skill rises with the hint from nothing: P = told / 10; many rounds must come near to one half
        rights = []
        for seed in range(20):
            step = Step(32, [0.0], [SOLUTION])
            step._random = Random(seed)
            made = plan("seele:rounds=8").rollouts(step)
            rights.append(sum(RIGHT in each.completion for each in made[16:]) / 16)
        assert 0.35 < sum(rights) / len(rights) < 0.65

    def test_the_share_that_is_chosen(self) -> None:
        assert chosen([], 0.5) == 0
        assert chosen([(0.0, True), (0.0, False)] * 4, 0.5) < 0.2
        some, more = chosen([(0.0, False)] * 4, 0.5), chosen([(0.0, False)] * 4 + [(0.5, False)] * 4, 0.5)
        assert 0 < some < more
        assert 0 <= chosen([(0.5, True), (0.5, False)] * 2000, 0.5) < 1
        assert chosen([(0.0, False)] * 4 + [(0.9, True)] * 4, 0.2) < chosen([(0.0, False)] * 4 + [(0.9, True)] * 4, 0.8)

    def test_rollouts_are_compared_within_a_hint(self) -> None:
        of = Group(tuple(Rollout(10, right=True, hint=hint) for hint in (0, 0, 5, 5)))
        found = cast(Any, plan("seele")).step_advantages([of], [[0.0, 0.0, 1.0, 0.0]])
        assert found == [near([0, 0, 1 / math.sqrt(2), -1 / math.sqrt(2)])]


class TestGVM:
    def test_rollouts_go_where_the_gradient_is_uncertain(self) -> None:
        step = Step(8, [1.0, 0.1])
        step._random = Random(1)
        made = plan("gvm:pilots=4").rollouts(step)
        sizes = Counter(each.problem for each in made)
        pilots = [sum(RIGHT in each.completion for each in made if each.problem == at) for at in (0, 1)]
        assert sizes[0] < 8 < sizes[1]
        assert pilots[0] == sizes[0]

    def test_shares_are_those_of_the_formula(self) -> None:
        step = Step(8, [1.0, 1.0])
        step.norms = [1.0, 3.0]
        sizes = Counter(each.problem for each in plan("gvm:pilots=4").rollouts(step))
        assert sizes == {0: 4 + 2, 1: 4 + 6}  # p is 1 for both, so that the norms decide
        assert shared_out(7, [1, 2, 4]) == [1, 2, 4]
        assert shared_out(5, [1, 1, 1]) == [2, 2, 1]

    def test_a_larger_group_does_not_weigh_more(self) -> None:
        groups = [group("+1 -1"), group("+1 -1 +1 -1 +1 -1")]
        small, large = cast(Any, plan("gvm")).step_advantages(groups, [[1.0, 0.0], [1.0, 0.0] * 3])
        # within the groups: 1 / sqrt 2, and .5 / sqrt(6 * .25 / 5); times 4 / 2 and 4 / 6
        assert small == near([math.sqrt(2), -math.sqrt(2)])
        assert large == near([0.5 / math.sqrt(0.3) * 2 / 3, -0.5 / math.sqrt(0.3) * 2 / 3] * 3)


@pytest.mark.parametrize(
    ("spec", "what"), [("tree:segment=12", "parts nothing"), ("seele:rounds=3", "3 rounds"),
     ("gvm:pilots=8", "nothing left")]
)  # fmt: skip
def test_knobs_that_do_not_go_with_the_groups(spec: str, what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        plan(spec).check(8, LIMIT)
