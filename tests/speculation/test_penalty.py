"""Counts of a text's tokens that are kept from one node of a draft to the next."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from laconic.speculation.penalty import CountPenalty, RepetitionPenalty, _Counts


def test_whatever_is_asked_about_next_the_counts_are_those_of_that_text():
    generator, counts = random.Random(0), _Counts()
    text = [generator.randrange(50) for _ in range(1000)]
    for _ in range(200):
        cut = generator.choice([len(text), len(text) - 3, len(text) - 400, 0, 5])
        text = text[: max(cut, 0)] + [generator.randrange(50) for _ in range(generator.randrange(300))]
        if generator.random() < 0.1 and text:
            text[generator.randrange(len(text))] = 7
        found = counts.of(text)
        assert {token: n for token, n in found.items() if n} == dict(Counter(text))
        assert 0 not in found.values()


@pytest.mark.parametrize("rule", [RepetitionPenalty(1.3), CountPenalty(0.5, 0.2, 100)])
def test_a_rule_that_has_seen_other_texts_says_what_a_new_one_says(rule: RepetitionPenalty | CountPenalty):
    generator = random.Random(1)
    logits = torch.randn(64, generator=torch.Generator().manual_seed(0))
    text = [generator.randrange(64) for _ in range(600)]
    for branch in range(30):
        place = SimpleNamespace(tokens=text + [generator.randrange(64) for _ in range(branch % 5)])
        fresh = type(rule)(*(getattr(rule, name) for name in rule.__slots__ if not name.startswith("_")))
        assert torch.equal(rule(logits, place), fresh(logits, place))  # type: ignore[arg-type]
        text = place.tokens if branch % 3 else text[:-7]
