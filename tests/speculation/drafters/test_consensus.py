"""Consensus: who is a sibling, how they vote, and what is left when they have gone."""

from __future__ import annotations

import random

import pytest

from laconic.speculation.base import Tools
from laconic.speculation.drafters.siblings import ORDERS, Family
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain

TOOLS = Tools(None, build("shape", "best-first"), 32)
PROMPT = [1, 2]


def member(drafter, *written, prompt=PROMPT):
    state = drafter.start(context_of(prompt), TOOLS)
    state.context.tokens += written
    return state


def propose(drafter, *states):
    return drafter.propose(states, [9] * len(states), [None] * len(states))


def test_votes_are_weighed_by_how_much_agrees():
    drafter = build("drafter", "consensus")
    others = [member(drafter, 9, 5, 6, 7), member(drafter, 3, 5, 6, 8, 4), member(drafter, 3, 5, 6, 8)]
    *_, tree = propose(drafter, *others, member(drafter, 3, 5, 6))
    assert dict(tree.rows[-1].top(3)) == pytest.approx({8: 6 / 9}), "of three places one is for something new"
    mine = member(drafter, 2, 5, 6)
    tree = propose(drafter, mine)[0]
    assert dict(tree.rows[-1].top(3)) == pytest.approx({8: 4 / 8, 7: 2 / 8})


def test_an_answer_is_no_sibling_of_itself_nor_of_other_questions():
    drafter = build("drafter", "consensus")
    alone = member(drafter, 5, 6, 7, 5, 6)
    other = member(drafter, 5, 6, 7, 5, 6, prompt=[3])
    assert [len(tree) for tree in propose(drafter, alone, other)] == [0, 0]
    late = member(drafter, 5, 6)
    assert propose(drafter, late)[0].tokens[0] == 7


def test_a_finished_answer_stays_until_the_last_sibling_leaves():
    drafter = build("drafter", "consensus")
    first, second = member(drafter, 5, 6, 7), member(drafter, 5, 6)
    drafter.finish(first)
    assert list(propose(drafter, second)[0].tokens) == [7]
    drafter.finish(second)
    assert not drafter._families
    assert not len(propose(drafter, member(drafter, 5, 6))[0])


def test_text_taken_back_votes_no_more():
    rng = random.Random(0)
    family = Family()
    numbers = [family.join() for _ in range(3)]
    texts = [[] for _ in numbers]
    for _ in range(200):
        i = rng.randrange(3)
        if rng.random() < 0.2:
            del texts[i][rng.randint(0, len(texts[i])) :]
        texts[i] += [rng.randrange(3) for _ in range(rng.randint(1, 3))]
        family.read(i, list(texts[i]))
        found = {place for place, _ in family.find(i)}
        for order in ORDERS:
            key = texts[i][-order:]
            there = {
                (j, at)
                for j in numbers
                if j != i
                for at in range(order, len(texts[j]))
                if texts[j][at - order : at] == key
            }
            if there and len(texts[i]) >= order:
                assert found <= there
                assert found or len(there) > 64
                break
        else:
            assert not found


@pytest.mark.parametrize("shape", ["chain", "best-first"])
def test_siblings_take_fewer_passes_and_keep_their_own_texts(shape):
    model = FakeModel.random(3, vocab=32, sharpness=6.0)
    samplings = [Sampling(temperature=0.6, seed=seed) for seed in range(6)]
    passes = []
    texts = decode(
        model, [context_of(PROMPT, sampling) for sampling in samplings], 120, build("drafter", "consensus"),
        length=build("length", "constant:6"), shape=build("shape", shape), after=lambda states, trees: passes.append(1),
    )  # fmt: skip
    assert texts == [plain(model, PROMPT, 120, sampling) for sampling in samplings]
    assert len(passes) < 100, "of the slowest of them"
