"""The bounded text between calls, and the ways to fill it from drafts that need no model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from laconic.answers import extract, key, stated
from laconic.errors import InvalidKnob
from laconic.thinking.memory.base import Count
from laconic.types import Result

Keep = Literal["start", "end"]
_END = re.compile(r"[.!?:;)}\]*|](?=\s|$)|\n")
"""Where a sentence or a line ends."""
_PIECE = re.compile(r".+?(?:\n+|(?<=[.!?])\s+|$)", re.DOTALL)
"""A sentence or a line, with the space after it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a call wrote. ``concluded`` says that its thought came to an end, ``whole`` that its answer did too.

    ``answer`` is empty unless it is whole, a sentence in which the thought was cut off is left out of ``thinking``, and
    ``tokens`` is the length of all that was written.
    """

    thinking: str
    answer: str
    concluded: bool
    whole: bool
    tokens: int

    @staticmethod
    def of(result: Result) -> Draft:
        """The draft that a result is; an answer that was cut off is none."""
        concluded = bool(result.answer.strip())
        whole = concluded and result.finish_reason == "stop"
        thinking = result.thinking.strip() if concluded else ended(result.thinking)
        return Draft(thinking, result.answer.strip() if whole else "", concluded, whole, result.usage.generated)

    @property
    def text(self) -> str:
        """All of it."""
        return "\n\n".join(part for part in (self.thinking, self.answer) if part)

    @property
    def stated(self) -> str:
        """The bare answer that it ends with, or that its unfinished thought named last; empty if none."""
        return extract(self.answer) if self.answer else stated(self.thinking)


Merge = Callable[[str, Sequence[Draft]], tuple[str, Keep]]
"""Notes so far and new drafts to new notes, and which end of these matters if they are too long."""


class Workspace:
    """A text of at most ``tokens`` tokens: all that one round of reasoning leaves to the next."""

    def __init__(self, tokens: int, merge: Merge, count: Count) -> None:
        if tokens < 1:
            raise InvalidKnob(f"a workspace of {tokens} tokens holds nothing.", "Give it 1 or more.")
        self.tokens = tokens
        self.text = ""
        self._merge = merge
        self._count = count

    def update(self, drafts: Sequence[Draft]) -> str:
        """Take new drafts in, and return the new text."""
        text, keep = self._merge(self.text, drafts)
        self.text = clip(text, self.tokens, self._count, keep)
        return self.text


def ended(text: str) -> str:
    """A text that was cut off, up to its last whole sentence or line; all of it if it has none."""
    ends = [found.end() for found in _END.finditer(text)]
    return text[: ends[-1]].strip() if ends else text.strip()


def clip(text: str, most: int, count: Count, keep: Keep) -> str:
    """As many whole sentences of ``text`` from its start or end as have ``most`` tokens; part of one if none has."""
    text = text.strip()
    if count(text) <= most:
        return text
    kept = _longest(_PIECE.findall(text), most, count, keep)
    return kept or _longest(re.findall(r"\S+\s*", text), most, count, keep) or _longest(list(text), most, count, keep)


def _longest(pieces: Sequence[str], most: int, count: Count, keep: Keep) -> str:
    """The longest run of pieces at that end that fits, by halving. Counts grow with the text, give or take a token."""

    def run(length: int) -> str:
        chosen = pieces[:length] if keep == "start" else pieces[len(pieces) - length :]
        return "".join(chosen).strip()

    low, high = 0, len(pieces)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(run(middle)) <= most else (low, middle - 1)
    while low and count(run(low)) > most:
        low -= 1
    return run(low)


def tail(notes: str, drafts: Sequence[Draft]) -> tuple[str, Keep]:
    """The end of the shortest draft that is whole, or of the shortest; earlier notes are gone.

    With one draft this is much like the state that Delethink carries over between its chunks (arXiv 2510.06557).
    """
    return _best(drafts).text, "end"


def answers(notes: str, drafts: Sequence[Draft]) -> tuple[str, Keep]:
    """Which answers the drafts gave and how often, then the conclusion of the shortest that gave the commonest one.

    Where no draft names an answer, the end of the shortest is kept, below the notes so far.
    """
    named = [draft for draft in drafts if draft.stated]
    if not named:
        return "\n\n".join(part for part in (notes, _conclusion(_best(drafts))) if part), "end"
    counts = Counter(key(draft.stated) for draft in named)
    first = {key(draft.stated): draft.stated for draft in reversed(named)}
    winner, _ = counts.most_common(1)[0]
    if len(drafts) == 1:
        return _conclusion(named[0]), "end"
    tally = "; ".join(f"{first[which]} ({times} of {len(drafts)})" for which, times in counts.most_common())
    best = _best([draft for draft in named if key(draft.stated) == winner])
    return f"Answers so far: {tally}.\n\n{_conclusion(best)}", "start"


def _best(drafts: Sequence[Draft]) -> Draft:
    return min(drafts, key=lambda draft: (not draft.whole, draft.tokens))


def _conclusion(draft: Draft) -> str:
    """The last step of the thought and the answer, or, where there is none, the last step that names one."""
    steps = [step.strip() for step in draft.thinking.split("\n\n")]
    last = next((step for step in reversed(steps) if draft.answer or stated(step)), steps[-1])
    return "\n\n".join(part for part in (last, draft.answer) if part)


MERGES: dict[str, Merge] = {"tail": tail, "answers": answers}
