"""Habits of a thought, read from its text alone: results it states, its steps, its re-checks and what they repeat."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_NUMBER = r"(-?\d+)(?!\d)"
_STATED = re.compile(
    "|".join(
        phrase.replace("#", _NUMBER)
        for phrase in (
            "answer (?:is|should be|with) #", "the answer #", "result is #", "This way it is #", "So # now and",
            "Compare # with", "[Tt]his gives # again", "this gives #, but before", "[Tt]hat is # again",
            "Again #, the same", "comes to #", "that is # and not", "must be #", "This is # as in",
            "So # (?:is|was) right",
        )
    )
)  # fmt: skip
_CUE = re.compile(
    r"Wait\b|Hmm\b|But let me|Let me (?:check|verify|work it|go slowly|look at it)|One more check|Just to be safe|"
    r"I need to do this carefully|I should (?:check|make sure)"
)


@dataclass(frozen=True)
class Stated:
    """A result that a thought states for the whole problem, and where in the text the statement ends."""

    end_char: int
    value: int


def stated_results(thought: str) -> list[Stated]:
    """Where a thought states a result for the whole problem, in order."""
    return [
        Stated(found.end(), next(int(group) for group in found.groups() if group))
        for found in _STATED.finditer(thought)
    ]


def steps(thought: str) -> list[str]:
    """The paragraphs of a thought."""
    return [step for step in thought.strip().split("\n\n") if step.strip()]


def share_after_first_right(thought: str, answer: int, count: Callable[[str], int]) -> float:
    """The share of a thought's tokens that come after its first right statement; 0 where there is none.

    `count` gives the number of tokens of a text.
    """
    right = [stated.end_char for stated in stated_results(thought) if stated.value == answer]
    total = count(thought)
    return count(thought[right[0] :]) / total if right and total else 0.0


def rechecks(thought: str) -> list[str]:
    """The parts of a thought that check again: each from a step that opens with a cue word to the next such step."""
    parts: list[list[str]] = []
    stated = False
    for step in steps(thought):
        if stated and _CUE.match(step):
            parts.append([step])
        elif parts:
            parts[-1].append(step)
        stated = stated or bool(_STATED.search(step))
    return ["\n\n".join(part) for part in parts]


def copied_share(recheck: str, derivation: str, n: int = 4) -> float:
    """How much of the calculation in a re-check repeats the first derivation: the share of its n-grams found there.

    Only numbers and signs are compared, so that the same sum in other words still counts as copied.
    """
    grams = _grams(recheck, n)
    return sum(gram in _grams(derivation, n) for gram in grams) / len(grams) if grams else 0.0


def is_verbatim(recheck: str, thought: str) -> bool:
    """Whether more than half of a re-check repeats what came before the first stated result."""
    first = stated_results(thought)
    return bool(first) and copied_share(recheck, thought[: first[0].end_char]) > 0.5


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    marks = re.findall(r"\d+|[-+*/=]", text)
    return [tuple(marks[at : at + n]) for at in range(len(marks) - n + 1)]
