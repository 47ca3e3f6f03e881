"""What is asked: the bundled task kinds, or a JSONL file of questions and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from laconic.bench.grading import extract, same
from laconic.errors import MissingExtra, TaskError, did_you_mean


@dataclass(frozen=True, slots=True)
class Item:
    """One problem. ``grade`` judges the final answer that was found in a reply."""

    id: str
    kind: str
    question: str
    answer: str
    grade: Callable[[str], bool] = field(repr=False, compare=False)

    def judge(self, reply: str) -> bool:
        """Whether a model's reply (its text after the thought) ends in the right answer. An empty one never does."""
        return self.judge_answer(extract(reply))

    def judge_answer(self, given: str) -> bool:
        """Whether a bare answer is right. An empty one never is."""
        return bool(given) and self.grade(given)


class Task(Protocol):
    """A source of problems of one kind."""

    name: str

    def items(self, n: int, seed: int) -> list[Item]:
        """``n`` problems, all different and the same for the same seed; fewer if the task has no more."""
        ...


class BundledTask:
    """A task kind of the bundled reasoner; only problems that it was never trained on."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def items(self, n: int, seed: int) -> list[Item]:
        """Held-out problems. Raises MissingExtra without reasoning-gym, TaskError if there are not enough."""
        from laconic.models.reasoner import problems as bundled

        try:
            found = bundled.problems(self.name, n, seed, held_out=True)
        except ImportError as error:
            raise MissingExtra("reasoning-gym", "bench") from error
        except ValueError as error:
            raise TaskError(f"{str(error).capitalize()}.", "Ask for fewer with --n.") from error
        return [
            Item(f"{self.name}/{i}", self.name, problem.question, problem.answer, partial(bundled.score, problem))
            for i, problem in enumerate(found)
        ]


class JsonlTask:
    """Lines of ``{"question": ..., "answer": ...}``, taken in the order of the file. A ``kind`` is optional.

    Raises TaskError, with the line's number, for what is not of that form; the file is read when the task is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._items = list(self._read())

    def items(self, n: int, seed: int) -> list[Item]:
        """The first ``n`` lines, whatever the seed."""
        return self._items[:n]

    def _read(self) -> list[Item]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise TaskError(f"cannot read '{self.path}': {reason}.", _FORM) from error
        items = [self._item(line, at) for at, line in enumerate(lines, start=1) if line.strip()]
        if not items:
            raise TaskError(f"'{self.path}' holds no problems.", _FORM)
        return items

    def _item(self, line: str, at: int) -> Item:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{self.path}, line {at}: not JSON ({error.msg}).", _FORM) from error
        if not isinstance(entry, dict):
            raise TaskError(f"{self.path}, line {at}: not an object.", _FORM)
        texts = {}
        for name in ("question", "answer"):
            value = entry.get(name)
            if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
                raise TaskError(f"{self.path}, line {at}: no '{name}', or it is empty.", _FORM)
            texts[name] = str(value)
        kind = str(entry.get("kind", self.name))
        return Item(f"{self.name}/{at}", kind, texts["question"], texts["answer"], partial(same, texts["answer"]))


_FORM = 'One problem a line: {"question": "...", "answer": "..."}.'


def kinds() -> list[str]:
    """Names of the bundled task kinds."""
    from laconic.models.reasoner.problems import KINDS

    return list(KINDS)


def load(spec: str | None) -> list[Task]:
    """Tasks by name: a comma list of bundled kinds, a path to a JSONL file, or None for all bundled kinds.

    Raises TaskError for what is neither, with the nearest known name.
    """
    if spec is None:
        return [BundledTask(kind) for kind in kinds()]
    if "/" in spec or spec.endswith((".jsonl", ".json")) or Path(spec).is_file():
        return [JsonlTask(spec)]
    names = list(dict.fromkeys(name.strip() for name in spec.split(",") if name.strip()))
    known = kinds()
    if not names:
        raise TaskError("no task is named.", f"Known: {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise TaskError(f"no task is called '{name}'.", did_you_mean(name, known) + " Or the path of a JSONL file.")
    return [BundledTask(name) for name in names]


def draw(tasks: Sequence[Task], n: int, seed: int) -> list[Item]:
    """``n`` problems in total, spread evenly over the tasks, which take turns. Raises TaskError unless n > 0."""
    if n <= 0:
        raise TaskError(f"the number of problems must be > 0, not {n}.")
    share = [n // len(tasks) + (i < n % len(tasks)) for i in range(len(tasks))]
    drawn = [task.items(count, seed) for task, count in zip(tasks, share, strict=True) if count]
    return [items[turn] for turn in range(max(map(len, drawn))) for items in drawn if turn < len(items)]
