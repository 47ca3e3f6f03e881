"""A budget of thinking tokens, and one of answer tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.budget.capped import Capped, Thought
from laconic.types import Request


@knobs
class Budget(Capped):
    """At most ``tokens`` thinking tokens; then a transition text, the closing tag, and the answer.

    Budget forcing as in s1 (arXiv 2501.19393), with two changes: the thought gets a sentence that hands over to the
    answer instead of a bare cut, and in the last part of the budget (``landing``) it is closed at the end of a step
    rather than in the middle of one. The budget holds exactly, under speculation and in batches. The transition
    text and the answer do not count towards it.

    ``minimum`` is the other half of s1: a thought that would end sooner goes on with ``wait``. s1 counts waits and
    appends them directly; here a length is asked for, and the word begins a line.

    ``answer`` gives the answer a budget of its own, as Elastic Reasoning does at inference (its training is not part of
    this): ``budget:512,answer=128``. A request whose max_new_tokens cannot hold thought, transition and answer is then
    refused. The model does not know of the limit, so an answer that is longer is cut. Words that a model writes before
    its thought count towards it.

    Budgets compose with exits (``budget:512+settled``: whichever is first) and with what moves the model's own end of
    the thought (``budget:512+end-temperature:4``). ``soft-landing:512`` is this budget with another landing.
    """

    card = Card(
        paper="s1: Simple test-time scaling (budget forcing); Elastic Reasoning (separate budgets)",
        catalogue=(270,),
        arxiv="2501.19393",
        lossless=False,
    )

    tokens: Annotated[int, Field(gt=0)]
    """Most thinking tokens, tags included."""
    landing: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Last share of the budget in which the thought closes at the first end of a step."""

    def __post_init__(self) -> None:
        self.check_minimum(self.tokens)

    def start(self, request: Request, text: Text) -> Thought:
        """Refuse a request whose own limit would cut the answer off."""
        self.leave_room(self.tokens, request, text)
        return Thought(text, self.tokens, max(self.tokens * (1 - self.landing), self.minimum))
