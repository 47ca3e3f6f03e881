"""Draft lengths in hindsight: against brute force, against a simulated loop, and one pass against many."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import pytest

from laconic import Engine, Limits, Methods, Request
from laconic.bench.oracle.bounds import _outlook
from laconic.bench.oracle.length import (
    Costs,
    Outlook,
    best,
    best_drafter,
    best_fixed,
    fixed,
    matches,
    outlook_by_asking,
    outlook_of,
)
from laconic.engine import joined
from laconic.models.base import LanguageModel
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.speculation.base import Tools
from tests import tiny

COSTS = Costs(target=1.0, node=0.05, draft=0.15)
TEXT = tiny.text()


def brute_force(reach: Sequence[int], costs: Costs, most: int) -> float:
    """Every schedule there is, drafts that are partly refused included."""
    if not reach:
        return 0.0
    return min(costs.round(k) + brute_force(reach[min(k, reach[0]) + 1 :], costs, most) for k in range(most + 1))


@pytest.mark.parametrize("seed", range(8))
def test_the_best_schedule_is_the_best_of_all(seed: int) -> None:
    rng = random.Random(seed)
    reach = [rng.choice((0, 0, 1, 2, 4)) for _ in range(8)]
    outlook = Outlook(reach, [4] * 8)
    schedule = best(outlook, COSTS, most=4)
    assert schedule.cost == pytest.approx(brute_force(reach, COSTS, 4))
    assert schedule.cost == pytest.approx(sum(map(COSTS.round, schedule.lengths)))
    assert schedule.passes <= len(reach)
    assert all(schedule.cost <= fixed(outlook, length, COSTS).cost + 1e-9 for length in range(5))


def test_dear_drafts_are_not_drafted_and_free_ones_always() -> None:
    outlook = outlook_of([True] * 12)
    assert outlook.reach == list(range(12, 0, -1))
    assert best(outlook, Costs(1.0, 0.0, 2.0)).lengths == (0,) * 12
    assert best(outlook, Costs(1.0, 0.0, 0.0)).passes == 1
    assert best(Outlook([], []), COSTS).cost == 0
    assert outlook_of([True] * 12, most=3).reach[0] == 3


def test_a_fixed_length_walks_over_what_it_accepts() -> None:
    outlook = outlook_of([True, True, False, True, False, False])
    assert fixed(outlook, 2, COSTS).lengths == (2, 2, 2)  # t = 0 (2 accepted), 3 (1), 5
    assert fixed(outlook, 0, COSTS).cost == 6
    assert fixed(Outlook([0, 1, 0], [0, 1, 5]), 4, COSTS).lengths == (0, 1)  # nothing offered, nothing drafted
    assert best_fixed([outlook], Costs(1.0, 0.0, 0.0))[0] == 2
    assert best_fixed([outlook, outlook_of([False] * 6)], Costs(1.0, 1.0, 1.0)) == (0, 12.0)


def test_the_best_drafter_per_round_is_at_least_as_good_as_each_alone() -> None:
    rng = random.Random(3)
    one, two = (Outlook([rng.choice((0, 1, 3)) for _ in range(40)], [4] * 40) for _ in range(2))
    cheap = Costs(1.0, 0.05, 0.01)
    both, taken = best_drafter([one, two], [COSTS, cheap], most=4)
    assert both <= min(best(one, COSTS, 4).cost, best(two, cheap, 4).cost)
    assert min(taken) > 0
    alone, taken = best_drafter([one], [COSTS], most=4)
    assert alone == pytest.approx(best(one, COSTS, 4).cost)
    short = [[0, 2, 1, 0, 1], [1, 0, 0, 1, 0]]
    least = min(
        sum(walk(short, [COSTS, cheap], plan)) for plan in product(product((0, 1), (0, 1, 2)), repeat=len(short[0]))
    )
    found, _ = best_drafter([Outlook(reach, [2] * 5) for reach in short], [COSTS, cheap], most=2)
    assert found == pytest.approx(least)


def walk(reaches: Sequence[Sequence[int]], costs: Sequence[Costs], plan: Sequence[tuple[int, int]]) -> list[float]:
    """Costs of the rounds when round i uses plan[i] = (drafter, length)."""
    t = 0
    rounds: list[float] = []
    while t < len(reaches[0]):
        drafter, length = plan[len(rounds)]
        rounds.append(costs[drafter].round(length))
        t += min(length, reaches[drafter][t]) + 1
    return rounds


@pytest.fixture(scope="module")
def written() -> tuple[CausalLM, CausalLM, Request, list[int]]:
    model = tiny.model(0, bias=tiny.REASONER)
    target, draft = CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.1))
    request = Request(tuple(TEXT.encode("Hello there! Hello there!")), limits=Limits(60))
    result = Engine(target, TEXT, Methods(drafter="none")).run([request])[0]
    return target, draft, request, list(result.tokens)


def asked(name: str, draft: LanguageModel, request: Request, tokens: Sequence[int]) -> Outlook:
    drafter, shape = registry.build("drafter", name), registry.build("shape", "chain")
    return outlook_by_asking(drafter, Tools(draft, shape, 264), request, tokens)  # type: ignore[arg-type]


def test_one_pass_over_the_text_tells_what_asking_everywhere_tells(
    written: tuple[CausalLM, CausalLM, Request, list[int]],
) -> None:
    _, draft, request, tokens = written
    slow = asked("draft-model", draft, request, tokens)
    assert outlook_of(matches(draft, request.prompt, tokens, chunk=16)) == slow
    assert 0 < sum(reach > 0 for reach in slow.reach) < len(slow)
    assert draft.slots == []


def test_a_draft_that_is_written_as_text_is_asked_for(
    written: tuple[CausalLM, CausalLM, Request, list[int]],
) -> None:
    """What the draft model would say after each token is not what it writes in tokens of its own."""
    target, same, request, tokens = written
    draft = joined(same, tiny.text(tags_as_tokens=False), target, TEXT)
    engine = Engine(target, TEXT, Methods(drafter="draft-text", length="constant:4"), draft)
    found = _outlook(engine, request, tokens)
    assert found == asked("draft-text", draft, request, tokens)
    assert sum(found.reach) > 0
    assert found != outlook_of(matches(draft, request.prompt, tokens))


@pytest.mark.parametrize("length", [1, 3, 6])
@pytest.mark.parametrize("name", ["draft-model", "prompt-lookup"])
def test_a_fixed_length_costs_the_passes_that_the_engine_makes(
    written: tuple[CausalLM, CausalLM, Request, list[int]], name: str, length: int
) -> None:
    target, draft, request, tokens = written
    schedule = fixed(asked(name, draft, request, tokens), length, COSTS)
    engine = Engine(target, TEXT, Methods(drafter=name, length=f"constant:{length}"), draft)
    result = engine.run([request])[0]
    assert list(result.tokens) == tokens
    assert schedule.passes == result.usage.target_passes
    # The engine cuts the last drafts at the request's limit, and those of a model at an end token; apart from that it
    # drafts what the oracle charges.
    assert result.usage.drafted <= sum(schedule.lengths)
    if name == "prompt-lookup":
        assert sum(schedule.lengths) <= result.usage.drafted + length * (length + 1) / 2
