"""What controllers share that only add words to the question."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Literal

from laconic.models.text import Text
from laconic.policy import knobs
from laconic.thinking.base import Action, Continue, Controller, View
from laconic.types import Question, Request


@knobs
class Wording(Controller):
    """Adds :meth:`sentence` to what is asked. It needs no thinking phase, and nothing of the model.

    Requests that were made of tokens rather than of a question stay as they are.
    """

    _: KW_ONLY
    role: Literal["user", "system"] = "user"
    """Whose words they are: below the user's last message, or below the system's."""

    def sentence(self) -> str:
        """What is added."""
        raise NotImplementedError

    def prepare(self, question: Question) -> Question:
        """The question with the words below it."""
        return question.saying(self.sentence(), self.name, f"asked to be brief: {self.sentence()!r}", role=self.role)

    def start(self, request: Request, text: Text) -> None:
        """Nothing to remember."""

    def decide(self, state: None, view: View) -> Action:
        """All was said before the request began."""
        return Continue()
