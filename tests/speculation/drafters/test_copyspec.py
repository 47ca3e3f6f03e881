"""CopySpec against a plain rescan of the text."""

from __future__ import annotations

import random

import pytest

from laconic.speculation.base import Go, Tools
from tests.speculation.rounds import build, context_of

TOOLS = Tools(None, build("shape", "chain"), 8)


def propose(drafter, state, budget, judge=None):
    return list(drafter.propose([state], [budget], [judge])[0].tokens)


def rescan(text, count, match):
    for end in range(len(text) - 1, match - 1, -1):
        if text[end - match : end] == text[-match:]:
            drafted = list(text[end:])
            while len(drafted) < count:
                drafted.append((text + drafted)[end + len(drafted)])
            return drafted[:count]
    return []


@pytest.mark.parametrize(("match", "block"), [(1, 3), (2, 10), (4, 6)])
def test_agrees_with_a_rescan(match, block):
    rng = random.Random(0)
    drafter = build("drafter", f"copyspec:match={match},block={block}")
    found = 0
    for _ in range(30):
        context = context_of([rng.randrange(3) for _ in range(rng.randint(1, 12))])
        state = drafter.start(context, TOOLS)
        for _ in range(15):
            budget = rng.randint(0, 9)
            drafted = propose(drafter, state, budget)
            assert drafted == rescan(context.tokens, min(budget, block), match)
            found += len(drafted)
            context.tokens += [rng.randrange(3) for _ in range(rng.randint(1, 3))]
            if rng.random() < 0.2:  # A controller takes text back and may put other text in its place.
                del context.tokens[rng.randint(1, len(context.tokens)) :]
                context.tokens += [rng.randrange(3) for _ in range(rng.randint(0, 5))]
    assert found > 200


def test_a_shorter_match_is_none():
    drafter = build("drafter", "copyspec:match=3")
    assert propose(drafter, drafter.start(context_of([5, 1, 2, 9, 7, 1, 2]), TOOLS), 4) == []
    assert propose(drafter, drafter.start(context_of([5, 1, 2, 9, 5, 1, 2]), TOOLS), 4) == [9, 5, 1, 2]


def test_length_rules_are_asked():
    drafter = build("drafter", "copyspec:match=2")
    state = drafter.start(context_of([1, 2, 3, 4, 5, 6, 1, 2]), TOOLS)
    assert propose(drafter, state, 4, lambda node: Go.STOP if node.depth == 2 else Go.ON) == [3, 4]
    assert propose(drafter, state, 4, lambda node: Go.LAST if node.depth == 2 else Go.ON) == [3, 4, 5]
