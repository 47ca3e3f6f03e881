"""Answer without a thought."""

from __future__ import annotations

from dataclasses import replace

from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Conclude, View
from laconic.thinking.route.base import Before
from laconic.types import Question


@knobs
class NoThinking(Before):
    """Switch thinking off: by the chat template's switch, or by an empty thought where it has none.

    Source: "Reasoning Models Can Be Effective Without Thinking" writes a thought that says it is over into the prompt;
    here it is empty, as the templates of hybrid models have it. Where a thought begins all the same (a template whose
    switch is no more than a request, a prompt of bare tokens), it is closed after its first token.
    """

    card = Card(
        paper="Reasoning Models Can Be Effective Without Thinking (NoThinking)", arxiv="2504.09858", lossless=False
    )
    needs = Needs(thinking=True)

    def prepare(self, question: Question) -> Question:
        """The question without a thought."""
        return replace(question, thinking=False).noting(self.name, "prepare", "thinking is switched off")

    def limit(self, state: None) -> int:
        """A thought is over once it has begun."""
        return 1

    def decide(self, state: None, view: View) -> Action:
        """Close what should not have been opened."""
        return Conclude("thinking is switched off")
