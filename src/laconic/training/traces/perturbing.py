"""Traces with some of their content or of their structure spoilt, to measure what training takes from them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from laconic.thinking.scores.cues import first_sentence, reflects

_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Told:
    """A thought by its steps, the reply behind it, and the number that both come to."""

    steps: tuple[str, ...]
    reply: str
    answer: str


def perturbed(kind: str, strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    """A trace spoilt in one way, so much of it as ``strength`` (0 to 1) says; ``others`` are steps of other traces.

    Of its content: ``answer`` (with that chance another number stands wherever the answer stood), ``digits`` (those of
    the thought, each with that chance another one), ``cues`` (sentences that turn back on the thought are left out). Of
    its structure: steps ``deleted``, ``inserted`` from others, ``shuffled`` among their places.
    """
    return KINDS[kind](strength, told, others, of)


def _answer(strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    if of.random() >= strength:
        return told
    wrong = other_number(told.answer, of)
    stands = re.compile(rf"(?<!\d){re.escape(told.answer)}(?!\d)")
    steps = tuple(stands.sub(wrong, step) for step in told.steps)
    return Told(steps, stands.sub(wrong, told.reply), wrong)


def _digits(strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    def other(found: re.Match[str]) -> str:
        return _other(int(found.group()), 0, 10, of) if of.random() < strength else found.group()

    return replace(told, steps=tuple(_DIGIT.sub(other, step) for step in told.steps))


def _cues(strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    turning = [at for at, step in enumerate(told.steps) if reflects(step)]
    chosen = set(_some(turning, strength, of))
    left = [
        step.strip()[len(first_sentence(step)) :].lstrip() if at in chosen else step
        for at, step in enumerate(told.steps)
    ]
    return replace(told, steps=tuple(step for step in left if step))


def _deleted(strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    gone = set(_some(range(len(told.steps)), strength, of))
    return replace(told, steps=tuple(step for at, step in enumerate(told.steps) if at not in gone))


def _inserted(strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    steps = list(told.steps)
    for _ in range(round(strength * len(told.steps))):
        steps.insert(of.randrange(len(steps) + 1), of.choice(others))
    return replace(told, steps=tuple(steps))


def _shuffled(strength: float, told: Told, others: Sequence[str], of: random.Random) -> Told:
    places = sorted(_some(range(len(told.steps)), strength, of))
    steps = list(told.steps)
    for place, came in zip(places, of.sample(places, len(places)), strict=True):
        steps[place] = told.steps[came]
    return replace(told, steps=tuple(steps))


CONTENT: dict[str, Callable[[float, Told, Sequence[str], random.Random], Told]] = {
    "answer": _answer, "digits": _digits, "cues": _cues,
}  # fmt: skip
STRUCTURE: dict[str, Callable[[float, Told, Sequence[str], random.Random], Told]] = {
    "deleted": _deleted, "inserted": _inserted, "shuffled": _shuffled,
}  # fmt: skip
KINDS = {**CONTENT, **STRUCTURE}


def other_number(number: str, of: random.Random) -> str:
    """Another whole number with the same sign and as many digits.

    >>> other_number("0", random.Random(0)), other_number("-1", random.Random(1)), other_number("35", random.Random(2))
    ('7', '-4', '17')
    """
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    least = 10 ** (len(digits) - 1) if sign or len(digits) > 1 else 0
    return sign + _other(int(digits), least, 10 ** len(digits), of)


def _other(number: int, least: int, most: int, of: random.Random) -> str:
    """A number from ``least`` up to and without ``most`` that is not this one, each with the same chance."""
    found = of.randrange(least, most - 1)
    return str(found + (found >= number))


def _some(of_these: Sequence[int], share: float, of: random.Random) -> list[int]:
    return of.sample(of_these, round(share * len(of_these)))
