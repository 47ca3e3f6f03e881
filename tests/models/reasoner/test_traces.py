"""Teaching traces: right in every sum, varied, and with the habits that they are meant to teach."""

import re
from random import Random

import pytest

pytest.importorskip("reasoning_gym")

from laconic.models.reasoner.habits import is_verbatim, rechecks, stated_results
from laconic.models.reasoner.problems import KINDS, problems, score
from laconic.models.reasoner.traces import Trace, trace

CLAUSE = re.compile(r"[,;:.]\s|\.$|\sand\s|\n|[a-z]\s")
SUM = re.compile(r"^[-(]*\d([-+*/() \d]*[\d)])?$")


def sums(text: str) -> list[list[float]]:
    """The values of both (or all) sides of each equation between numbers."""
    found = []
    for clause in CLAUSE.split(text):
        sides = [eval(side) for side in clause.split(" = ") if SUM.match(side)]
        if len(sides) > 1:
            found.append(sides)
    return found


def written(kind: str, n: int = 150) -> list[tuple[Trace, bool]]:
    rng = Random(7)
    found = problems(kind, n, seed=8, held_out=False)
    return [(trace(problem, rng), score(problem, trace(problem, rng).answer)) for problem in found]


@pytest.mark.parametrize("kind", KINDS)
def test_the_final_answer_is_right_and_is_what_the_thought_ends_with(kind: str) -> None:
    for story, right in written(kind):
        assert right
        assert stated_results("\n\n".join(story.steps))[-1].value == int(story.answer)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_paragraphs_and_the_first_result_is_where_it_says(kind: str) -> None:
    for story, _ in written(kind):
        assert len(story.steps) >= 4
        assert all(step.strip() == step and step and "\n" not in step for step in story.steps)
        assert not any(stated_results(step) for step in story.steps[: story.first])
        assert stated_results(story.steps[story.first])[0].value == story.value


@pytest.mark.parametrize("kind", KINDS)
def test_sums_hold_wherever_no_slip_was_planted(kind: str) -> None:
    checked = 0
    for story, _ in written(kind):
        text = "\n\n".join(story.steps)
        if len({stated.value for stated in stated_results(text)}) > 1:
            continue  # a slip, planted and mended
        for sides in sums(text):
            assert len(set(sides)) == 1, (sides, text)
            checked += 1
    assert checked > 100


def test_slips_are_planted_more_often_on_hard_problems_and_mended() -> None:
    rng = Random(1)
    wrong: dict[int, list[bool]] = {1: [], 2: [], 3: []}
    for kind in KINDS:
        for problem in problems(kind, 400, seed=9, held_out=False):
            story = trace(problem, rng)
            wrong[problem.difficulty].append(story.value != int(story.answer))
            assert (1 in story.slipped) == (story.value != int(story.answer))
    rates = {level: sum(cases) / len(cases) for level, cases in wrong.items()}
    assert 0.1 < rates[1] < rates[2] < rates[3] < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_that_slips_is_marked_and_found(kind: str) -> None:
    found = 0
    for story, _ in written(kind, 300):
        for at in story.slipped:
            if at > story.first:
                found += 1
                assert stated_results(story.steps[at])[0].value != int(story.answer)
    assert found or kind in ("gcd", "lcm", "leg_counting")


@pytest.mark.parametrize("kind", KINDS)
def test_rechecks_go_another_way(kind: str) -> None:
    copied = [
        is_verbatim(check, text)
        for story, _ in written(kind)
        for text in ["\n\n".join(story.steps)]
        for check in rechecks(text)
    ]
    assert len(copied) >= 150
    assert sum(copied) / len(copied) < 0.2


def test_wording_varies_and_a_seed_repeats_it() -> None:
    problem = problems("chain_sum", 1, seed=1, held_out=False)[0]
    assert len({trace(problem, Random(seed)).steps for seed in range(50)}) > 40
    assert trace(problem, Random(3)) == trace(problem, Random(3))
