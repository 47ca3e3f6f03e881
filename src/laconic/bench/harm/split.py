"""Prompts that choose a setting, and prompts that are shown; no prompt is ever both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.bench.harm import SHOWN
from laconic.bench.tasks import Item


@dataclass(frozen=True, slots=True)
class Split:
    """Problems by what they serve for. ``repeated`` of them asked what another one asks, and were left out."""

    calibration: list[Item]
    shown: list[Item]
    repeated: int


def split(items: Sequence[Item]) -> Split:
    """Each question's side is a function of its words alone: the same in every run, beside whatever other prompts.

    Of questions that are alike but for spaces the first is kept: the tests need independent prompts, which copies are
    not.
    """
    sides: tuple[dict[str, Item], dict[str, Item]] = ({}, {})
    for item in items:
        asked = " ".join(item.question.split())
        sides[_is_shown(asked)].setdefault(asked, item)
    calibration, shown = (list(side.values()) for side in sides)
    return Split(calibration, shown, len(items) - len(calibration) - len(shown))


def _is_shown(question: str) -> bool:
    digest = hashlib.sha256(f"shown? {question}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < SHOWN * 2**64


def fingerprint(items: Sequence[Item]) -> str:
    """SHA-256 of the questions and their right answers, in hexadecimal digits, whatever their order."""
    lines = sorted(json.dumps([item.question, item.answer], ensure_ascii=False) for item in items)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
