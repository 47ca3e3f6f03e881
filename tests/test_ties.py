"""Two tokens that are as good as equally likely: which one is taken must not depend on what was drafted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from unittest import mock

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.loop import Loop
from laconic.models.base import Scores, ScoreTree
from laconic.models.causal_lm import CausalLM
from laconic.speculation.base import TokenTree
from tests import tiny
from tests.fakes import FakeModel, FakeSlot
from tests.told import Acting, finished, loop

TEXT = tiny.text()
PROMPTS = [Request(tuple(TEXT.encode(f"Hello there, hello {i}!")), limits=Limits(40)) for i in range(6)]


def test_what_counts_as_a_tie() -> None:
    logits = torch.tensor([[[1.0, 8.0, 8.0001], [1.0, 8.0, 8.1], [3.0, 3.0, -9.0]]] * 2)
    assert Scores(logits.flatten(0, 1), [3], [3]).ties(0) == [0, 2]
    assert Scores(logits.flatten(0, 1), [0], [2]).ties(0) == [0]
    assert Scores(logits.flatten(0, 1).bfloat16(), [0], [3]).ties(0) == []
    assert Scores(logits[0, 1:2], [0], [1]).ties(0) == []


@pytest.fixture(scope="module")
def twins() -> tuple[CausalLM, CausalLM]:
    """A model in which every token has a twin with all but the same logit, and a draft model for it."""
    model = tiny.model(0)
    with torch.no_grad():
        head = model.lm_head.weight
        half = head.shape[0] // 2
        head[half : 2 * half] = head[:half] * (1 + 1e-6 * torch.randn(half, 1))
    return CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.02))


@pytest.mark.parametrize("methods", [{}, {"shape": "best-first"}, {"drafter": "suffix"}, {"length": "constant:1"}])
@pytest.mark.parametrize("batch", [1, 3])
def test_drafting_does_not_decide_a_tie(twins: tuple[CausalLM, CausalLM], methods: dict[str, str], batch: int) -> None:
    target, draft = twins
    plain = Engine(target, TEXT, Methods(drafter="none"), draft)
    speculating = plain.using(**({"drafter": "draft-model", "length": "constant:5"} | methods))
    expected, found = plain.run(PROMPTS), speculating.run(PROMPTS, batch=batch)
    assert [result.tokens for result in found] == [result.tokens for result in expected]
    assert sum(result.usage.prefill_passes for result in expected) > 10 * len(PROMPTS), "there were no ties to decide"
    assert target.slots == []


def test_without_a_tie_nothing_is_asked_twice() -> None:
    lm = CausalLM(tiny.model(0))
    engine = Engine(lm, TEXT, Methods(drafter="none"))
    with mock.patch.object(Loop, "_untie", side_effect=AssertionError):
        results = engine.run(PROMPTS)
    assert all(result.usage.target_passes == len(result.tokens) for result in results)


class Twins(FakeModel):
    """Token 9 is ruled out below; 5 and 6 come next, alike but for rounding, which favours 6 in wider passes."""

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.zeros(264).index_put((torch.tensor([9, 5, 6]),), torch.tensor([9.0, 8.0, 8.0]))

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[FakeSlot]) -> Scores:
        scores = super().score(trees, slots)
        scores.flat[:, 6] += 2e-6 * (len(scores.flat) > 1)
        return scores


@pytest.mark.parametrize("draft", [[], [5, 6, 5]])
def test_rules_make_ties_and_bind_the_referee(draft: list[int]) -> None:
    ruling = Acting(rules=lambda logits, place: logits.index_fill(0, torch.tensor([9]), -math.inf))
    target = Twins(torch.zeros(1, 1, 264))
    running = finished(loop(target, lambda text: TokenTree.of_chain(draft), [ruling]), "Why", limit=7)
    assert running.tokens[running.context.prompt_length :] == [5] * 7
    assert running.usage.target_passes == target.passes > 7
    assert running.usage.prefill_passes == target.prefills


def test_a_draw_needs_no_referee(twins: tuple[CausalLM, CausalLM]) -> None:
    engine = Engine(twins[0], TEXT, Methods(drafter="none"))
    with mock.patch.object(Loop, "_untie", side_effect=AssertionError):
        engine.run([Request(PROMPTS[0].prompt, Sampling(1.0), Limits(20))])


def _settled(dtype: torch.dtype, sampling: Sampling) -> int:
    """How often a request is settled by a pass of its own where every row is level."""
    engine = Engine(CausalLM(tiny.model(4, bias=tiny.REASONER).to(dtype)), tiny.text(), Methods(drafter="none"))
    level = mock.patch.dict("laconic.models.base._TIE", {torch.float32: 1e9})
    with level, mock.patch.object(Loop, "_untie", return_value=5) as untie:
        engine.run([engine.request("1 + 3?", sampling=sampling, limits=Limits(10))])
    return untie.call_count


def test_penalties_do_not_make_16_bit_ties_worth_a_pass() -> None:
    """Rules give float32; every second row of a 16-bit model would be read again from its beginning."""
    assert _settled(torch.float32, Sampling(presence_penalty=0.5)) > 0
    assert _settled(torch.bfloat16, Sampling(presence_penalty=0.5)) == 0


def test_ties_are_settled_for_greedy_requests_alone() -> None:
    assert _settled(torch.float32, Sampling()) > 0
    assert _settled(torch.float32, Sampling(1.0, seed=3)) == 0
    assert _settled(torch.float32, Sampling(1.0, seed=3, presence_penalty=0.5)) == 0
