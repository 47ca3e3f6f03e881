"""An output that a prompt has had before, as drafts of the next one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from laconic.engine import Engine, Methods
from laconic.models.causal_lm import CausalLM
from laconic.prediction import Prior
from laconic.types import Limits, Sampling
from tests import tiny


def test_in_step_as_much_is_drafted_as_lately_stood_and_twice_as_much():
    prior = Prior(range(100))
    assert prior.draft([], 50) == tuple(range(8))
    prior.heard(8, 8)
    assert prior.draft(list(range(9)), 50) == tuple(range(9, 25))
    prior.heard(16, 2)
    assert prior.draft(list(range(12)), 50) == (12, 13, 14)
    assert prior.draft(list(range(12)), 2) == (12, 13)
    assert prior.draft(list(range(98)), 50) == (98, 99)
    assert prior.draft(list(range(100)), 50) == ()
    assert prior.draft([*range(100), 7], 50) == ()


def test_once_they_have_parted_longer_passages_are_followed():
    prior = Prior([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert prior.draft([1, 2, 50], 8) == ()
    assert prior.draft([1, 2, 50, 4, 5, 6], 8) == ()  # three tokens: the drafter finds these
    assert prior.draft([1, 2, 50, 4, 5, 6, 7], 8) == (8, 9, 10)
    assert prior.draft([1, 2, 50, 4, 5, 6, 7, 60], 8) == ()


@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(1.0, seed=3)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("drafter", ["none", "suffix"])
def test_whatever_came_before_the_text_is_that_of_plain_decoding(sampling: Sampling, drafter: str):
    model, text = CausalLM(tiny.model(4, bias=tiny.REASONER)), tiny.text()
    plain = Engine(model, text, Methods(drafter="none"))
    engine = Engine(model, text, Methods(drafter=drafter))
    requests = [plain.request(f"{i} + 3?", sampling=sampling, limits=Limits(60)) for i in range(5)]
    wanted = [plain.run([request])[0] for request in requests]
    generator = random.Random(0)
    outputs = [list(result.tokens) for result in wanted]
    broken = [[t if generator.random() < 0.9 else generator.randrange(model.vocab_size) for t in o] for o in outputs]
    others = [[generator.randrange(model.vocab_size) for _ in range(80)] for _ in outputs]
    for priors in (outputs, broken, others, [o[:3] for o in outputs]):
        asked = [replace(request, prior=tuple(prior)) for request, prior in zip(requests, priors, strict=True)]
        for batch in (1, 3):
            for result, want in zip(engine.run(asked, batch=batch), wanted, strict=True):
                assert result.tokens == want.tokens
                assert result.usage.predicted + result.usage.mispredicted <= result.usage.drafted
    same = engine.run([replace(r, prior=tuple(o)) for r, o in zip(requests, outputs, strict=True)], batch=5)
    for result, want in zip(same, wanted, strict=True):
        if len(want.tokens) > 20:
            assert result.usage.target_passes < 0.5 * want.usage.target_passes
            assert result.usage.predicted > 0.7 * len(want.tokens)


def test_a_request_that_drafts_nothing_drafts_nothing_from_before_either():
    engine = Engine(CausalLM(tiny.model(4, bias=tiny.REASONER)), tiny.text())
    request = engine.request("1 + 3?", limits=Limits(20))
    output = engine.run([request])[0].tokens
    result = engine.run([replace(request, prior=output, drafts=False)])[0]
    assert result.tokens == output
    assert result.usage.drafted == 0


def test_text_that_was_taken_back_is_followed_again_from_where_it_ends():
    prior = Prior(range(100))
    prior.draft(list(range(20)), 8)
    assert prior.draft(list(range(5)), 8) == tuple(range(5, 13))
    prior.draft(list(range(20)), 8)
    assert prior.draft([0, 1, 2, 3, 4, 77, 78, 79], 8) == ()
