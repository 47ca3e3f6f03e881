"""Decisions read off a finished thought are those that a run makes."""

from __future__ import annotations

import pytest

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.oracle.exits import Thought, ended
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.thinking.base import Continue, Controller, Inject, LogitRule, View
from tests import tiny


@pytest.fixture(scope="module")
def written() -> tuple[Engine, list[Request], list[Thought]]:
    """Thoughts of a random model that were closed, with steps in them."""
    target = CausalLM(tiny.model(1, bias=tiny.REASONER | {"}": 2.0}))
    engine = Engine(target, tiny.text(), Methods(drafter="none"))
    requests, thoughts = [], []
    for i in range(40):
        request = engine.request(
            tiny.begun(f"What is {i}+{i}?"), limits=Limits(120, answer_room=0), sampling=Sampling(1.0, seed=i)
        )
        (result,) = engine.run([request])
        try:
            thought = Thought(target, engine.text, request, result.tokens)
        except ValueError:
            continue
        requests.append(request)
        thoughts.append(thought)
    assert len(thoughts) >= 5
    assert any(len(thought.ends) > 3 for thought in thoughts)
    return engine, requests, thoughts


@pytest.mark.parametrize(
    "spec",
    [
        "answer-confidence:0.1,min",
        "answer-confidence:0.15",
        "answer-agreement:1",
        "answer-agreement:2,tokens=9",
        "answer-entropy:10,looks=2",
        "settled:0.15",
        "settled:0.06,tokens=6",
        "budget:12",
        "budget:30,landing=0.5",
        "closing-rank:20,2,tokens=5",
        "entropy-slope:4,0.1,give_up=2",
        "loop-break:2,4,2,every=1",
        "trimr:most=2,cues=\\w",
    ],
)
def test_a_thought_that_went_on_tells_where_it_would_have_ended(
    spec: str, written: tuple[Engine, list[Request], list[Thought]]
) -> None:
    engine, requests, thoughts = written
    controller = registry.build("think", spec)
    assert isinstance(controller, Controller)
    results = engine.using(think=(spec,)).run(requests, batch=3)
    stopped = 0
    for thought, result in zip(thoughts, results, strict=True):
        place = ended(controller, thought)
        assert result.usage.thinking == place.thinking
        assert bool(result.events) == (place is not thought.ends[-1])
        stopped += bool(result.events)
    assert stopped


def test_a_controller_that_writes_into_the_thought_is_refused(
    written: tuple[Engine, list[Request], list[Thought]],
) -> None:
    class Urge(Controller):
        def start(self, request: Request, text: Text) -> None: ...

        def decide(self, state: None, view: View) -> Continue | Inject:
            return Inject("Hurry.", "because")

        def spec(self) -> str:
            return "urge"

    thought = next(thought for thought in written[2] if len(thought.ends) > 1)
    with pytest.raises(ValueError, match="urge"):
        ended(Urge(), thought)


def test_a_thought_that_was_cut_off_is_refused(written: tuple[Engine, list[Request], list[Thought]]) -> None:
    engine, requests, _ = written
    (result,) = engine.run(requests[:1])
    with pytest.raises(ValueError, match="never closed"):
        Thought(engine.target, engine.text, requests[0], result.tokens[:3])


@pytest.mark.parametrize("phase", ["thinking", "answer"])
def test_a_rule_may_shape_the_answer_and_not_the_thought(
    phase: str, written: tuple[Engine, list[Request], list[Thought]]
) -> None:
    class Shapes(Controller):
        def start(self, request: Request, text: Text) -> None: ...

        def rule(self, state: None) -> LogitRule:
            return lambda logits, place: logits + 1 if place.phase == phase else None

        def decide(self, state: None, view: View) -> Continue:
            return Continue()

        def spec(self) -> str:
            return "shapes"

    thought = written[2][0]
    if phase == "answer":
        assert ended(Shapes(), thought) is thought.ends[-1]
    else:
        with pytest.raises(ValueError, match="shapes"):
            ended(Shapes(), thought)


def test_one_that_does_not_let_the_thought_end_is_refused(written: tuple[Engine, list[Request], list[Thought]]) -> None:
    class Waits(Controller):
        closing = True

        def start(self, request: Request, text: Text) -> None: ...

        def decide(self, state: None, view: View) -> Continue | Inject:
            if not view.closing:
                return Continue()
            assert view.thinking == len(view.written) == thought.ends[-1].thinking - 1
            return Inject("Wait, ", "not yet")

        def spec(self) -> str:
            return "waits"

    thought = written[2][0]
    with pytest.raises(ValueError, match="waits"):
        ended(Waits(), thought)
