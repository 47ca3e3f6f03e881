"""A request in flight: how much may still be written, and what of it."""

from __future__ import annotations

import pytest

from laconic import Limits, Request
from laconic.errors import RequestError
from laconic.policy import knobs
from laconic.sequence import Sequence
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
