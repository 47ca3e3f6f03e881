"""A request in flight: how much may still be written, and what of it."""

from __future__ import annotations

import pytest
import torch

from laconic import Format, Limits, Request
from laconic.errors import RequestError
from laconic.models.text import Text
from laconic.policy import knobs
from laconic.sequence import Sequence
from laconic.speculation.base import TokenTree
from laconic.thinking.base import LogitRule
from tests import tiny
from tests.fakes import FakeSlot
from tests.told import TEXT, Acting, Told, loop


@knobs
class Short(Acting):
    """At most six tokens of the answer."""

    def answer_limit(self, state: object) -> int:
        return 6


PROMPT = "Q<think>\n"


@pytest.mark.parametrize(
    ("limits", "context", "thinking", "written", "room"),
    [
        (Limits(10, answer_room=0), 500, None, "ab", 10 - 2 - 1),
        (Limits(100, answer_room=0), len(TEXT.encode(PROMPT)) + 12, None, "ab", 12 - 2 - 1),
        (Limits(100, answer_room=0), 500, 9, "ab", 9 - 2 - 1),
        (Limits(100, answer_room=0), 500, 4, "ab</think>cd", 6 - 2 - 1),
        (Limits(3, answer_room=0), 500, 9, "abc", 0),
    ],
)
def test_a_draft_leaves_room_for_the_token_after_it(
    limits: Limits, context: int, thinking: int | None, written: str, room: int
) -> None:
    request = Request(tuple(TEXT.encode(PROMPT)), limits=limits)
    running = Sequence(request, TEXT, FakeSlot(), [Short(limits=lambda views: thinking)], context)
    for token in TEXT.encode(written):
        running.transcript.push(token)
    assert running.room(context) == room
    assert running.full(context) is (written == "abc")


@pytest.mark.parametrize("over", [0, 1])
def test_a_prompt_that_fills_the_context_is_refused(over: int) -> None:
    made = loop(Told({"ab": "c"}, context=12))
    with pytest.raises(RequestError, match="context is 12"):
        made.add(Request((5,) * (12 + over)))
    assert made.add(Request((5,) * 11)).room(12) == 0


@pytest.mark.parametrize("rules", [None, lambda logits, place: logits + 1])
def test_an_answer_that_is_owed_may_not_be_empty_and_then_nothing_is_ruled_out(rules: LogitRule | None) -> None:
    running = Sequence(Request(tuple(TEXT.encode(PROMPT))), TEXT, FakeSlot(), [Acting(rules=rules)])
    running.inject("</think>\n\n", "test", 500)
    running.owe()
    for word, banned in ((" ", True), ("a", False)):
        assert running.context.ruled is not None
        changed = running.context.ruled(torch.zeros(264), TEXT.encode(word))
        assert bool(changed.min() == -torch.inf) is banned
    running.transcript.push(TEXT.encode("a")[0])
    running.commit()
    assert running.rules == ([] if rules is None else [rules])
    assert (running.context.ruled is None) is (rules is None)


def test_streams_show_whole_characters_and_all_of_them_at_the_end() -> None:
    made = loop(Told({"Q": "a\u00e4\u20ac\U0001f600b\u00e4"}))
    running = made.add(Request(tuple(TEXT.encode("Q")), limits=Limits(12, answer_room=0)))
    steps = []
    while made.active:
        made.step()
        steps += running.drain()
    assert [step.text for step in steps] == ["a", "\u00e4", "\u20ac", "\U0001f600", "b", "\ufffd"], "cut in a character"
    assert [len(step.tokens) for step in steps] == [1, 2, 3, 4, 1, 1]
    assert running.finish == "length"
    assert running.drain() == []


def test_streams_hold_back_what_may_become_a_tag() -> None:
    """Where the tag is several tokens; a controller that minds the end may take it back, and others want it whole."""
    text = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))

    @knobs
    class Minds(Acting):
        """Minds the end of the thought."""

        closing = True

    shown = {}
    for minds in (Acting(), Minds()):
        running = Sequence(Request(tuple(text.encode("Q<think>"))), text, FakeSlot(), [minds])
        pieces = []
        for token in text.encode("a<b</thi x"):
            running.transcript.push(token)
            pieces.append("".join(step.text for step in running.drain()))
        shown[type(minds)] = pieces
    assert shown[Acting] == shown[Minds] == ["a", "", "<b", "", "", "", "", "", "</thi ", "x"]


def test_steps_say_who_wrote_them() -> None:
    running = Sequence(Request(tuple(TEXT.encode(PROMPT))), TEXT, FakeSlot(), [Acting()])
    running.tree = TokenTree.of_chain([5], "suffix")
    running.transcript.push(TEXT.encode("a")[0])
    running.inject("bc", "first", 500)
    running.transcript.push(TEXT.encode("d")[0])
    running.inject("</think>", "second", 500)
    running.transcript.push(TEXT.encode("e")[0])
    running.usage.drafted, running.usage.accepted = 4, 3
    steps = running.drain()
    assert [(s.kind, s.text, s.method) for s in steps] == [
        ("thinking", "a", "suffix"),
        ("injected", "bc", "first"),
        ("thinking", "d", "suffix"),
        ("injected", "</think>", "second"),
        ("answer", "e", "suffix"),
    ]
    assert [(s.drafted, s.accepted) for s in steps] == [(4, 3), *[(0, 0)] * 4], "told once"
    running.usage.drafted = 9
    running.transcript.push(TEXT.encode("f")[0])
    assert [(s.text, s.drafted, s.accepted) for s in running.drain()] == [("f", 5, 0)]
