"""The shortest sufficient prefix: the scan over branches against answers written one full pass a token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
import torch

from laconic import Request, reference
from laconic.bench.oracle.thought import ASK, Scan, bisect, endings, scan
from laconic.models.causal_lm import CausalLM
from tests import tiny

MODEL = tiny.model(1, bias={"}": 3.0}, sharpness=4.0)
TEXT = tiny.text()
THOUGHT = "<think>\nOne and one.\n\nThat makes two.\n\nWait, three?\n\nNo: two.\n</think>\n\nTwo.<|im_end|>"
REQUEST = Request(tuple(TEXT.encode("What is 1+1?")))


def logits(tokens: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        row: torch.Tensor = MODEL(torch.tensor([list(tokens)])).logits[0, -1]
    return row


def test_endings_are_the_ends_of_steps_and_the_thoughts_own() -> None:
    tokens = TEXT.encode(THOUGHT)
    found = endings(TEXT, REQUEST, tokens)
    texts = [TEXT.decode([*REQUEST.prompt, *tokens][: ending.length]) for ending in found]
    assert [text.splitlines()[-2 if text.endswith("\n\n") else -1].strip() for text in texts] == [
        "One and one.",
        "That makes two.",
        "Wait, three?",
        "No: two.",
    ]
    assert [ending.thinking for ending in found[:3]] == [
        ending.length - len(REQUEST.prompt) for ending in found[:3]
    ]  # the opening tag is thought
    assert found[-1].thinking == len(TEXT.encode(THOUGHT.partition("</think>")[0])) + 1  # and so is the closing one


def test_a_thought_cut_off_or_missing_has_no_endings() -> None:
    assert endings(TEXT, REQUEST, TEXT.encode(THOUGHT.partition("</think>")[0])) == []
    assert endings(TEXT, REQUEST, TEXT.encode("Two.<|im_end|>")) == []
    assert scan(CausalLM(tiny.noisy(MODEL, 0.0)), TEXT, REQUEST, TEXT.encode("Two."), bool) is None


@pytest.mark.parametrize("nodes", [512, 1])
def test_a_scan_judges_the_answers_of_the_slow_loop(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laconic.bench.oracle.thought.NODES", nodes)  # all endings in one pass, or each in its own
    tokens = TEXT.encode(THOUGHT)
    judged: list[str] = []

    def judge(answer: str) -> bool:
        judged.append(answer)
        return len(judged) >= 3

    lm = CausalLM(tiny.noisy(MODEL, 0.0))
    found = scan(lm, TEXT, REQUEST, tokens, judge)
    assert found is not None
    expected = []
    for ending in found.endings:
        belief = reference.answer(logits, TEXT, [*REQUEST.prompt, *tokens][: ending.length], ASK)
        if belief.complete and belief.answer:
            expected.append(belief.answer)
    assert judged == expected
    assert len(set(expected)) > 1, "the model answers the same everywhere: the test shows nothing"
    assert lm.slots == []


def test_the_first_right_ending_counts_even_where_it_is_lost_again() -> None:
    places = endings(TEXT, REQUEST, TEXT.encode(THOUGHT))
    found = Scan(tuple(places), (True, False, True, True))
    assert found.first == 0
    assert found.thinking == places[0].thinking
    assert found.bisected == 2  # a bisection believes that right stays right
    never = Scan(tuple(places), (False,) * 4)
    assert (never.first, never.bisected, never.thinking) == (None, None, places[-1].thinking)


def test_bisection_finds_the_first_right_one_where_right_stays_right() -> None:
    for count, first in product(range(1, 20), range(20)):
        asked: list[int] = []

        def right(at: int, first: int = first, asked: list[int] = asked) -> bool:
            asked.append(at)
            return at >= first

        assert bisect(count, right) == (first if first < count else None)
        assert len(set(asked)) <= count.bit_length() + 1
