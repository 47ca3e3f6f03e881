"""Prompts that choose and prompts that are shown."""

from __future__ import annotations

import random

from laconic.bench.harm import SHOWN
from laconic.bench.harm.split import fingerprint, split
from laconic.bench.tasks import Item


def items(*questions: str) -> list[Item]:
    return [Item(f"q/{i}", "q", question, str(len(question)), None) for i, question in enumerate(questions)]


def asked(found: list[Item]) -> set[str]:
    return {" ".join(item.question.split()) for item in found}


MANY = items(*(f"What is {i} + 7?" for i in range(4000)))


def test_no_prompt_is_on_both_sides_and_none_is_lost() -> None:
    found = split(MANY)
    assert not asked(found.calibration) & asked(found.shown)
    assert len(found.calibration) + len(found.shown) == len(MANY)
    assert abs(len(found.shown) / len(MANY) - SHOWN) < 0.03  # five standard errors
    assert found.repeated == 0


def test_a_side_depends_on_the_words_alone() -> None:
    shuffled = random.Random(0).sample(MANY, 1500)
    whole, part = split(MANY), split(shuffled)
    assert asked(part.calibration) <= asked(whole.calibration)
    assert asked(part.shown) <= asked(whole.shown)


def test_copies_are_left_out_and_fall_on_the_same_side() -> None:
    copies = items(*(f"What  is {i}\n+ 7?" for i in range(4000)), *(f" What is {i} + 7? " for i in range(10)))
    found = split([*MANY, *copies])
    assert (found.calibration, found.shown) == (split(MANY).calibration, split(MANY).shown)
    assert found.repeated == 4010
    assert asked(split(copies).shown) == asked(found.shown)


def test_a_fingerprint_tells_data_from_other_data() -> None:
    one = items("a", "b", "c")
    assert fingerprint(one) == fingerprint(one[::-1]) != fingerprint(one[:2])
    assert len(fingerprint(one)) == 64
    assert fingerprint(one) != fingerprint(items("a", "b", "cc"))
    relabelled = [*one[:2], Item("q/2", "q", "c", "7", None)]
    assert fingerprint(relabelled) != fingerprint(one)
    assert fingerprint(items("ab", "c")) != fingerprint(items("a", "bc"))
