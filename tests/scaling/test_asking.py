"""Policies that ask the model something besides, and attempts that are asked otherwise than the question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from laconic import Engine, Limits, Sampling
from laconic.errors import MethodError, RequestError
from laconic.scaling.base import Board
from tests.scaling.boards import board, done, policy
from tests.scaling.test_served import quiet, serving

SAMPLING, LIMITS = Sampling(0.8, seed=3), Limits(500)
FOREST = "sfs:judge=[equations]"
NOISY = (
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "2 + 3 = 5. The answer is \\boxed{5}."},
    {"role": "user", "content": "What is 4 + 4?"},
    {"role": "assistant", "content": "Cats have 4 legs. 4 + 4 = 8. The answer is \\boxed{8}."},
    {"role": "user", "content": "What is 3 + 15?"},
)


@cache
def bundled() -> Engine:
    return Engine.load("bundled")


class Replies:
    """A model that says what is written down, in turn, and remembers what it was asked."""

    def __init__(self, *said: str) -> None:
        self.said, self.asked, self.seeds = list(said), list[str](), list[int | None]()

    def __call__(self, messages: Sequence[Any], most: int, seed: int | None) -> str:
        self.asked.append(str(messages[-1]["content"]))
        self.seeds.append(seed)
        return self.said.pop(0) if self.said else ""

    def on(self, made: Board) -> Board:
        made.told = self
        return made


class TestDenoised:
    def examples(self, *said: str, most: int = 4) -> tuple[Replies, Board]:
        replies = Replies(*said)
        made = replies.on(board(most=most))
        made.messages = NOISY
        return replies, made

    def test_versions_that_keep_the_answer_take_turns(self) -> None:
        replies, on = self.examples("so \\boxed{8}", "so \\boxed{9}", "hence \\boxed{8.0}", "so \\boxed{8}")
        made = policy("cd-cot:versions=4")
        acts = made.acts(made.start(on), on)
        assert acts.start == 0
        assert [m[3]["content"] for m in acts.others] == ["so \\boxed{8}", "hence \\boxed{8.0}"] * 2
        assert all(m[:3] == NOISY[:3] and m[4] == NOISY[4] for m in acts.others)
        assert len(set(replies.seeds)) == 4  # drawn anew each time
        assert "2 + 3 = 5" in replies.asked[0]
        assert "Cats have 4 legs" in replies.asked[0]

    def test_without_versions_the_prompt_stays(self) -> None:
        _, on = self.examples("\\boxed{9}")
        made = policy("cd-cot:versions=1")
        assert made.acts(made.start(on), on).start == 4

    def test_without_examples_nothing_is_asked(self) -> None:
        replies = Replies()
        on = replies.on(board())
        made = policy("cd-cot")
        assert made.acts(made.start(on), on).start == 8
        assert not replies.asked

    def test_a_clean_example_that_is_not_there(self) -> None:
        _, on = self.examples()
        with pytest.raises(RequestError, match="2 examples"):
            policy("cd-cot:clean=2").start(on)


class TestForest:
    def test_attempts_set_out_in_the_named_directions(self) -> None:
        replies = Replies("1. Add first.\n2) Draw it.\n- Add first.\n\n* Guess")
        on = replies.on(board(most=6))
        made = policy("sfs:judge=[equations],seeds=3")
        acts = made.acts(made.start(on), on)
        said = [str(m[-1]["content"]) for m in acts.others]
        assert [text.splitlines()[-1] for text in said] == [
            "Try this: Add first.",
            "Try this: Draw it.",
            "Try this: Guess",
        ]
        assert all(text.startswith("What is 2+2?") for text in said)

    def test_what_was_learned_is_told_to_the_next(self) -> None:
        replies = Replies("Add.", "Count the\nunits.")
        on = replies.on(board(most=3))
        on.judged = lambda judge, attempt: 0.75
        made = policy("sfs:judge=[equations],seeds=1")
        state = made.start(on)
        assert len(made.acts(state, on).others) == 1
        on.attempts.append(done(0, "5"))
        (messages,) = made.acts(state, on).others
        text = str(messages[-1]["content"])
        assert "came to 5 (worth 0.75 of 1)" in text
        assert "Learned before: Count the units." in text
        assert "This was tried: Add." in replies.asked[1]
        assert state.parents == [-1, 0]

    def test_the_best_is_gone_on_from(self) -> None:
        on = Replies().on(board(most=8))
        on.judged = lambda judge, attempt: {"3": 0.2, "4": 0.9}[attempt.answer]
        made = policy("sfs:judge=[equations],seeds=2,explore=0,remembers=0")
        state = made.start(on)
        made.acts(state, on)
        on.attempts += [done(0, "3"), done(1, "4")]
        made.acts(state, on)
        assert state.parents == [-1, -1, 1, 1]
        assert [c.answer for c in made.candidates(state, on)] == ["4", "3"]


def test_controllers_words_reach_attempts_that_are_asked_otherwise() -> None:
    engine = bundled().using(think=("say:Be brief.",))
    answering = engine.answering(
        "What is 3 + 15?", scaling="sfs:judge=[equations]", n=2, sampling=SAMPLING, limits=LIMITS
    )
    for _ in answering:
        pass
    for sequence in answering._sequences.values():
        assert "Be brief." in engine.text.decode(list(sequence.request.prompt))


def test_what_does_not_fit_is_asked_as_it_was() -> None:
    answering = bundled().answering(
        "What is 3 + 15?", scaling="sfs:judge=[equations]", n=1, sampling=SAMPLING, limits=LIMITS
    )
    long = ({"role": "user", "content": "word " * 5000},)
    assert answering._otherwise(long) == answering._request
    assert answering._events[-1].action == "unasked"
    answering.close()


@pytest.mark.parametrize("scaling", ["cd-cot:versions=1", "sfs:judge=[equations]"])
class TestInEarnest:
    def test_here(self, scaling: str) -> None:
        found = bundled().answer(NOISY, scaling=scaling, n=4, sampling=SAMPLING, limits=LIMITS)
        assert found.answer
        assert found.asked
        assert found.usage.generated >= sum(t.result.usage.generated for t in found.attempts)
        assert not bundled().target.host.pool.slots  # type: ignore[attr-defined]

    def test_over_a_server(self, scaling: str) -> None:
        with serving() as (server, engine):
            found = engine.answer("hello", scaling=scaling, n=3, sampling=Sampling(0.9, seed=4), limits=Limits(60))
            assert found.attempts
        assert quiet(server)

    def test_no_recording_can_play_it(self, scaling: str) -> None:
        from laconic.bench.attempts.replay import play
        from tests.scaling.test_attempts import recordings

        with pytest.raises(MethodError, match="more than is recorded"):
            play(recordings()[0], policy(scaling), 4)
