"""Votes in which the model itself reads all attempts and says which answer they agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from laconic.answers import extract
from laconic.models.text import Message
from laconic.policy import Card, knobs
from laconic.scaling.base import Ask, Board, Candidate
from laconic.scaling.groups import alike
from laconic.scaling.vote.base import Vote

_NUMBER = re.compile(r"\d+")


@knobs
class _Asked(Vote):
    """All attempts are written, then shown to the model, which is asked once more."""

    tokens: Annotated[int, Field(ge=1)] = 64
    """Most tokens of its reply."""
    shown: Annotated[int, Field(ge=1)] = 2000
    """Most characters of each reply that are shown, from its end."""

    def _listing(self, board: Board) -> tuple[list[int], str]:
        """Attempts that have ended, by number, and what they replied."""
        numbers, parts = [], []
        for attempt in sorted(board.done, key=lambda a: a.number):
            assert attempt.result is not None
            numbers.append(attempt.number)
            parts.append(f"Response {len(numbers)}:\n{attempt.result.answer.strip()[-self.shown :]}")
        return numbers, "\n\n".join(parts)

    def _messages(self, board: Board, listing: str, task: str) -> tuple[Message, ...]:
        question = next((str(m["content"]) for m in reversed(board.messages) if m.get("role") == "user"), "")
        return ({"role": "user", "content": f"Question:\n{question}\n\n{listing}\n\n{task}"},)


@knobs
class SelfAgreement(_Asked):
    """The model reads all attempts and states the answer that most of them agree on.

    Source: Ask One More Time: Self-Agreement Improves Reasoning of Language Models (Lin et al. 2024). Nothing has to be
    read out of the attempts, so answers may be free text. An answer that it states and that attempts gave comes first;
    one that nobody gave does not count, and then the vote stands.
    """

    card = Card(paper="Ask One More Time: Self-Agreement", lossless=False, catalogue=(157,))

    def last(self, state: Any, board: Board, candidates: Sequence[Candidate], ask: Ask) -> Sequence[Candidate]:
        """What the model says they agree on."""
        if len(candidates) < 2:
            return candidates
        _, listing = self._listing(board)
        task = "State the one answer that most of these responses agree on. Begin with: The answer is"
        said = extract(ask(self._messages(board, listing, task), self.tokens).answer)
        return sorted(candidates, key=lambda candidate: not (said and alike(candidate.answer, said)))


@knobs
class USC(_Asked):
    """The model reads all attempts and picks the one that is most consistent with the others.

    Source: Universal Self-Consistency for Large Language Model Generation (Chen et al. 2023). It names an attempt, not
    an answer. Where it names none that is there, the vote stands.
    """

    card = Card(paper="Universal Self-Consistency (Chen et al. 2023)", lossless=False, arxiv="2311.17311")

    def last(self, state: Any, board: Board, candidates: Sequence[Candidate], ask: Ask) -> Sequence[Candidate]:
        """The candidate of the attempt that the model picks."""
        if len(candidates) < 2:
            return candidates
        numbers, listing = self._listing(board)
        task = "Which of these responses agrees best with all the others? Reply with its number alone."
        said = _NUMBER.search(ask(self._messages(board, listing, task), self.tokens).answer)
        at = int(said.group()[:6]) if said else 0
        picked = numbers[at - 1] if 1 <= at <= len(numbers) else -1
        return sorted(candidates, key=lambda candidate: picked not in candidate.numbers)
