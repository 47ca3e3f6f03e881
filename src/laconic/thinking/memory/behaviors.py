"""Behaviours of a handbook in the prompt: what helped before need not be found out again."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field

from laconic.errors import HandbookError
from laconic.models.text import Text
from laconic.policy import Card, knobs
from laconic.thinking.base import Action, Continue, Controller, View
from laconic.thinking.memory.handbook import Behavior, Handbook
from laconic.types import Question, Request

INTRO = "Behaviours that have helped with such problems. Use those that fit:"


@knobs
class Behaviors(Controller):
    """Put the behaviours of a handbook that are most like the question below it, by name and instruction.

    Retrieval is lexical (BM25 over names, topics and instructions); a question that shares no word with any behaviour
    is asked as it is. The file is read again when it has changed.

    Differences: the paper retrieves by topic on one benchmark and by embeddings on another, and lets a model tell which
    problem is of which topic; here ``topics`` are named for a whole run and words decide within them.
    """

    card = Card(
        paper="Metacognitive Reuse: Turning Recurring LLM Reasoning Into Concise Behaviors",
        catalogue=(245,),
        lossless=False,
    )

    files = frozenset({"file"})

    file: Annotated[str, Field(min_length=1)]
    """The handbook, a Markdown file: '## name', then lines of instruction."""
    k: Annotated[int, Field(ge=1)] = 3
    """Most behaviours in the prompt."""
    _: KW_ONLY
    topics: str = ""
    """Only behaviours of these topics, joined by '/', and those without any; empty for all."""
    role: Literal["user", "system"] = "user"
    """Below whose message they stand."""

    def suits(self, target: Any, draft_model: Any) -> None:
        """Refuse a handbook that cannot be read, before a run."""
        self.handbook()

    def handbook(self) -> Handbook:
        """What the file holds now. Raises HandbookError."""
        try:
            seen = os.stat(self.file)
        except OSError as error:
            raise HandbookError(f"cannot read the handbook '{self.file}': {error.strerror}.") from error
        return _load(self.file, seen.st_mtime_ns, seen.st_size)

    def retrieved(self, question: Question) -> list[Behavior]:
        """The behaviours for a question."""
        topics = [topic.strip() for topic in self.topics.split("/") if topic.strip()]
        return self.handbook().retrieve(question.asked(), self.k, topics)

    def prepare(self, question: Question) -> Question:
        """Add the behaviours, if any are like the question."""
        found = self.retrieved(question)
        if not found:
            return question
        lines = [INTRO, *(f"{behavior.name}: {' '.join(behavior.instruction.split())}" for behavior in found)]
        reason = f"behaviours {', '.join(behavior.name for behavior in found)}"
        return question.saying("\n".join(lines), self.name, reason, role=self.role)

    def start(self, request: Request, text: Text) -> None:
        """Nothing to remember."""

    def decide(self, state: None, view: View) -> Action:
        """The prompt has said it all."""
        return Continue()


@lru_cache(maxsize=16)
def _load(file: str, modified: int, size: int) -> Handbook:
    return Handbook.load(file)
