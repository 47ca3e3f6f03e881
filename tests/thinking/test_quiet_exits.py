"""Exits that ask little: the closing tag's rank, a word of confidence, the slope of the answer's entropy; TrimR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Sampling, reference
from laconic.bench.oracle.exits import Thought, ended
from laconic.errors import InvalidKnob
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.thinking.base import Belief, Conclude, Continue, Controller, Probe, View, Watched
from laconic.thinking.exit.entropy_slope import steepness
from laconic.thinking.statements import result
from tests import tiny

TEXTS = {"one token": tiny.text(), "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))}
MODELS = {
    "one token": tiny.model(0, bias={**tiny.REASONER, "</think>": 2.0}),
    "several": tiny.model(0, bias={**tiny.REASONER, "<": 3.0, "/": 5.0, "a": 3.0, ">": 5.0}),
}


def built(spec: str) -> Controller:
    controller = registry.build("think", spec)
    assert isinstance(controller, Controller)
    return controller


def look(prob: float = 0.0, rank: int = 99) -> Belief:
    return Belief("x", (0.5,), (0.1,), False, 1, Watched(prob, rank))


def doubtful(entropy: float, tokens: int = 2, complete: bool = True) -> Belief:
    return Belief("7", (0.9,) * tokens, (entropy,) * tokens, complete, 1)


def run(spec: str, beliefs: Sequence[Belief], watch: str | None = None) -> int | None:
    """The look after which the thought is ended; None if it never is."""
    controller = built(spec)
    state: Any = controller.start(Request((1,)), TEXTS["one token"])
    for at, found in enumerate(beliefs):
        steps = [f"x = {i}." for i in range(at + 1)]
        assert isinstance(controller.decide(state, View(10 * at + 3, steps, False)), Continue), "inside a step"
        asked = controller.decide(state, View(10 * at + 9, steps, True))
        assert isinstance(asked, Probe)
        if watch is not None:
            assert (asked.watch, asked.close, asked.max_tokens) == (watch, False, 1)
        action = controller.decide(state, View(10 * at + 9, steps, True, found))
        if isinstance(action, Conclude):
            return at
        assert isinstance(action, Continue)
    return None


@pytest.mark.parametrize(
    ("spec", "looks", "ends"),
    [
        ("closing-rank:3", [(0.0, 3), (0.0, 2)], 1),  # ranks count from 0
        ("closing-rank:3,2", [(0.0, 2), (0.0, 3), (0.0, 2), (0.0, 1)], 3),
        ("closing-rank:3,2,0.4", [(0.4, 1)], 0),  # probable enough, at once
        ("closing-rank:0", [(0.49, 0)] * 5, None),  # the rank does not count
        ("closing-rank:0,prob=0.3", [(0.29, 0), (0.3, 9)], 1),
    ],
)
def test_the_closing_tag_is_near(spec: str, looks: list[tuple[float, int]], ends: int | None) -> None:
    assert run(spec, [look(*each) for each in looks], "</think>") == ends


@pytest.mark.parametrize(
    ("spec", "probs", "ends"),
    [
        ("confidence-probe:0.5", [0.4, 0.5], 1),
        ("confidence-probe:0.5,2", [0.6, 0.4, 0.6, 0.7], 3),
        ("confidence-probe:0.5", [0.4, 0.49], None),
    ],
)
def test_a_word_of_confidence(spec: str, probs: list[float], ends: int | None) -> None:
    assert run(spec, [look(p, 0) for p in probs], " confident") == ends


def test_what_quiet_exits_ask() -> None:
    view = View(9, ["x = 1."], True)
    text = TEXTS["several"]
    for spec, asked, watched in (
        ("closing-rank", "", "/>"),
        (r"closing-rank:text=\n", "\n", "/>"),
        ("confidence-probe", "So I'm", " confident"),
        ("confidence-probe:text=I am,word=sure", "I am", " sure"),
    ):
        controller = built(spec)
        probe = controller.decide(controller.start(Request((1,)), text), view)
        assert isinstance(probe, Probe)
        assert (probe.text, probe.watch) == (asked, watched)
        assert built(controller.spec()) == controller


def test_a_line_through_points() -> None:
    assert steepness([2.0, 2.0, 2.0]) == 0
    assert steepness([3.0, 1.0]) == -2
    assert steepness([0.0, 1.0, 0.0, 1.0]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("spec", "entropies", "ends"),
    [
        ("entropy-slope:0.1,0.05,3", [1.0, 0.5, 0.05, 0.05, 0.05], 4),  # low at once, flat later
        ("entropy-slope:0.1,0.05,2", [1.0, 0.5, 0.05, 0.05, 0.05], 3),
        ("entropy-slope:0.1,9,2", [1.0, 0.5, 0.05], 2),  # a slope that nothing reaches: the level alone
        ("entropy-slope:0.1,0.05,2", [0.5] * 9, None),
        ("entropy-slope:0.1,0.05,2,give_up=3", [0.5, 0.6, 0.5, 0.6, 0.5], None),  # it falls every other time
        ("entropy-slope:0.1,0.05,2,give_up=3", [0.9, 0.5, 0.5, 0.6, 0.6], 4),
        ("entropy-slope:0.1,0.05,2,give_up=1", [0.5, 0.5], 1),
        ("entropy-slope:0.1,0.05,2,aggregate=sum", [0.06, 0.06, 0.05, 0.05], 2),  # two tokens each
    ],
)
def test_the_slope_of_the_entropy(spec: str, entropies: list[float], ends: int | None) -> None:
    assert run(spec, [doubtful(each) for each in entropies]) == ends


def test_an_answer_that_does_not_end_is_never_sure() -> None:
    assert run("entropy-slope:0.1,0.05,2", [doubtful(0.0, complete=False)] * 4) is None


def read(spec: str, steps: Sequence[str]) -> tuple[int, Conclude] | None:
    """After which step TrimR ends the thought, and how."""
    controller = built(spec)
    state = controller.start(Request((1,)), TEXTS["one token"])
    for at in range(len(steps)):
        action = controller.decide(state, View(10 * at, steps[: at + 1], True))
        if isinstance(action, Conclude):
            return at, action
        assert isinstance(action, Continue)
    return None


AGREES = [
    "I need 18*y = 132 + 12 = 144.",
    "y = 144 / 18 = 8. So the answer should be 8.",
    "Let me verify it another way. 132 + 10 = 142, 142 + 2 = 144.",
    "144 is 8 times 18. So 8 now and 8 before. They agree.",
    "Wait, one more way to be sure. Put y = 8 back in: 144 - 12 = 132. Good. The final answer is 8.",
]


@pytest.mark.parametrize(
    ("spec", "steps", "ends", "reason"),
    [
        ("trimr", AGREES, 3, "state 8"),
        ("trimr:3", AGREES, 4, "state 8"),
        ("trimr:4", AGREES, None, ""),
        ("trimr", ["So it is 7.", "Wait, that is 9.", "Hmm. So it is 7.", "But 7 = 7. So the answer is 7."], 3, "7"),
        ("trimr", ["So it is 7.", "Wait, let me see.", "Hmm. So it must be 7. So x is 7."], 2, "7"),  # one states none
        ("trimr", [r"Thus \boxed{(B)}.", "Wait. The answer is (b)."], 1, "(b)"),
        ("trimr", ["So it is 7. So it is 7.", "So it is 7."], None, ""),  # nothing was looked at again
        ("trimr:most=3", ["It is 1.", "Wait, it is 2.", "No. But it is 3.", "Hmm, 4."], 2, "3 thoughts"),
        ("trimr:most=0", [f"Wait, it is {i}." for i in range(40)], None, ""),
        ("trimr", ["Consider the other triangle.", "Then on.", "consider  the other triangle."] * 2, 3, "3 times"),
        ("trimr:repeats=0", ["Consider the other triangle."] * 9, None, ""),
        ("trimr:cues=check", ["It is 3.", "Check: it is 3."], 1, "3"),
        ("trimr:cues=check", ["It is 3.", "Wait: it is 3."], None, ""),
    ],
)
def test_thoughts_are_compared(spec: str, steps: list[str], ends: int | None, reason: str) -> None:
    found = read(spec, steps)
    assert (found and found[0]) == ends
    if found:
        assert reason in found[1].reason
        assert found[1].text.endswith(".\n")


def test_cues_that_are_no_pattern_are_refused() -> None:
    with pytest.raises(InvalidKnob, match="regular expression"):
        built("trimr:cues=(wait")


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("Let me think about 71 - 92.", None),
        ("71 - 92 = -21.", ("-21", False)),
        ("So the answer is -21. ", ("-21", True)),
        ("Compare 34 with 34: the same, good.", ("34", True)),
        ("Compare 54 with 48: not the same, one must be wrong.", None),
        ("I have 2 boxes of 2 apples.", None),
        (r"So \(x = \$1{,}200\).", ("1200", True)),
        ("The answer is red.", ("red", True)),
        ("So the answer is what everybody in this room has long known.", None),
    ],
)
def test_what_a_sentence_states(sentence: str, found: tuple[str, bool] | None) -> None:
    made = result(sentence)
    assert (made and (str(made[0]), made[1])) == found


# Knobs under which the random models stop some thoughts and not others.
SPECS = {
    "closing-rank": ("closing-rank:1,2,0.13,tokens=4",),
    "after a line": (r"closing-rank:6,2,text=\n",),
    "confidence-probe": ("confidence-probe:0.0014,tokens=4",),
    "entropy-slope": ("entropy-slope:3.5,0.1,2,give_up=2,tokens=4",),
    "trimr": ("trimr:most=3,cues=\\w", "budget:40"),
}


def requests(tags: str, temperature: float) -> list[Request]:
    text = TEXTS[tags]
    opened = f"{text.format.opens}\n"
    return [
        Request(tuple(text.encode(f"What is {i}+{i}?{opened}")), Sampling(temperature, seed=i), Limits(44))
        for i in range(4)
    ]


def engine(tags: str, **methods: Any) -> Engine:
    model = MODELS[tags]
    return Engine(
        CausalLM(tiny.noisy(model, 0.0)),
        TEXTS[tags],
        Methods(verifier="match", **methods),
        CausalLM(tiny.noisy(model, 0.1)),
    )


@pytest.mark.parametrize(("tags", "temperature"), [("one token", 0.9), ("several", 0.0)])
@pytest.mark.parametrize("name", SPECS)
def test_equals_the_reference_loop(name: str, temperature: float, tags: str) -> None:
    model = MODELS[tags]

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    asked, think = requests(tags, temperature), SPECS[name]
    expected = [reference.decode(logits, TEXTS[tags], r, [built(s) for s in think], 512) for r in asked]
    for methods, batch in (
        ({"drafter": "none"}, 4),
        ({"drafter": "draft-model", "length": "constant:6"}, 1),
        ({"drafter": "draft-model", "shape": "best-first", "length": "constant:10"}, 4),
        ({"drafter": "suffix", "probes": "separate"}, 4),
    ):
        found = engine(tags, think=think, **methods).run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in found] == expected, methods


@pytest.mark.parametrize("name", SPECS)
def test_the_cases_above_are_not_trivial(name: str) -> None:
    made = [
        r for tags in TEXTS for r in engine(tags, think=SPECS[name], drafter="none").run(requests(tags, 0.9), batch=6)
    ]
    mine = SPECS[name][0].partition(":")[0]
    places = {event.tokens for r in made for event in r.events if event.method == mine}
    assert len(places) > 1
    assert any(event.method != mine for r in made for event in r.events) or any(not r.events for r in made)


def test_a_finished_thought_tells_where_they_would_have_ended_it() -> None:
    made = engine("one token", drafter="none")
    asked = [replace(r, limits=replace(r.limits, answer_room=0)) for r in requests("one token", 0.9)]
    thoughts = []
    for request, done in zip(asked, made.run(asked, batch=6), strict=True):
        try:
            thoughts.append((request, Thought(made.target, made.text, request, done.tokens)))
        except ValueError:
            continue
    assert thoughts
    for name in ("closing-rank", "after a line", "confidence-probe", "entropy-slope"):
        real = made.using(think=SPECS[name]).run([request for request, _ in thoughts], batch=4)
        for (_, thought), done in zip(thoughts, real, strict=True):
            assert ended(built(SPECS[name][0]), thought).thinking == done.usage.thinking, name
