"""What harm is, prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laconic.bench.tasks import Item
from laconic.config import Kind
from laconic.equality import same
from laconic.errors import TaskError
from laconic.types import Result


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a prompt. ``cut`` says that the loop had to end its thought or its text, e.g. at the limit."""

    right: bool | None
    final: str
    thinking: int
    cut: bool

    @staticmethod
    def of(item: Item, result: Result) -> Answer:
        """A result, judged."""
        cut = result.finish_reason == "length" or any(event.method == "loop" for event in result.events)
        return Answer(item.judge(result.answer), item.read(result.answer), result.usage.thinking, cut)


def kind_of(items: Sequence[Item]) -> Kind:
    """What harm is on these problems. Raises TaskError where only some have answers to judge by."""
    judged = sum(item.grade is not None for item in items)
    if 0 < judged < len(items):
        raise TaskError(
            f"{judged} of {len(items)} problems have an answer to judge by.", "Give all of them one, or none."
        )
    return "right-answers-lost" if judged else "answers-changed"


def at_stake(kind: Kind, free: Answer) -> bool:
    """Whether a prompt could be harmed at all: it is right, or answered, under free thinking."""
    return free.right is True if kind == "right-answers-lost" else bool(free.final)


def harmed(kind: Kind, free: Answer, now: Answer) -> bool:
    """Whether it was; an answer that is lost is harm."""
    if not at_stake(kind, free):
        return False
    return not now.right if kind == "right-answers-lost" else not same(free.final, now.final)


def all_harmed(kind: Kind, free: Sequence[Answer], now: Sequence[Answer]) -> list[int]:
    """Which prompts were, among the first ones that have been asked ``now``."""
    return [i for i, pair in enumerate(zip(free, now, strict=False)) if harmed(kind, *pair)]
