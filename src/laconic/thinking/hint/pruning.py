"""Which premises of a prompt its question leads back to, and the prompt without the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from laconic.thinking.hint.premises import Premise, read, stems

_SENTENCE = re.compile(
    r"(?P<mark>(?:^[ \t]*(?:[-*\u2022]|\d+[.)])[ \t]+)?)(?P<said>[^\s.?!][^.?!\n]*[.?!]*)(?P<gap>\s*)", re.MULTILINE
)
_QUESTION = re.compile(
    r"\?$|^(?:question|query|prove|claim|conclusion|hypothesis|statement)\b.*:|\btrue or false\b|"
    r"\bfollowing (?:statement|claim|conclusion)\b",
    re.IGNORECASE,
)
_ANYBODY = re.compile(
    r"\b(?:who|whom|what|which|how many|(?:some|any|every)(?:one|body|thing)|all|each)\b", re.IGNORECASE
)
_UNREAD = 0.2
"""Largest share of sentences before the question that cannot be read, for a text to count as premises."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A prompt with ``kept`` of its ``premises``."""

    text: str
    kept: int
    premises: int


def pruned(prompt: str, *, reorder: bool = True) -> Pruned | None:
    """The prompt with the premises that its question leads back to; None if it is no problem of facts and rules.

    The question is the first sentence that looks like one, and all after it. With ``reorder`` the premises that
    stay are put into the order of the deduction, which ends at the question; otherwise they stay in theirs.
    """
    found = list(_SENTENCE.finditer(prompt))
    start = next((i for i, sentence in enumerate(found) if _QUESTION.search(sentence["said"].strip())), None)
    if start is None:
        return None
    said = [read(sentence["said"]) for sentence in found[:start]]
    premises = {i: premise for i, premise in enumerate(said) if premise is not None}
    facts = sum(not premise.body for premise in premises.values())
    if not 0 < facts < len(premises) or len(said) - len(premises) > _UNREAD * len(said):
        return None
    asked = prompt[found[start].start() :]
    if re.search(r"\d", asked):  # to be reckoned, not deduced
        return None
    unread = " ".join(found[i]["said"] for i in range(start) if i not in premises)
    levels = reached(premises, f"{asked} {unread}", anybody=bool(_ANYBODY.search(asked)))
    if not levels:
        return None
    order = sorted(levels, key=lambda i: (-levels[i], bool(premises[i].body), i) if reorder else (i,))
    return Pruned(_put_together(prompt, found, list(premises), order), len(order), len(premises))


def reached(premises: dict[int, Premise], asked: str, *, anybody: bool = False) -> dict[int, int]:
    """How many rules lie between the question and each premise that can bear on it, by backward search.

    ``anybody`` says that the question is of nobody in particular, so that facts about all count.
    """
    wanted = names = stems(asked)
    facts = [premise for premise in premises.values() if not premise.body]
    anybody = anybody or not any(names & fact.names for fact in facts)
    levels: dict[int, int] = {}
    level = 0
    while True:
        new = [
            i
            for i, premise in premises.items()
            if i not in levels
            and premise.concludes & wanted
            and (premise.body or anybody or premise.names & names)
        ]  # fmt: skip
        if not new:
            return levels
        for i in new:
            levels[i] = level
            wanted, names = wanted | premises[i].asks, names | premises[i].names
            anybody = anybody or premises[i].loose
        level += 1


def _put_together(prompt: str, found: Sequence[re.Match[str]], premises: Sequence[int], order: Sequence[int]) -> str:
    """The prompt with the premises ``order`` in the first places of all ``premises``, and the other places closed."""
    written, last = "", 0
    filling = dict(zip(premises, order, strict=False))
    for place in premises:
        sentence = found[place]
        written += prompt[last : sentence.start()]
        if place in filling:
            written += sentence["mark"] + found[filling[place]]["said"] + sentence["gap"]
        elif sentence["gap"].count("\n") > len(written) - len(written.rstrip()):  # a paragraph still ends here
            written = written.rstrip() + sentence["gap"]
        last = sentence.end()
    return written + prompt[last:]
