"""Rules that end the thought by probing it, driven by scripted beliefs; whole runs are in test_loop and contract."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from laconic import Engine, Limits, Methods
from laconic.errors import InvalidKnob
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.base import Belief, Conclude, Continue, Probe, View
from laconic.thinking.exit.probed import Look, ProbedExit
from laconic.thinking.exit.settled import promise
from tests import tiny


def belief(answer: str, prob: float = 0.9, entropy: float = 0.1, complete: bool = True) -> Belief:
    return Belief(answer, (prob,) * (len(answer) + 1), (entropy,) * (len(answer) + 1), complete, 1)


def run(spec: str, beliefs: list[Belief]) -> int | None:
    """The look after which the thought is ended; None if it never is."""
    controller = registry.build("think", spec)
    assert isinstance(controller, ProbedExit)
    state: Any = controller.start(None, None)  # type: ignore[arg-type]
    steps: list[str] = []
    for look, found in enumerate(beliefs):
        steps.append(f"so x = {look}.")
        assert isinstance(controller.decide(state, View(10 * look + 3, steps, False)), Continue), "inside a step"
        asked = controller.decide(state, View(10 * look + 9, steps, True))
        assert isinstance(asked, Probe)
        assert asked.guess == str(look)
        action = controller.decide(state, View(10 * look + 9, steps, True, found))
        if isinstance(action, Conclude):
            assert action.expected.startswith(asked.text)
            assert (found.answer in action.expected) == found.complete
            return look
        assert isinstance(action, Continue)
    return None


@pytest.mark.parametrize(
    ("spec", "beliefs", "ends"),
    [
        ("answer-agreement", [belief(x) for x in "12222"], 3),
        ("answer-agreement:2", [belief(x) for x in "1223"], 2),
        ("answer-agreement:1", [belief("7")], 0),
        ("answer-agreement:2", [belief("1"), belief("1", complete=False), belief("1"), belief("1")], 3),
        ("answer-agreement:2", [belief(""), belief(""), belief("")], None),
        ("answer-agreement:2", [belief("3, but wait"), belief("3, but wait")], None),
        ("answer-agreement:2", [belief(x) for x in "121212"], None),
        ("answer-agreement:2", [belief("threshold"), belief("threshold")], 1),
        ("answer-agreement:2", [belief("Attribute"), belief("attribute")], 1),
        ("answer-agreement:2", [belief("1,200"), belief("1200")], 1),
        ("answer-agreement:2", [belief("1/2"), belief(r"\\frac{1}{2}")], 1),
        ("answer-agreement:2", [belief("(1,2)"), belief("{1,2}")], None),
        ("answer-agreement:2", [belief("7, not  sure"), belief("7, not  sure")], None),
        ("answer-agreement:2", [belief("7, But"), belief("7")], None),
        ("answer-confidence:0.8,patience=2", [belief(x, p) for x, p in (("1", 0.9), ("2", 0.9), ("2", 0.9))], 2),
        ("answer-confidence:0.8,patience=2", [belief("2", p) for p in (0.9, 0.7, 0.9, 0.9)], 3),
        ("answer-entropy:threshold=0.001", [belief("1", entropy=x) for x in (2.0, 1.0, 0.5, 0.5, 0.5)], None),
        ("answer-entropy:threshold=0.001,weight=0.9", [belief("1", entropy=x) for x in (2, 1, 0.5, 0.5, 0.5, 0.5)], 4),
        ("answer-entropy", [belief("1", entropy=1.5)] * 4, 2),  # never sure, and that will not change
        ("settled", [belief("12", 0.9999)], 0),  # doubt 0.017 of three such tokens promises as much, below 0.06
        ("settled", [belief("12", p) for p in (0.5, 0.9, 0.97, 0.9999)], 3),
        ("settled:0.03", [belief("12", p) for p in (0.5, 0.9, 0.97, 0.9999)], 2),  # dear tokens
        ("settled:0.0003", [belief("12", p) for p in (0.5, 0.9, 0.97, 0.9999)], None),  # cheap ones
        ("settled", [belief("12", 0.999, complete=False)], None),
        ("answer-entropy:looks=2", [belief("1", entropy=1.5, complete=False)] * 4, 1),
    ],
)
def test_where_the_thought_ends(spec: str, beliefs: list[Belief], ends: int | None) -> None:
    assert run(spec, beliefs) == ends


def test_the_variance_is_weighted_as_it_says() -> None:
    """Entropies 1, 0, 0 at weight 0.5: weights 1/4, 1/2, 1, mean 1/7, variance 6/49 = 0.122."""
    looks = [belief("1", entropy=x) for x in (1.0, 0.0, 0.0)]
    assert run("answer-entropy:threshold=0.123,weight=0.5", looks) == 2
    assert run("answer-entropy:threshold=0.122,weight=0.5", looks) is None


@pytest.mark.parametrize("thinking", [500, 5000, 20_000])
def test_settled_weighs_what_the_text_of_the_card_says(thinking: int) -> None:
    """Doubt was 1/2 after 100 tokens and is 1/4 now: roots of the odds 1 and 1/9 without numbers."""
    growth = math.log(thinking / 100)
    promise = 0.25 * (2 + math.log(2)) / (2 + growth)
    cost_per_price = max(thinking, 10_000) / 1000
    for price, stops in ((1.01 * promise / cost_per_price, True), (0.99 * promise / cost_per_price, False)):
        controller = registry.build("think", f"settled:{price}")
        assert isinstance(controller, ProbedExit)
        state: Any = controller.start(None, None)  # type: ignore[arg-type]
        for tokens, wrong in ((100, 0.5), (thinking, 0.1)):
            found = Belief("7", (1 - wrong,), (0.1,), True, 1)
            action = controller.decide(state, View(tokens, ["a"], True, found))
        assert isinstance(action, Conclude) is stops


def test_no_progress_ends_a_thought_that_was_never_sure() -> None:
    stuck = [Look(100 * 2**k, belief("7", 0.5)) for k in range(9)]
    promises = [promise(0.75, 0.75, look.thinking / 100) for look in stuck]
    assert promises == sorted(promises, reverse=True)
    falling = promise(0.75, 0.05, 256)
    assert falling / 0.05 > promises[-1] / 0.75, "doubt that falls promises more of itself"


def test_settled_gives_a_probe_up_only_where_it_could_not_have_stopped() -> None:
    source, given_up = random.Random(3), 0
    controller = registry.build("think", "settled:0.015")
    assert isinstance(controller, ProbedExit)
    for _ in range(3000):
        state: Any = controller.start(None, None)  # type: ignore[arg-type]
        first = Belief("1", (source.random(),), (0.1,), True, 1)
        controller.decide(state, View(50, ["a"], True, first))
        thinking = source.randint(51, 20_000)
        asked = controller.decide(state, View(thinking, ["a", "b"], True))
        assert isinstance(asked, Probe)
        assert asked.hopeless is not None
        probs = tuple(source.random() ** source.choice((0.001, 0.05, 1)) for _ in range(source.randint(1, 6)))
        action = controller.decide(state, View(thinking, ["a", "b"], True, Belief("2", probs, (), True, 1)))
        if any(asked.hopeless(probs[:n]) for n in range(1, len(probs) + 1)):
            given_up += 1
            assert isinstance(action, Continue)
    assert 300 < given_up < 2900


def test_probes_after_so_many_tokens_do_not_wait_for_the_end_of_a_step() -> None:
    controller = registry.build("think", "answer-agreement:2,tokens=20")
    assert isinstance(controller, ProbedExit)
    state: Any = controller.start(None, None)  # type: ignore[arg-type]
    assert controller.limit(state) == 20
    assert isinstance(controller.decide(state, View(12, ["a"], True)), Continue)
    assert isinstance(controller.decide(state, View(20, ["a"], False)), Probe)
    assert isinstance(controller.decide(state, View(20, ["a"], False, belief("4"))), Continue)
    assert controller.limit(state) == 40
    assert isinstance(controller.decide(state, View(41, ["a", "b"], True)), Probe)
    assert isinstance(controller.decide(state, View(41, ["a", "b"], True, belief("4"))), Conclude)


@pytest.mark.parametrize("spec", ["answer-agreement:1,tokens=7", "answer-entropy:threshold=1,tokens=10,looks=2"])
def test_looks_by_tokens_end_the_same_thought_alone_and_in_a_batch_whatever_drafts(spec: str) -> None:
    # This one writes something into its answers.
    target = CausalLM(tiny.model(1, bias=tiny.REASONER | {"}": 2.0}))
    prompts = [tiny.begun(f"What is {i}+{i}?") for i in range(5)]
    found = []
    for drafter, batch in (("none", 1), ("suffix", 3)):
        engine = Engine(target, tiny.text(), Methods(drafter=drafter, length="constant:4", think=(spec,)))
        found.append(engine.generate_many(prompts, limits=Limits(80), batch=batch))
    assert [r.tokens for r in found[0]] == [r.tokens for r in found[1]]
    assert [r.events for r in found[0]] == [r.events for r in found[1]]
    assert any(r.events for r in found[0])


def test_knobs_of_a_method_come_before_those_that_all_exits_share() -> None:
    assert registry.build("think", "answer-agreement:5").spec() == "answer-agreement:agree=5"
    assert registry.build("think", "answer-confidence:0.9,min,2").spec() == (
        "answer-confidence:threshold=0.9,aggregate=min,patience=2"
    )
    with pytest.raises(InvalidKnob):
        registry.build("think", "answer-entropy:0.1,1.0")
