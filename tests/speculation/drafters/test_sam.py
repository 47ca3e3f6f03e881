"""The suffix automaton against a plain scan, and what is copied where it matches."""

from __future__ import annotations

import random

import pytest

from laconic.speculation.base import Go, Tools
from laconic.speculation.drafters.automaton import Automaton
from tests.speculation.rounds import build, context_of

TOOLS = Tools(None, build("shape", "chain"), 8)


def propose(drafter, state, budget, judge=None):
    return list(drafter.propose([state], [budget], [judge])[0].tokens)


def scan(text):
    """The longest end of a text that stands in it before, and where it ended first."""
    for length in range(len(text) - 1, 0, -1):
        for end in range(length, len(text)):
            if text[end - length : end] == text[-length:]:
                return length, end
    return 0, 0


@pytest.mark.parametrize("letters", [1, 2, 4])
def test_finds_what_a_scan_finds(letters):
    rng = random.Random(letters)
    for _ in range(12):
        automaton, text = Automaton(), []
        for _ in range(60):
            text.append(rng.randrange(letters))
            automaton.add(text[-1])
            assert automaton.repeated == scan(text)
        assert len(automaton._ends) <= 2 * len(text)


def test_copies_as_the_text_went_on_and_forgets_what_was_taken_back():
    rng = random.Random(5)
    drafter = build("drafter", "sam:min_match=2")
    context = context_of([1, 2, 3])
    state = drafter.start(context, TOOLS)
    found = 0
    for _ in range(150):
        budget = rng.randint(0, 8)
        length, end = scan(context.tokens)
        drafted = propose(drafter, state, budget)
        if length < 2:
            assert not drafted
        else:
            longer = context.tokens + drafted
            assert drafted == [longer[end + i] for i in range(budget)]
            found += budget
        context.tokens += [rng.randrange(3) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.2:
            del context.tokens[rng.randint(1, len(context.tokens)) :]
            context.tokens += [rng.randrange(3) for _ in range(rng.randint(0, 5))]
    assert found > 100


def test_length_rules_are_asked_with_the_length_of_the_match():
    drafter = build("drafter", "sam")
    state = drafter.start(context_of([1, 2, 3, 4, 5, 6, 1, 2, 3]), TOOLS)
    asked = []
    assert propose(drafter, state, 3, lambda node: asked.append(node.confidence) or Go.ON) == [4, 5, 6]
    assert asked == [0.8] * 3
    assert propose(drafter, state, 4, lambda node: Go.LAST if node.depth == 1 else Go.ON) == [4, 5]
    assert propose(drafter, state, 4, lambda node: Go.STOP) == []
