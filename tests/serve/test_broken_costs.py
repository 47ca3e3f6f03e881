"""What a request may cost before anything of it is refused, and passes of others while it is served."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from laconic.errors import InvalidKnob
from laconic.policy import registry
from laconic.prediction import Prediction
from laconic.serve.asking import Asking
from laconic.serve.settings import Bounds, Settings
from tests.serve.live import Live, asked, bundled, own, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(own(), Settings(grace=5.0)) as made:
        yield made


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes tokens of a text fails."""

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("a text was read that cannot fit")

    monkeypatch.setattr(type(bundled().text), "ask", fails)
    monkeypatch.setattr(type(bundled().text.tokenizer), "encode", fails)


@pytest.mark.usefixtures("nothing_is_read")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "a" * 200_000}]}),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 20_000}] * 10}),
        (TEXT, {"prompt": "a" * 200_000}),
        (TEXT, {"prompt": ["a"] * 17}),
        (TEXT, {"prompt": ["a"] * 6, "n": 3}),
    ],
    ids=["a message", "messages", "a prompt", "prompts", "replies"],
)
def test_what_cannot_be_served_is_refused_unread(live: Live, path: str, body: dict[str, Any]) -> None:
    assert "at most" in (said := live.error(body, 400, path)["message"].lower()) or "the most" in said


def test_a_prediction_that_no_reply_could_hold_is_refused(live: Live) -> None:
    prediction = {"type": "content", "content": "a" * 200_000}
    assert "prediction" in live.error(asked({"prediction": prediction}), 400)["message"]


def test_what_may_fit_is_read() -> None:
    """The bound is one on characters: nothing that fits is refused by it."""
    text, asking = bundled().text, Asking(own(), Bounds(), {})
    longest = max((text.piece(token) for token in range(len(text.tokenizer))), key=len)
    asking._bound(len(longest) * asking.backend.context, "prompt")


@pytest.mark.parametrize(
    "think",
    ["+".join(["budget:5"] * 40), ["budget:5"] * 40, "cascade:hard=[" * 40 + "budget:5" + "]" * 40, "x" * 5000],
    ids=["joined", "listed", "nested", "long"],
)
def test_controllers_are_counted_before_they_are_built(
    live: Live, monkeypatch: pytest.MonkeyPatch, think: str | list[str]
) -> None:
    monkeypatch.setattr(type(registry), "build", None)
    assert "laconic.think" in live.error(asked({"laconic": {"think": think}}), 400)["message"]


@pytest.mark.parametrize("spec", ["trimr:cues=wait", "cascade:hard=[trimr:cues=wait]"])
def test_patterns_are_nothing_for_strangers(live: Live, spec: str) -> None:
    """Python's regular expressions may take for ever, and hold everything up meanwhile."""
    registry.build("think", spec)
    with pytest.raises(InvalidKnob, match="pattern"):
        registry.build("think", spec, files=False)
    assert "cues" in live.error(asked({"laconic": {"think": spec}}), 400)["message"]


def slow(tokens: Sequence[int], answer: Sequence[int], at: int, most: int) -> tuple[tuple[int, ...], int]:
    """The draft, and where it begins, found the long way."""
    if not answer:
        return tuple(tokens[:most]), at
    for size in range(min(16, len(answer), len(tokens)), 0, -1):
        tail = list(answer[-size:])
        ends = [i + size for i in range(len(tokens) - size + 1) if list(tokens[i : i + size]) == tail]
        if ends:
            at = next((end for end in ends if end >= at), ends[-1])
            return tuple(tokens[at : at + min(most, 2 * (size + 1))]), at
    return (), at


def test_places_in_a_prediction_are_found_quickly_and_rightly() -> None:
    dice = random.Random(1)
    for _ in range(30):
        tokens = [dice.randrange(3) for _ in range(dice.randrange(1, 60))]
        prediction, at, answer = Prediction(tokens), 0, list[int]()
        for _ in range(40):
            right, at = slow(tokens, answer, at, 32)
            assert prediction.draft(answer, 32) == right
            answer += right[: dice.randrange(4)] or [dice.randrange(4)]
    prediction = Prediction([1] * 200_000)
    begun = time.perf_counter()
    for _ in range(10):
        prediction.draft([1] * 20, 32)
    assert time.perf_counter() - begun < 1.0  # two seconds and more, were each place looked at in turn


def test_arguments_of_any_depth_are_a_text(live: Live) -> None:
    """The bundled model's template passes over earlier calls; that they cannot be read is no failure of the server."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[" * 100_000}}
    messages = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "user", "content": "Well?"}]  # fmt: skip
    assert live.post(CHAT, {"messages": messages, "max_tokens": 5}).status_code in (200, 400)
