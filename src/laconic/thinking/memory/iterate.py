"""What reasoners in rounds share: think from the notes, leave new notes, and answer while there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from laconic.errors import RequestError
from laconic.models.text import Message
from laconic.policy import Needs, knobs
from laconic.thinking.memory import words
from laconic.thinking.memory.base import (
    Call,
    Count,
    Generates,
    Prompt,
    Reasoner,
    Round,
    Solved,
    ask,
    context_of,
    counter,
    messages_of,
    require_thinking,
    seeded,
    solved,
)
from laconic.thinking.memory.workspace import MERGES, Draft, Keep, Merge, Workspace, clip, tail
from laconic.types import Limits, Question, Result, Sampling

_FRAME = 96
"""Tokens allowed for the words around notes and drafts, and for what a chat template adds."""


@dataclass(slots=True)
class Run:
    """One question on its way: what was asked with, what has been written, and the notes."""

    engine: Generates
    messages: tuple[Message, ...]
    sampling: Sampling
    limits: Limits
    count: Count
    asked: int
    """Tokens of the question."""
    rounds: list[Round] = field(default_factory=list)
    calls: int = 0
    notes: str = ""

    @property
    def left(self) -> int:
        """Tokens that may still be written one after the other."""
        return self.limits.max_new_tokens - sum(round.sequential for round in self.rounds)


@knobs
class IterReasoner(Reasoner):
    """Rounds of one or more segments side by side; a workspace of bounded size is all that passes between rounds."""

    needs = Needs(thinking=True)
    kind: ClassVar[str] = "segment"
    go_on: ClassVar[str] = words.GO_ON
    """Words that hand the notes to a segment."""
    summarise: ClassVar[str] = words.SUMMARISE
    """Words that ask the model for notes."""

    segment: Annotated[int, Field(ge=1)] = 512
    """Most tokens of a segment, its answer included."""
    rounds: Annotated[int, Field(ge=1)] = 8
    """Most rounds of thinking."""
    workspace: Annotated[int, Field(ge=1)] = 128
    """Most tokens of the notes that one round leaves to the next."""
    merge: Literal["summary", "answers", "tail"] = "summary"
    """Who writes the notes: the model when asked to (summary), or nobody: answers with their counts and the shortest
    conclusion (answers), the end of the last text (tail)."""
    place: Literal["prompt", "thought"] = "prompt"
    """Where the notes stand: below the question, or as the beginning of the model's own thought."""
    answer: Annotated[int, Field(ge=1)] = 128
    """Tokens kept back for an answer from the notes, where the thinking ends in none."""

    def abreast(self, round: int) -> int:
        """Segments side by side in a round."""
        return 1

    def sampled(self, sampling: Sampling, round: int) -> Sampling:
        """How a segment of this round is sampled."""
        return sampling

    def done(self, round: int, drafts: Sequence[Draft]) -> bool:
        """Whether the first draft of this round is the answer."""
        raise NotImplementedError

    def enough(self, drafts: Sequence[Draft]) -> bool:
        """Whether an answer from the notes is all that these drafts leave to do."""
        return False

    def solve(
        self, question: Prompt, engine: Generates, *, sampling: Sampling | None = None, limits: Limits | None = None
    ) -> Solved:
        """Think in rounds, then answer; see :class:`Reasoner`."""
        run = self._start(question, engine, sampling or Sampling(), limits or Limits())
        workspace = Workspace(self.workspace, self._merge(run), run.count)
        for round in range(self.rounds):
            results = self._think(run, round)
            drafts = [Draft.of(result) for result in results]
            if self.done(round, drafts):
                return solved(run.rounds, results[0])
            run.notes = workspace.update(drafts)
            run.rounds[-1] = replace(run.rounds[-1], notes=run.notes)
            if self.enough(drafts) or run.left < self._needed():
                break
        return solved(run.rounds, self._answer(run))

    def _start(self, question: Prompt, engine: Generates, sampling: Sampling, limits: Limits) -> Run:
        """Refuse what cannot be served, before any work."""
        require_thinking(self.name, engine)
        if limits.max_new_tokens < self._needed():
            notes = f", notes of {self.workspace}" if self.merge == "summary" else ""
            raise RequestError(
                f"max_new_tokens={limits.max_new_tokens} is too small for a segment of {self.segment} tokens"
                f"{notes} and an answer of {self.answer}.",
                "Raise max_new_tokens, or lower the knobs segment, workspace and answer.",
            )
        count, messages = counter(engine), messages_of(question)
        asked = sum(count(str(message.get("content", ""))) for message in messages)
        context = context_of(engine)
        most = asked + _FRAME + self.workspace + max(self.segment, self.answer)
        if context is not None and most > context:
            raise RequestError(
                f"a question of {asked} tokens, notes of {self.workspace} and a segment of {self.segment} "
                f"do not fit into the model's context of {context}.",
                "Lower the knobs workspace or segment.",
            )
        return Run(engine, messages, sampling, limits, count, asked)

    def _needed(self) -> int:
        """Tokens that a round, its notes and an answer from them may take; no round is begun with fewer left."""
        return self.segment + self.answer + (self.workspace if self.merge == "summary" else 0)

    def _merge(self, run: Run) -> Merge:
        return MERGES[self.merge] if self.merge != "summary" else lambda notes, drafts: self._summary(run, drafts)

    def _think(self, run: Run, round: int) -> tuple[Result, ...]:
        messages, opening = self._with_notes(run, self.go_on)
        # A segment that is cut off is no lost answer: the next one goes on, or the answer follows.
        limits = replace(run.limits, max_new_tokens=self.segment, answer_room=0)
        calls = [
            Call(messages, self.sampled(seeded(run.sampling, run.calls + i), round), limits, opening=opening)
            for i in range(self.abreast(round))
        ]
        return self._ask(run, self.kind, calls)

    def _answer(self, run: Run) -> Result:
        """An answer from the notes, with no more thinking."""
        messages, opening = self._with_notes(run, words.ANSWER)
        if opening:
            opening += f"{run.engine.text.format.ending}"  # type: ignore[attr-defined]
        limits = replace(run.limits, max_new_tokens=self.answer)
        call = Call(messages, seeded(run.sampling, run.calls), limits, bool(opening), opening)
        return self._ask(run, "answer", [call])[0]

    def _with_notes(self, run: Run, say: str) -> tuple[tuple[Message, ...], str]:
        """The question with the notes in their place: as messages, and as an opening of the thought."""
        if not run.notes:
            return run.messages, ""
        if self.place == "thought":
            return run.messages, run.notes + "\n\n"
        return self._saying(run, say.format(notes=run.notes)), ""

    def _saying(self, run: Run, text: str) -> tuple[Message, ...]:
        return Question(run.messages).saying(text, self.name, "notes").messages

    def _summary(self, run: Run, drafts: Sequence[Draft]) -> tuple[str, Keep]:
        """The model's own notes on drafts. Where it writes none, their end has to do."""
        earlier = words.EARLIER.format(notes=run.notes) if run.notes else ""
        texts = self._readable(run, drafts)
        if len(texts) > 1:
            texts = [words.ONE_OF_SEVERAL.format(number=i + 1, text=text) for i, text in enumerate(texts)]
        say = self.summarise.format(notes=earlier, drafts="\n\n".join(texts), tokens=self.workspace)
        limits = Limits(self.workspace)
        call = Call(self._saying(run, say), seeded(run.sampling, run.calls), limits, thinking=False)
        (result,) = self._ask(run, "merge", [call])
        found = result.answer.strip()
        return (found, "start") if found else tail(run.notes, drafts)

    def _readable(self, run: Run, drafts: Sequence[Draft]) -> list[str]:
        """The drafts' texts, each cut to its share of the context, from the front."""
        texts = [draft.text for draft in drafts]
        context = context_of(run.engine)
        if context is None:
            return texts
        share = (context - run.asked - 2 * self.workspace - 2 * _FRAME) // len(texts)
        return [clip(text, max(share, 1), run.count, "end") for text in texts]

    def _ask(self, run: Run, kind: str, calls: Sequence[Call]) -> tuple[Result, ...]:
        results = ask(self.name, run.engine, calls)
        run.calls += len(calls)
        run.rounds.append(Round(kind, results, run.notes))
        return results
