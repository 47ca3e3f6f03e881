"""Leave out the premises of a deduction that its question does not lead back to."""

from __future__ import annotations

from dataclasses import replace

from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.base import Action, Continue, Controller, View
from laconic.thinking.hint.pruning import pruned
from laconic.types import Question, Request


@knobs
class PremisePruning(Controller):
    """Of a problem of facts and rules ("If A then B"), ask only with the premises that can bear on the question.

    The premises are read as sentences, the chain of rules is followed backward from the question, and what it does not
    reach is left out; what stays can be put into the order of the deduction (COP: concise and organized perception).
    The paper searches forward and backward over premises that a model has paired up; here everything is done on
    the text, by shared words, and in doubt a premise stays: a sentence that cannot be read always
    does. A prompt that is no such problem is left as it is. English only. It needs no thinking phase.
    """

    card = Card(
        paper="Concise and Organized Perception Facilitates Large Language Models for Deductive Reasoning (COP)",
        catalogue=(243,),
        lossless=False,
    )

    reorder: bool = True
    """Whether the premises that stay are ordered from the facts to the rule that settles the question."""

    def prepare(self, question: Question) -> Question:
        """The question without the premises that do not matter to it."""
        asked = question.asked()
        found = pruned(asked, reorder=self.reorder)
        if found is None or found.text == asked:
            return question
        reason = f"kept {found.kept} of {found.premises} premises"
        return _asking(question, found.text).noting(self.name, "prepare", reason)

    def start(self, request: Request, text: Text) -> None:
        """Nothing to remember."""

    def decide(self, state: None, view: View) -> Action:
        """All was done before the request began."""
        return Continue()


def _asking(question: Question, text: str) -> Question:
    """The question with ``text`` as the user's last message."""
    messages = list(question.messages)
    at = max(i for i, message in enumerate(messages) if message.get("role") == "user")
    messages[at] = {**messages[at], "content": text}
    return replace(question, messages=tuple(messages))
