"""What happens in a run, step by step: its log, and whether it has collapsed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laconic.intervals import wilson
from laconic.training.group import Group
from laconic.training.run.folder import write
from laconic.training.run.recipe import Stop


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How a model did on the held-out problems: of ``n`` problems ``right``, tokens a problem."""

    step: int
    n: int
    right: int
    thinking: float
    tokens: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for the log, with the share that is right and its 95 % interval."""
        return {
            "evaluation": self.step,
            "n": self.n,
            "right": self.right / self.n,
            "interval": list(wilson(self.right, self.n)),
            "thinking": self.thinking,
            "tokens": self.tokens,
        }


def rollouts(groups: Sequence[Group]) -> dict[str, float]:
    """Of a step's rollouts: shares that are right, readable and cut off, and mean tokens of thought and all; and of
    hints where there are some."""
    every = [rollout for group in groups for rollout in group.rollouts]
    n = len(every)
    told = [each.hint for each in every if each.hint is not None]
    hints = {"hint": sum(told) / n} if told else {}
    return hints | {
        "right": sum(bool(each.right) for each in every) / n,
        "formatted": sum(each.formatted for each in every) / n,
        "truncated": sum(each.truncated for each in every) / n,
        "thinking": sum(each.thought or 0 for each in every) / n,
        "tokens": sum(each.tokens for each in every) / n,
    }


def note(step: int, text: str) -> dict[str, Any]:
    """A row of the log for people."""
    return {"note": text, "at": step}


def _when(row: dict[str, Any]) -> int:
    """The step that a row belongs to."""
    return int(next(row[key] for key in ("step", "evaluation", "at") if key in row))


@dataclass
class Log:
    """The file ``log.jsonl`` of a run: a line for each step, and one for each evaluation."""

    path: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    shown: Callable[[dict[str, Any]], None] = lambda row: None
    """Called with each new row."""

    @staticmethod
    def resumed(path: Path, step: int, **options: Any) -> Log:
        """The log as it was at a step; later lines, of steps that will be made again, are taken out of the file."""
        log = Log(path, **options)
        if path.exists():
            lines = path.read_text("utf-8").split("\n")[:-1]  # what follows the last line feed was cut off
            log.rows = [
                row for row in map(json.loads, lines) if row.get("step", row.get("evaluation", row.get("at"))) <= step
            ]
        write(path, "".join(json.dumps(row) + "\n" for row in log.rows))
        return log

    def add(self, row: dict[str, Any]) -> None:
        """Write a row and show it."""
        row = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.shown(row)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Rows of steps."""
        return [row for row in self.rows if "step" in row]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Rows of evaluations."""
        return [row for row in self.rows if "evaluation" in row]


def collapse(steps: Sequence[dict[str, Any]], stop: Stop) -> str | None:
    """Why a run has collapsed, by its steps so far; None where it has not, or where nobody can know yet.

    What was at first is the mean of the first window, or the first step alone where that is more: a run may collapse
    within a window.
    """
    if steps and not all(math.isfinite(steps[-1].get(name) or 0.0) for name in ("loss", "grad_norm")):
        return f"loss or gradient is no finite number at step {steps[-1]['step']}; the rate is too high"
    if len(steps) <= stop.window:
        return None
    first, last = steps[: stop.window], steps[-stop.window :]
    for key, most, what in (("right", stop.accuracy, "right"), ("formatted", stop.format, "with a readable answer")):
        if key not in last[-1]:
            continue
        then, now = (sum(row[key] for row in rows) / len(rows) for rows in (first, last))
        then = max(then, steps[0][key])
        if then - now > most:
            return (
                f"the share of rollouts {what} fell from {then:.2f} at first to {now:.2f} in the last {stop.window}"
                f" steps, by step {last[-1]['step']}"
            )
    return None


def worse(evaluations: Sequence[dict[str, Any]], stop: Stop) -> str | None:
    """Why a run has made its model worse, by its first and last evaluation; None where their intervals overlap."""
    if len(evaluations) < 2:
        return None
    first, last = evaluations[0], evaluations[-1]
    if first["right"] - last["right"] <= stop.accuracy or last["interval"][1] >= first["interval"][0]:
        return None
    return (
        f"the share of held-out problems that are right fell from {first['right']:.2f} to {last['right']:.2f} of"
        f" {last['n']}"
    )
