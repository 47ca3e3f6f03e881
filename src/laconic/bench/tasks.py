"""What is asked: the bundled task kinds, any data set of reasoning-gym, or a JSONL file of questions and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from laconic.bench import gym, jsonl
from laconic.bench.grading import extract, same
from laconic.errors import MissingExtra, TaskError, did_you_mean


@dataclass(frozen=True, slots=True)
class Item:
    """One problem. ``grade`` judges the final answer found in a reply; None where only speed can be measured."""

    id: str
    kind: str
    question: str
    answer: str
    grade: Callable[[str], bool] | None = field(repr=False, compare=False)
    read: Callable[[str], str] = field(default=extract, repr=False, compare=False)
    """Finds the final answer in a reply."""
    solution: str = field(default="", repr=False, compare=False)
    """How it is solved, in words, where that is known."""

    def judge(self, reply: str) -> bool | None:
        """Whether a model's reply (its text after the thought) ends in the right answer. An empty one never does."""
        return self.judge_answer(self.read(reply))

    def judge_answer(self, given: str) -> bool | None:
        """Whether a bare answer is right, None if nobody knows. An empty one never is."""
        return None if self.grade is None else bool(given) and self.grade(given)


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


class GymTask:
    """Any data set of reasoning-gym, in its default settings and judged by its own verifier: ``gym:word_sorting``."""

    def __init__(self, dataset: str) -> None:
        try:
            from reasoning_gym.factory import DATASETS
        except ImportError as error:
            raise MissingExtra("reasoning-gym", "bench") from error
        if dataset not in DATASETS:
            raise TaskError(
                f"reasoning-gym has no data set called '{dataset}'.", did_you_mean(dataset, sorted(DATASETS))
            )
        self.name = f"gym:{dataset}"
        self._dataset = dataset

    def items(self, n: int, seed: int) -> list[Item]:
        """Problems of the data set; fewer than ``n`` where it repeats itself. Warns of a verifier that takes junk."""
        found = []
        for i, (entry, judge) in enumerate(gym.entries(self._dataset, n, seed)):
            answer = str(entry["answer"])
            read = gym.block if "\n" in answer.strip() else extract
            found.append(Item(f"{self.name}/{i}", self.name, entry["question"], answer, judge, read))
        return found


class JsonlTask:
    """Lines of ``{"question": ..., "answer": ...}``, or an array of such objects, in the order of the file. A ``kind``
    is optional, and so is a ``solution``: how the problem is solved, in words, as a thought would say it.

    A file in which no line has an answer serves to measure speed alone; there a line may also hold ``prompt``, or
    ``turns`` as in Spec-Bench, of which the first is asked. Raises TaskError, with the line's number, for what is
    not of that form; the file is read when the task is made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        entries = list(self._read())
        graded = any("answer" in entry for _, entry in entries)
        self._items = [self._item(entry, at, graded) for at, entry in entries]

    def items(self, n: int, seed: int) -> list[Item]:
        """The first ``n`` lines, whatever the seed."""
        return self._items[:n]

    def _read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        lines = jsonl.lines(self.path, _FORM)
        if not any(line.strip() for line in lines):
            raise TaskError(f"'{self.path}' holds no problems.", _FORM)
        for at, entry in jsonl.objects(lines):
            if isinstance(entry, jsonl.BadLine):
                raise TaskError(f"{self.path}, line {at}: {entry}.", _FORM)
            if entry is not None:
                yield at, entry

    def _item(self, entry: dict[str, Any], at: int, graded: bool) -> Item:
        turns = entry.get("turns")
        first = turns[0] if isinstance(turns, list) and turns else None
        question = self._text(entry.get("question", entry.get("prompt", first)), "question", at)
        kind = str(entry.get("kind", entry.get("category", self.name)))
        if not graded:
            return Item(f"{self.name}/{at}", kind, question, "", None)
        answer = self._text(entry.get("answer"), "answer", at)
        said = entry.get("solution")
        solution = said if isinstance(said, str) else ""  # other files have other things under that name
        return Item(f"{self.name}/{at}", kind, question, answer, partial(same, answer), solution=solution)

    def _text(self, value: Any, name: str, at: int) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
            raise TaskError(f"{self.path}, line {at}: no '{name}', or it is empty.", _FORM)
        return str(value)


_FORM = 'One problem a line: {"question": "...", "answer": "..."}.'


def kinds() -> list[str]:
    """Names of the bundled task kinds."""
    from laconic.models.reasoner.problems import KINDS

    return list(KINDS)


def load(spec: str | None) -> list[Task]:
    """Tasks by name: a comma list of bundled kinds, ``gym:DATASET`` and JSONL files; None is all bundled kinds.

    Raises TaskError for what is none of these, with the nearest known name.
    """
    if spec is None:
        return [BundledTask(kind) for kind in kinds()]
    if Path(spec).is_file():
        return [JsonlTask(spec)]
    names = list(dict.fromkeys(name.strip() for name in spec.split(",") if name.strip()))
    if not names:
        raise TaskError("no task is named.", f"Known: {', '.join(kinds())}.")
    return [_named(name) for name in names]


def _named(name: str) -> Task:
    if name.startswith("gym:"):
        return GymTask(name.removeprefix("gym:"))
    if "/" in name or name.endswith((".jsonl", ".json")) or Path(name).is_file():
        return JsonlTask(name)
    known = kinds()
    if name not in known:
        raise TaskError(
            f"no task is called '{name}'.", did_you_mean(name, known) + " Or gym:DATASET, or the path of a JSONL file."
        )
    return BundledTask(name)


def draw(tasks: Sequence[Task], n: int, seed: int) -> list[Item]:
    """``n`` problems in total, spread evenly over the tasks, which take turns. Raises TaskError unless n > 0."""
    if n <= 0:
        raise TaskError(f"the number of problems must be > 0, not {n}.")
    share = [n // len(tasks) + (i < n % len(tasks)) for i in range(len(tasks))]
    drawn = [task.items(count, seed) for task, count in zip(tasks, share, strict=True) if count]
    return in_turns(drawn)


def in_turns(found: Sequence[Sequence[Item]]) -> list[Item]:
    """All problems of several sources, which take turns."""
    return [items[turn] for turn in range(max(map(len, found))) for items in found if turn < len(items)]
