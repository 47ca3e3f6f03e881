"""Stop thinking once several probes in a row have found the same answer."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from laconic.equality import same
from laconic.policy import Card, Needs, knobs
from laconic.thinking.exit.probed import Asked, ProbedExit

_DOUBT = re.compile(r"\b(?:wait|hold|but|hmm+|however|maybe|alternatively|not\s+sure)\b", re.IGNORECASE)
"""Words of hesitation; inside other words (``threshold``) they are none."""


@knobs
class AnswerAgreement(ProbedExit):
    """At the end of a step, ask what the answer would be now; stop when the last few answers are the same.

    Dynasor's rule for chains of thought: the last answers agree as the grader sees it (``1,200`` and ``1200``), none is
    empty, and none voices doubt in a word of its own ("wait", "but", ...). Its effort levels ask for 2 to 8 equal
    answers and look every 64 tokens (``tokens=64``). It needs no
    probabilities, so it serves any model that can be asked.
    """

    card = Card(
        paper="Efficiently Serving LLM Reasoning Programs with Certaindex (Dynasor)",
        arxiv="2412.20993",
        lossless=False,
        catalogue=(108,),
    )
    needs = Needs(thinking=True)

    agree: Annotated[int, Field(ge=1)] = 3
    """Probes in a row that must find the same answer."""

    def settled(self, asked: Asked) -> str | None:
        """Compare the last answers."""
        last = [look.belief for look in asked.looks[-self.agree :]]
        answer = last[-1].answer
        if len(last) < self.agree or not answer or not all(b.complete and same(answer, b.answer) for b in last):
            return None
        if any(_DOUBT.search(b.answer) for b in last):
            return None
        return f"{self.agree} probes in a row found {answer!r}"
