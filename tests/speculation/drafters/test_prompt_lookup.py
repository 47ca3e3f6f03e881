"""Prompt lookup against a plain rescan of the text."""

from __future__ import annotations

import random

import pytest

from laconic.errors import InvalidKnob
from laconic.speculation.base import Go, Tools
from tests.speculation.rounds import build, context_of

TOOLS = Tools(None, build("shape", "chain"), 8)


def propose(drafter, state, budget, judge=None):
    return list(drafter.propose([state], [budget], [judge])[0].tokens)


def rescan(text, budget, longest, shortest):
    """The slow way: try every earlier place, latest first, for the longest suffix."""
    for n in range(min(longest, len(text)), shortest - 1, -1):
        for end in range(len(text) - 1, n - 1, -1):
            if text[end - n : end] == text[-n:]:
                drafted = list(text[end:])
                while len(drafted) < budget:
                    drafted.append((text + drafted)[end + len(drafted)])
                return drafted[:budget]
    return []


@pytest.mark.parametrize(("longest", "shortest"), [(3, 1), (4, 2), (1, 1)])
def test_agrees_with_a_rescan(longest, shortest):
    rng = random.Random(0)
    drafter = build("drafter", f"prompt-lookup:max_ngram={longest},min_ngram={shortest}")
    for _ in range(40):
        context = context_of([rng.randrange(4) for _ in range(rng.randint(1, 8))])
        state = drafter.start(context, TOOLS)
        for _ in range(15):
            budget = rng.randint(1, 9)
            assert propose(drafter, state, budget) == rescan(context.tokens, budget, longest, shortest)
            context.tokens += [rng.randrange(4) for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.2:  # A controller takes text back and may put other text in its place.
                del context.tokens[rng.randint(1, len(context.tokens)) :]
                context.tokens += [rng.randrange(4) for _ in range(rng.randint(0, 5))]


def test_the_suffix_does_not_match_itself():
    drafter = build("drafter", "prompt-lookup")
    assert propose(drafter, drafter.start(context_of([1, 2, 3]), TOOLS), 4) == []


def test_a_period_goes_on():
    drafter = build("drafter", "prompt-lookup")
    assert propose(drafter, drafter.start(context_of([1, 2, 1, 2]), TOOLS), 5) == [1, 2, 1, 2, 1]


def test_zero_budget_and_stop():
    drafter = build("drafter", "prompt-lookup")
    state = drafter.start(context_of([1, 2, 3, 1, 2]), TOOLS)
    assert propose(drafter, state, 0) == []
    assert propose(drafter, state, 5, lambda node: Go.STOP if node.depth == 2 else Go.ON) == [3, 1]
    assert propose(drafter, state, 5, lambda node: Go.LAST if node.depth == 2 else Go.ON) == [3, 1, 2]


def test_refuses_an_empty_range_of_ngrams():
    with pytest.raises(InvalidKnob, match="min_ngram"):
        build("drafter", "prompt-lookup:max_ngram=1,min_ngram=2")
