"""Where the thought worked out by hand was enough, by each way to tell."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
from transformers import AutoModelForCausalLM

from laconic import Engine
from laconic.models.reasoner import target_path
from laconic.policy import registry
from laconic.training.traces.base import Sufficiency
from laconic.training.traces.sufficient import first, first_sufficient_step, rounds
from laconic.training.traces.trace import Look
from tests.cli.checkpoint import needs_bundled
from tests.training.traces.made import PROBLEM, STEPS, WRONG, tools, trace


def probe(spec: str) -> Sufficiency:
    return cast(Sufficiency, registry.build("sufficiency", spec))


def test_first_and_lasting() -> None:
    for right, soon, lasting in [
        ([], None, None),
        ([False], None, None),
        ([True], 1, 1),
        ([False, True, True], 2, 2),
        ([True, False, True], 1, 3),
        ([True, True, False], 1, None),
    ]:
        assert (first(right, stays=False), first(right, stays=True)) == (soon, lasting)


def test_stated_answers() -> None:
    assert probe("stated").right(PROBLEM, trace(), tools()) == [False, True, True, True]
    assert probe("stated").right(PROBLEM, trace(WRONG, "43"), tools()) == [False, True, False]
    passing = ("17 + 36 = 53.", "Therefore it is 54.", "So it is 53.")
    assert probe("stated").right(PROBLEM, trace(passing), tools()) == [False, False, True]
    assert probe("stated:concluding=no").right(PROBLEM, trace(passing), tools()) == [True, False, True]
    assert first_sufficient_step(PROBLEM, trace(WRONG, "43"), probe("stated"), tools(), stays=False) == 2
    assert first_sufficient_step(PROBLEM, trace(WRONG, "43"), probe("stated"), tools(), stays=True) is None


def test_recorded_probes() -> None:
    ends = [end for _, end in trace().steps.spans]
    looks = (Look(ends[0] + 2, "36"), Look(ends[2] + 2, "53.0"))
    assert probe("recorded").right(PROBLEM, replace(trace(), looks=looks), tools()) == [False, False, True, True]
    broken = (*looks, Look(ends[3], ""))
    assert probe("recorded").right(PROBLEM, replace(trace(), looks=broken), tools()) == [False, False, True, False]
    assert probe("recorded").right(PROBLEM, trace(), tools()) == [False] * 4


@needs_bundled
@pytest.mark.parametrize("steps", [STEPS, STEPS[:1], ("One.", "So 2,\nthree.")])
def test_asking_the_model_is_closing_the_thought_by_hand(steps: tuple[str, ...]) -> None:
    """The oracle: the prompt, the steps so far, the closing tag and the question as text, decoded by Transformers."""
    engine = Engine.load("bundled", drafter="none")
    network = AutoModelForCausalLM.from_pretrained(target_path(), dtype=torch.float32).eval()
    having = tools(engine.text, engine=engine)
    prompt = having.renderer.prompt(PROBLEM.messages)
    answers = []
    for count in range(1, len(steps) + 1):
        begun = "<think>\n" + "\n\n".join(steps[:count]) + ("\n\n" if count < len(steps) else "\n")
        tokens = [*prompt.ids, *engine.text.encode(begun), *engine.text.encode("</think>\n\nThe answer is \\boxed")]
        written = network.generate(torch.tensor([tokens]), do_sample=False, max_new_tokens=32)[0, len(tokens) :]
        answers.append(engine.text.decode(written.tolist()).partition("}")[0].removeprefix("{"))
    assert all(answers)
    for right in {*answers, "not this"}:
        found = probe("asked").right(replace(PROBLEM, answer=right), trace(steps, text=engine.text), having)
        assert found == [answer == right for answer in answers]


def test_rounds_of_reflection() -> None:
    assert [rounds(STEPS, 2, more) for more in (0, 1, 2, 9)] == [2, 3, 4, 4]
    assert rounds(STEPS, 4, 1) == 4
