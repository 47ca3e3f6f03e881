"""What each way to spoil a trace leaves as it was, and what it does not."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from laconic.training.traces.perturbing import KINDS, Told, other_number, perturbed

TOLD = Told(
    (
        "I have to find 12 * 9.",
        "10 * 9 = 90, 2 * 9 = 18.",
        "90 + 18 = 108. So the answer is 108.",
        "Wait, let me check that. 108 / 9 = 12.",
        "Hmm, let me also try this. 1080 - 972 = 108, good.",
        "I am sure now, the answer is 108.",
    ),
    "The answer is \\boxed{108}.",
    "108",
)
OTHERS = ("Another step of 7.", "And one of 8.")


def spoilt(kind: str, strength: float, seed: int = 0) -> Told:
    return perturbed(kind, strength, TOLD, OTHERS, random.Random(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_spoilt_at_strength_0_and_one_seed_says_all(kind: str) -> None:
    assert spoilt(kind, 0.0) == TOLD
    assert spoilt(kind, 1.0) != TOLD
    assert spoilt(kind, 0.5, 3) == spoilt(kind, 0.5, 3)
    assert len({spoilt(kind, 0.5, seed) for seed in range(12)}) > 1


def test_another_answer_stands_wherever_it_stood() -> None:
    made = spoilt("answer", 1.0)
    assert made.answer != "108"
    assert re.fullmatch(r"[1-9]\d\d", made.answer)
    assert made.reply == TOLD.reply.replace("108", made.answer)
    assert made.steps[:2] == TOLD.steps[:2]
    assert made.steps[4] == f"Hmm, let me also try this. 1080 - 972 = {made.answer}, good."
    assert not any(re.search(r"\b108\b", step) for step in made.steps)
    changed = sum(spoilt("answer", 0.3, seed).answer != "108" for seed in range(400))
    assert 80 < changed < 160


def test_other_numbers_have_the_sign_and_the_digits() -> None:
    assert {other_number("7", random.Random(seed)) for seed in range(200)} == set("012345689")
    assert {other_number("-1", random.Random(seed)) for seed in range(200)} == {f"-{digit}" for digit in "23456789"}
    assert {len(other_number("10", random.Random(seed))) for seed in range(200)} == {2}


def test_corrupted_traces_differ_in_digits_alone_and_their_reply_is_left() -> None:
    made = spoilt("digits", 0.5)
    assert [re.sub(r"\d", "#", step) for step in made.steps] == [re.sub(r"\d", "#", step) for step in TOLD.steps]
    assert (made.reply, made.answer) == (TOLD.reply, TOLD.answer)
    pairs = list(zip("".join(spoilt("digits", 1.0).steps), "".join(TOLD.steps), strict=True))
    assert all((now == then) != then.isdigit() for now, then in pairs)


def test_cues_are_left_out_with_their_sentence() -> None:
    made = spoilt("cues", 1.0)
    assert made.steps == (*TOLD.steps[:3], "108 / 9 = 12.", "1080 - 972 = 108, good.", TOLD.steps[5])
    assert sum(a != b for a, b in zip(spoilt("cues", 0.5).steps, TOLD.steps, strict=True)) == 1


def test_deleted_steps_leave_the_others_in_their_order() -> None:
    made = spoilt("deleted", 0.5)
    assert len(made.steps) == 3
    assert list(made.steps) == [step for step in TOLD.steps if step in made.steps]
    assert spoilt("deleted", 1.0).steps == ()


def test_inserted_steps_leave_the_own_ones_in_their_order() -> None:
    made = spoilt("inserted", 0.5)
    assert len(made.steps) == 9
    assert tuple(step for step in made.steps if step not in OTHERS) == TOLD.steps


def test_a_shuffle_keeps_the_steps_and_moves_no_more_than_it_says() -> None:
    orders = {spoilt("shuffled", 0.5, seed).steps for seed in range(40)}
    assert all(Counter(steps) == Counter(TOLD.steps) for steps in orders)
    moved = {sum(a != b for a, b in zip(steps, TOLD.steps, strict=True)) for steps in orders}
    assert max(moved) == 3
    whole = {spoilt("shuffled", 1.0, seed).steps for seed in range(40)}
    assert max(sum(a != b for a, b in zip(steps, TOLD.steps, strict=True)) for steps in whole) > 3
