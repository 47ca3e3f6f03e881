"""Loops are found, exactly and in linear time, and end with an answer."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Sampling, reference
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.thinking.base import Conclude, Continue, Controller, View
from laconic.thinking.exit.repeats import Tally, circle
from tests import tiny

TEXT = tiny.text()
SEVERAL = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))


def built(spec: str) -> Controller:
    controller = registry.build("think", spec)
    assert isinstance(controller, Controller)
    return controller


def by_hand(tokens: Sequence[int], period: int, copies: int, least: int) -> int | None:
    """The definition, slowly."""
    for p in range(1, period + 1):
        need = max(copies * p, least)
        tail = tokens[-need:]
        if len(tail) == need and all(a == b for a, b in zip(tail, tail[p:], strict=False)):
            return p
    return None


@pytest.mark.parametrize("seed", range(60))
def test_circles_are_those_of_the_definition(seed: int) -> None:
    rng = random.Random(seed)
    word = [rng.randrange(3) for _ in range(rng.randrange(1, 7))]
    tokens = [rng.randrange(3) for _ in range(rng.randrange(12))] + word * rng.randrange(1, 6)
    tokens += word[: rng.randrange(len(word) + 1)]  # a copy begun
    for copies in (2, 3, 4):
        for least in (2, 7, 15):
            for period in (1, 3, 8):
                found = circle(tokens, period=period, copies=copies, least=least)
                assert found == by_hand(tokens, period, copies, least), (tokens, period, copies, least)


def test_no_circle_in_little_text() -> None:
    assert circle([], period=4, copies=2, least=2) is None
    assert circle([1], period=4, copies=2, least=2) is None
    assert circle([1, 1], period=4, copies=2, least=2) == 1


def test_the_time_grows_with_the_tokens_alone() -> None:
    """All tokens but one equal: where comparing every period with the rest would take quadratic time."""

    def seconds(n: int) -> float:
        tokens = [1] * (n // 2) + [0] + [1] * (n // 2)
        begun = time.process_time()
        for _ in range(3):
            assert circle(tokens, period=n, copies=2, least=n) is None
        return time.process_time() - begun

    assert seconds(40_000) < 30 * seconds(4_000)


def test_sentences_are_counted_without_case_and_spaces_and_short_ones_are_not() -> None:
    tally = Tally()
    assert tally.add(["Consider the triangle ABC.", "Good. "]) == 1
    assert tally.add(["consider  the triangle abc.\n", "Good. "]) == 2
    assert tally.add(["Good. "] * 9) == 0


def shown(spec: str, tokens: Sequence[int], steps: Sequence[str] = (), at: Sequence[int] | None = None) -> list[int]:
    """The places at which the loop is called one, each asked in a row with what was written by then."""
    controller = built(spec)
    state = controller.start(Request((1,)), TEXT)
    for place in range(1, len(tokens) + 1):
        limit = controller.limit(state)
        assert limit is not None
        assert limit >= place
        if limit > place:
            continue
        action = controller.decide(state, View(place, steps, False, written=tokens[:place]))
        if isinstance(action, Conclude):
            assert action.text.startswith("\n\n")
            return [place]
        assert isinstance(action, Continue)
    return []


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("loop-break:copies=3,tokens=12,every=5", [35]),  # 20 others, then 4 a copy: 32 tokens, and the next look
        ("loop-break:copies=3,tokens=12,every=1", [32]),
        ("loop-break:copies=5,tokens=12,every=1", [40]),
        ("loop-break:copies=3,tokens=30,every=1", [50]),
        ("loop-break:copies=3,tokens=12,every=1,period=3", []),
    ],
)
def test_a_circle_is_found_at_the_next_look(spec: str, found: list[int]) -> None:
    assert shown(spec, [*range(100, 120), *[1, 2, 3, 4] * 12]) == found


def test_what_does_not_repeat_is_left_alone() -> None:
    rng = random.Random(0)
    assert shown("loop-break:every=3", [rng.randrange(5) for _ in range(2000)]) == []
    counting = [token for i in range(300) for token in (1, 2, 3, 10 + i)]
    assert shown("loop-break:every=3", counting) == []


@pytest.mark.parametrize(("spec", "ends"), [("loop-break:sentences=3", 5), ("loop-break:sentences=0", None)])
def test_a_sentence_that_comes_again_and_again(spec: str, ends: int | None) -> None:
    steps = [f"Let {i} be. I should look at the triangle." if i % 2 else f"Now {i} is what there is." for i in range(9)]
    controller = built(spec)
    state = controller.start(Request((1,)), TEXT)
    for at in range(len(steps)):
        action = controller.decide(state, View(7 * at, steps[: at + 1], True, written=range(7 * at)))
        if isinstance(action, Conclude):
            assert at == ends
            assert not action.text.startswith("\n")
            return
    assert ends is None


LOOPS = {"a": 9.0, "b": 8.0}
"""A bias under which a model hardly writes anything but these two."""
SPEC = "loop-break:copies=3,period=6,tokens=9,every=7"


def requests(text: Text, temperature: float) -> list[Request]:
    return [
        Request(
            tuple(text.encode(f"What is {i}+{i}?{text.format.opens}\n")), Sampling(temperature, seed=i), Limits(200)
        )
        for i in range(4)
    ]


@pytest.mark.parametrize(("text", "temperature"), [(TEXT, 0.0), (SEVERAL, 0.4)], ids=["one token", "several"])
@pytest.mark.parametrize("think", [(SPEC,), (SPEC, "budget:16")], ids=["alone", "with a budget"])
def test_a_model_that_loops_is_stopped_and_answers(text: Text, temperature: float, think: tuple[str, ...]) -> None:
    model = tiny.model(2, bias={**tiny.REASONER, **LOOPS})

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    asked = requests(text, temperature)
    expected = [reference.decode(logits, text, r, [built(s) for s in think], 512) for r in asked]
    methods: dict[str, object] = {"verifier": "match", "think": think}
    results = []
    for drafter, batch in (("none", 1), ("draft-model", 4)):
        made = Engine(
            CausalLM(tiny.noisy(model, 0.0)),
            text,
            Methods(drafter=drafter, length="constant:5", **methods),  # type: ignore[arg-type]
            CausalLM(tiny.noisy(model, 0.1)),
        )
        results = made.run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in results] == expected, drafter
    broken = [r for r in results if any(e.method == "loop-break" for e in r.events)]
    assert broken
    for result in broken:
        assert "I am repeating myself" in result.thinking
        assert text.format.closes in result.text
        assert result.usage.answer
    if len(think) > 1:
        assert all(r.usage.thinking <= 16 for r in results)
        assert any(e.method == "budget" for r in results for e in r.events) or len(broken) == len(results)
