"""Plain decoding through the drafter contract."""

from __future__ import annotations

from laconic.speculation.base import Tools
from tests.speculation.rounds import build, context_of


def test_proposes_nothing():
    drafter = build("drafter", "none")
    state = drafter.start(context_of([1]), Tools(None, build("shape", "chain"), 8))
    assert [len(tree) for tree in drafter.propose([state, state], [5, 5], [None, None])] == [0, 0]
    assert not drafter.knows_distribution
    assert not drafter.expands
