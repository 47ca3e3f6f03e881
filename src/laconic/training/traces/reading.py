"""Recorded traces out of files, problem by problem.

Files are read twice and never held: first to see what there is, then to use it. Traces of one problem that do not stand
together in a file are waited for, so memory holds one problem where they do.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from laconic.answers import bare, number
from laconic.bench.jsonl import BadLine
from laconic.bench.replay.chat import Unusable
from laconic.bench.replay.fields import Fields
from laconic.bench.replay.records import entries, recordings
from laconic.bench.replay.statements import final_answer
from laconic.equality import same
from laconic.errors import TraceError
from laconic.thinking.statements import leading_number
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import Look, Problem, Trace, parts

Key = bytes


@dataclass(frozen=True, slots=True)
class Written:
    """A reply as a record brings it: text, or tokens of the model and recorded probes as laconic records attempts."""

    problem: Problem
    id: str
    where: str
    label: str
    text: str = ""
    tokens: tuple[int, ...] = ()
    glances: tuple[Mapping[str, Any], ...] = ()
    cut: bool = False
    """Whether the record says that a limit cut it off."""

    @property
    def key(self) -> Key:
        """What traces of one problem share: all that was asked, as it was asked."""
        said = json.dumps([[m.get("role"), m.get("content")] for m in self.problem.messages])
        return hashlib.blake2b(said.encode(), digest_size=16).digest()


@dataclass(slots=True)
class Survey:
    """What files hold: traces by problem and label, and what is no trace, counted by its reason."""

    traces: Counter[Key] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    answers: dict[Key, str] = field(default_factory=dict)
    looks: int = 0
    unusable: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Source:
    """Files with their labels; the main recording's is empty."""

    files: tuple[tuple[str, str], ...]
    fields: Fields = field(default_factory=Fields)

    def written(self) -> Iterator[Written | str]:
        """Every reply, and for what is none the reason. Raises TaskError for a file that cannot be read."""
        for label, path in self.files:
            for at, entry in entries(path):
                if entry is None:
                    continue
                try:
                    if isinstance(entry, BadLine):
                        raise Unusable(str(entry))
                    for each in self._of(entry, path, at, label):
                        yield replace(each, id=f"{label}:{each.id}") if label and isinstance(each, Written) else each
                except Unusable as error:
                    yield str(error)

    def _of(self, entry: dict[str, Any], path: str, at: int, label: str) -> Iterator[Written | str]:
        where = f"{Path(path).name}:{at}"
        attempts = entry.get("attempts")
        if isinstance(attempts, list) and isinstance(entry.get("question"), str):
            yield from _attempts(entry, attempts, where, label)
            return
        for recording in recordings(entry, at, Path(path).stem, self.fields):
            if not recording.messages:
                yield "a conversation of several turns"
                continue
            problem = Problem(recording.id.partition("#")[0], recording.messages, recording.answer)
            yield Written(problem, recording.id, where, label, recording.turns[-1].written)

    def survey(self) -> Survey:
        """What there is. Raises TraceError where one question has two answers that are not the same."""
        found = Survey()
        for each in self.written():
            if isinstance(each, str):
                found.unusable[each] += 1
                continue
            key, answer = each.key, each.problem.answer
            found.traces[key] += 1
            found.labels[each.label] += 1
            found.looks += len(each.glances)
            if answer is not None and not same(found.answers.setdefault(key, answer), answer):
                raise TraceError(
                    f"{each.where} says that the answer is '{answer}'; an earlier record of that question says "
                    f"'{found.answers[key]}'.",
                    "Leave one of them out.",
                )
        return found

    def problems(
        self, survey: Survey, renderer: Renderer, drops: Counter[str]
    ) -> Iterator[tuple[Problem, list[Trace]]]:
        """Each problem with all of its traces, in the order in which they are complete.

        Replies that were cut off are counted in ``drops`` and left out, as are all of a problem's where none is left.
        """
        waiting: dict[Key, tuple[Problem, list[Trace], int]] = {}
        for each in self.written():
            if isinstance(each, str):
                continue
            key = each.key
            problem, traces, seen = waiting.pop(key, (replace(each.problem, answer=survey.answers.get(key)), [], 0))
            trace = read(each, problem, renderer)
            if trace is None:
                drops["it was cut off"] += 1
            else:
                traces.append(trace)
            if seen + 1 < survey.traces[key]:
                waiting[key] = problem, traces, seen + 1
            elif traces:
                yield problem, traces


def read(written: Written, problem: Problem, renderer: Renderer) -> Trace | None:
    """The trace of a reply; None where it was cut off."""
    if written.cut:
        return None
    text = renderer.text
    tokens = [token for token in written.tokens if token not in text.eos]
    whole = text.decode(tokens) if written.tokens else written.text
    found = parts(whole, text.format, renderer.ends)
    if found is None:
        return None
    thought, reply = found
    answer = final_answer(reply, problem.answer)
    begins = max(whole.find(thought), 0)
    looks = tuple(
        Look(
            len(text.decode(tokens[: int(glance["tokens"])])) - begins,
            str(glance["answer"]) if glance["complete"] else "",
        )
        for glance in written.glances
    )
    return Trace(
        written.id,
        thought,
        reply,
        renderer.tokens(renderer.completion(problem.messages, thought, reply)),
        answer,
        judged(problem.answer, answer),
        written.label,
        written.where,
        looks,
    )


def judged(right: str | None, answer: str) -> bool | None:
    """Whether an answer that was read from a reply is right; None where nobody knows.

    So it is where there is no right answer, none was read, or it is a sentence that may well say the right one. A
    right reply taken for a wrong one would teach the opposite.

    >>> judged("5", "5.0"), judged("5", "6"), judged("5", "Sandra needs 5 visits")
    (True, False, None)
    """
    if right is None or not answer:
        return None
    if same(right, answer):
        return True
    if leading_number(right) is not None:
        return False if number(answer) is not None or leading_number(answer) is not None else None
    return None if bare(right).casefold() in answer.casefold() else False


def _attempts(entry: dict[str, Any], attempts: Sequence[Any], where: str, label: str) -> Iterator[Written | str]:
    """laconic's own recording of attempts at a question (laconic.bench.attempts.recording)."""
    name, right = str(entry.get("id", where)), entry.get("right")
    messages = ({"role": "user", "content": entry["question"]},)
    problem = Problem(name, messages, None if right is None else str(right))
    for at, attempt in enumerate(attempts):
        tokens = attempt.get("tokens") if isinstance(attempt, dict) else None
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, int) for token in tokens):
            yield "an attempt without tokens"
            continue
        id = f"{name}#{at}" if at else name
        glances, cut = tuple(attempt.get("glances") or ()), attempt.get("finish", "stop") != "stop"
        yield Written(problem, id, where, label, "", tuple(tokens), glances, cut)
