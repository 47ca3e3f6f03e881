"""Minimum Bayes risk: the reply that is most like all the others, also where no answer can be read out."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

from laconic.policy import Card, knobs
from laconic.scaling.base import Attempt, Board, Candidate
from laconic.scaling.groups import alike
from laconic.scaling.vote.base import Vote

_WORD = re.compile(r"\w+|[^\w\s]")


@knobs
class MBR(Vote):
    """The attempt stands whose expected utility is largest, with all others as samples of what might be right.

    Source: minimum Bayes risk decoding (Kumar and Byrne 2004; Eikema and Aziz 2020). Utility between two attempts:
    ``answer``, 1 where their answers are the same, which is self-consistency; or ``words``, the F1 score of the words
    that their replies share, for replies without a short answer.
    """

    card = Card(paper="Minimum Bayes risk decoding (Eikema and Aziz 2020)", lossless=False, arxiv="2005.10283")

    utility: Literal["words", "answer"] = "words"
    """What two replies are worth to each other."""

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """Every reply by itself, the one most like the others first."""
        done = board.done
        texts = {a.number: _words(a) for a in done}
        made = []
        for one in done:
            others = [other for other in done if other is not one] or [one]
            utility = sum(self._utility(one, other, texts) for other in others) / len(others)
            made.append((utility, one))
        made.sort(key=lambda each: (-each[0], each[1].thinking, each[1].number))
        return [Candidate(a.answer or _reply(a), utility, (a.number,)) for utility, a in made if _reply(a)]

    def confidence(self, state: Any, board: Board, candidates: Any) -> float:
        """The utility of the first."""
        return float(candidates[0].weight)

    def _utility(self, one: Attempt, other: Attempt, texts: dict[int, Counter[str]]) -> float:
        if self.utility == "answer":
            return float(bool(one.answer) and alike(one.answer, other.answer))
        return _f1(texts[one.number], texts[other.number])


def _reply(attempt: Attempt) -> str:
    return attempt.result.answer.strip() if attempt.result is not None else ""


def _words(attempt: Attempt) -> Counter[str]:
    return Counter(_WORD.findall(_reply(attempt).casefold()))


def _f1(one: Counter[str], other: Counter[str]) -> float:
    shared = sum((one & other).values())
    return 2 * shared / (one.total() + other.total()) if shared else 0.0
