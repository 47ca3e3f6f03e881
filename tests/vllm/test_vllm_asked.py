"""What a request's fields ask of laconic, and what is no answer to that."""

from __future__ import annotations

from typing import Any

import pytest

from laconic.errors import LaconicError, MethodError, RequestError
from laconic.vllm.asked import ANSWER_ROOM, PART, THINK, Asked
from tests.vllm_fakes import Params, think


@pytest.mark.parametrize(
    ("params", "otherwise", "asked"),
    [
        (Params(), "", None),
        (Params(extra_args={"some": "other"}), "", None),
        (think("budget:256+loop-break"), "", Asked(("budget:256", "loop-break"))),
        (think("budget:256", room=0), "", Asked(("budget:256",), 0)),
        (think(""), "", Asked()),
        (think(" none "), "settled", Asked()),
        (Params(extra_args={ANSWER_ROOM: 12}), "", Asked((), 12)),
        (Params(), "settled", Asked(("settled",))),
        (Params(extra_args={ANSWER_ROOM: 12}), "settled", Asked(("settled",), 12)),
        (think("loop-break"), "settled", Asked(("loop-break",))),
        (Params(thinking_token_budget=7), "", Asked(("budget:7",), own=False)),
        (Params(thinking_token_budget=7), "settled", Asked(("budget:7", "settled"))),
        (think("loop-break", thinking_token_budget=0), "", Asked(("budget:1", "loop-break"))),
        (think("none", thinking_token_budget=7), "", Asked(("budget:7",))),
    ],
)
def test_what_is_asked(params: Any, otherwise: str, asked: Asked | None) -> None:
    assert Asked.of(params, otherwise) == asked


def test_parts_of_a_request_are_left_alone() -> None:
    assert (
        Asked.of(Params(extra_args={PART: 1, THINK: 3, "laconic.none": 1}, thinking_token_budget=9), "settled") is None
    )


@pytest.mark.parametrize(
    ("extra", "error", "why"),
    [
        ({"laconic.thnik": "budget:9"}, RequestError, "Did you mean 'laconic.think'"),
        ({THINK: 256}, RequestError, "is a text, not 256"),
        ({THINK: None}, RequestError, "is a text, not None"),
        ({THINK: "budget:9+"}, MethodError, "an empty spec"),
        ({ANSWER_ROOM: "12"}, RequestError, "number of tokens, not '12'"),
        ({ANSWER_ROOM: True}, RequestError, "number of tokens, not True"),
        ({ANSWER_ROOM: 1.5}, RequestError, "number of tokens, not 1.5"),
        ({ANSWER_ROOM: -1}, RequestError, "number of tokens, not -1"),
    ],
)
def test_what_cannot_be_asked(extra: dict[str, Any], error: type[LaconicError], why: str) -> None:
    with pytest.raises(error, match=why):
        Asked.of(Params(extra_args=extra))
