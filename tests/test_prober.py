"""How far drafters guess what probes will find, and at what price they are not asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from laconic.loop import Loop, Plan
from laconic.policy import knobs
from laconic.sequence import Sequence as Running
from laconic.speculation.base import Context
from laconic.speculation.pace import Pace
from laconic.thinking.base import Conclude, Continue, Controller, Probe
from tests.speculation.rounds import build
from tests.told import TEXT, Acting, Drafted, Foretelling, Told, Unmeasured, finished

MODEL = Told({"So {": "12}.", "</think>\n\n": "So {12}.", "<think>\n": "ab\n\ncd"})
OPENED = "</think>\n\nSo {"


@knobs
class Completes(Drafted):
    """Guesses what ``guesses`` says, in two passes of the draft model, and keeps what it was asked."""

    guesses: Any
    asked: Any
    model: Any

    def complete(
        self, state: Context, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        self.model.passes += 2
        self.asked.append((TEXT.decode(state.tokens[:base]), TEXT.decode(tokens), most))
        found: list[int] = []
        for token in TEXT.encode(self.guesses)[:most]:
            found.append(token)
            if ends(token):
                break
        return found


def run(
    controller: Controller, *, guesses: str = "", drafts: str = "", pace: Pace | None = None, limit: int = 200
) -> tuple[Running, list[Any]]:
    """A request served, and what its drafter was asked to complete."""
    asked: list[Any] = []
    model: Any = SimpleNamespace(passes=0)
    drafter = Completes(lambda text: drafts if text.endswith("a") else "", guesses=guesses, asked=asked, model=model)
    parts = drafter, build("length", "constant:9"), build("shape", "chain"), build("verifier", "match")
    made = Loop(MODEL, TEXT, Plan(*parts, (controller,)), model, pace or Unmeasured())
    running = finished(made, limit=limit)
    assert running.usage.draft_passes == model.passes
    return running, asked


def asking(probe: Probe) -> Callable[[Any], Any]:
    return lambda view: Continue() if not view.boundary else probe if view.belief is None else Conclude("heard")


ENDING = Acting(act=lambda view: Conclude("enough", expected="So {12}") if view.boundary else Continue())


def test_what_is_expected_is_completed_to_the_end() -> None:
    running, asked = run(ENDING, guesses=".<x")
    assert asked == [("Q<think>\nab\n\n</think>\n\n", "So {12}", 6)]
    assert running.usage.accepted == len("So {12}.")


@pytest.mark.parametrize(("close", "beyond"), [(True, 6), (False, 0)])
def test_an_answer_is_guessed_and_where_the_thought_may_end_what_comes_after_it(close: bool, beyond: int) -> None:
    probe = Probe("So {", "}", max_tokens=9, close=close)
    running, asked = run(Acting(act=asking(probe)), guesses="12}.")
    assert asked == [("Q<think>\nab\n\n", OPENED if close else "So {", 9 + beyond)]
    assert running.usage.probed == len(TEXT.encode(asked[0][1])) + (4 if close else 3)


def test_a_wrong_guess_is_followed_by_one_at_the_rest() -> None:
    _, asked = run(Acting(act=asking(Probe("So {", "}", max_tokens=9))), guesses="9")
    assert [entry[1:] for entry in asked] == [(OPENED, 15), (f"{OPENED}1", 14), (f"{OPENED}12", 13)]


def test_ahead_of_a_step_the_guess_follows_the_draft() -> None:
    for text, known in (("So {", OPENED), ("", "\n\n")):
        probe = Probe(text, "}", max_tokens=9, close=bool(text))
        _, asked = run(Foretelling(act=asking(probe), asks=lambda view, p=probe: p), guesses="12}", drafts="b\n\n")
        assert asked[0] == ("Q<think>\na", f"b\n\n{known}" if text else "b\n\n", 9 + 6 * bool(text))


class Costs(Pace):
    """A pace that knows: a target pass costs 10, and ``draft`` and ``node`` are prices too."""

    known = True  # type: ignore[assignment]

    def __init__(self, draft: float, node: float) -> None:
        super().__init__()
        self.prices = draft, node

    def target_pass(self, nodes: float) -> float:
        return 10 + self.prices[1] * nodes

    def node(self, nodes: float) -> float:
        return self.prices[1]

    @property
    def draft_pass(self) -> float:
        return self.prices[0]

    def record(self, **_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("draft", "probe", "expected"),
    [(1.0, True, True), (10 / 6 + 0.1, False, True), (10 / 3 + 0.2, False, False), (10 / 6 - 0.3, True, True)],
)
def test_guesses_are_made_while_they_cost_less_than_the_pass_that_they_save(
    draft: float, probe: bool, expected: bool
) -> None:
    """Six passes of the draft model for an answer, three for an end."""
    pace = Costs(draft, 0.0)
    pace.whole = 1.0
    assert bool(run(Acting(act=asking(Probe("So {", "}"))), pace=pace)[1]) is probe
    assert bool(run(ENDING, pace=pace)[1]) is expected


def test_where_answers_end_with_their_first_token_nothing_is_guessed() -> None:
    passes = []
    for whole in (1.0, 0.5):
        pace = Costs(1.0, 0.0)
        pace.whole = whole
        running, asked = run(Acting(act=asking(Probe("So {", "}", guess="12"))), pace=pace)
        assert (asked[0][1] == OPENED) is (whole == 1.0)
        passes.append(running.usage.target_passes)
    assert passes == [5, 8], "one pass for all three tokens of the answer, and the end taken over from it"
