"""Controllers that only watch: the text is that of free thinking, and what they see is what acting would have done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from laconic import Request, Result, Sampling
from laconic.policy import registry
from laconic.serve.job import Seen
from laconic.serve.settings import Settings
from laconic.serve.shadow import ASKED, Shadow, seen
from laconic.thinking.base import Belief, Conclude, Continue, Controller, Probe, View
from tests.serve.live import Live, bundled, own, serving

QUESTIONS = ("What is 37 * 48 + 15?", "What is 3 + 15?", "What is (12 - 4) * 7?")
WATCHED = (
    ("settled",), ("answer-confidence:0.6",), ("answer-agreement:2",), ("closing-rank:rank=64,prob=0.2",),
    ("budget:40",), ("loop-break",), ("answer-confidence:0.99,product,tokens=12", "budget:60"),
)  # fmt: skip


def served(request: Request) -> tuple[Result, Seen | None]:
    loop = bundled().loop()
    s = loop.add(request)
    while not s.done:
        loop.step()
    return bundled().result(s), seen(s.controllers)


@pytest.mark.parametrize("specs", WATCHED, ids="+".join)
def test_the_text_is_that_of_free_thinking_and_what_is_seen_would_have_happened(specs: tuple[str, ...]) -> None:
    watched = tuple(registry.build("think", spec) for spec in specs)
    acted = 0
    for at, question in enumerate(QUESTIONS):
        request = bundled().request(question, sampling=Sampling(0.7 * (at % 2), seed=at))
        free, _ = served(replace(request, controllers=()))
        acting, _ = served(replace(request, controllers=watched))
        shadowed, found = served(replace(request, controllers=(Shadow(watched),)))  # type: ignore[arg-type]
        assert shadowed.tokens == free.tokens
        assert shadowed.events == free.events
        ends = [event for event in acting.events if event.action == "conclude"]
        if not ends or ends[0].method == "loop":
            assert found is None
            continue
        acted += 1
        assert found is not None
        assert (found.thinking, found.reason) == (ends[0].tokens, ends[0].reason)
    assert acted or specs == ("loop-break",)


class Scripted(Controller):
    """Does at each place what it is told to."""

    name = "scripted"

    def __init__(self, *actions: Any) -> None:
        self.actions = list(actions)

    def start(self, request: Request, text: Any) -> list[int]:
        return []

    def decide(self, state: list[int], view: View) -> Any:
        state.append(view.thinking)
        return self.actions[len(state) - 1]


INSIDE, ANSWER = Probe("", "\n", max_tokens=1, close=False), Probe("The answer is \\boxed", "}")


def belief(answer: str) -> Belief:
    return Belief(answer, (0.9,), (0.1,), True, 1)


def watch(*controllers: Controller) -> tuple[Shadow, Any]:
    shadow = Shadow(controllers)
    return shadow, shadow.start(bundled().request("What is 1 + 1?"), bundled().text)


@pytest.mark.parametrize(("probe", "known"), [(INSIDE, False), (ANSWER, True)])
def test_what_stands_next_in_the_thought_is_no_answer(probe: Probe, known: bool) -> None:
    shadow, state = watch(Scripted(probe, Conclude("enough")))
    assert shadow.decide(state, View(9, (), True)) == probe
    action = shadow.decide(state, View(9, (), True, belief(".")))
    assert action == (Continue() if known else ASKED)
    if not known:
        shadow.decide(state, View(9, (), True, belief("18")))
    assert state.found == Seen(9, "enough", "." if known else "18")


def test_an_end_for_which_there_is_no_room_to_ask_stands_where_it_was_wanted() -> None:
    shadow, state = watch(Scripted(Conclude("enough")))
    assert shadow.decide(state, View(9, (), True)) == ASKED
    shadow.decide(state, View(30, (), True))
    assert state.found == Seen(9, "enough", "")


def test_every_place_begins_with_the_first_controller() -> None:
    """Also where the second one's probe at the place before had no room."""
    first, second = Scripted(*[Continue()] * 3), Scripted(ANSWER, Continue())
    shadow, state = watch(first, second)
    assert shadow.decide(state, View(9, (), True)) == ANSWER
    shadow.decide(state, View(20, (), True))
    assert state.states == [[9, 20], [9, 20]]


def events(live: Live, **body: Any) -> tuple[set[str], Any]:
    (choice,) = live.chat({"messages": [{"role": "user", "content": QUESTIONS[0]}], "seed": 1, **body})["choices"]
    own = choice["laconic"]
    return {event["method"] for event in own["events"]}, own.get("shadow", "-")


@pytest.mark.parametrize("settings", [Settings(grace=5.0, shadow=True), Settings(grace=5.0)], ids=["shadow", "stopped"])
def test_the_server_acts_on_nothing_of_its_own_whatever_a_request_asks_for(settings: Settings) -> None:
    """A budget and a level of effort are the client's; they act."""
    engine = bundled().using(think=("budget:30",))
    efforts = {"low": (registry.build("think", "budget:50"),)}
    with serving(own(engine), settings, efforts=efforts) as live:  # type: ignore[arg-type]
        live.state.audit.stopped = not settings.shadow
        for body, ended in (
            ({}, set()),
            ({"thinking_token_budget": 45}, {"budget"}),
            ({"reasoning_effort": "low"}, {"budget"}),
        ):
            methods, found = events(live, max_tokens=1500, **body)
            assert methods == ended
            assert found["tokens"] == 30
        methods, found = events(live, max_tokens=1500, laconic={"think": "budget:20"})
        assert (methods, found) == ({"budget"}, "-")
