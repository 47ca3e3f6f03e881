"""The folder of a run: its recipe, its log, checkpoints to resume from, and the model at the end."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from laconic.errors import RecipeError
from laconic.training.run.recipe import Recipe, changed

_LOCKS: dict[Path, int] = {}
"""Files that this process holds locked, by the folders they are in."""
_COMPLETE = "complete"
"""The file that is written last into a checkpoint."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a run writes: ``recipe.json``, ``log.jsonl``, ``report.html``, ``checkpoints/``, ``model/``."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe with every default in it."""
        return self.path / "recipe.json"

    @property
    def log(self) -> Path:
        """A line for each step."""
        return self.path / "log.jsonl"

    @property
    def report(self) -> Path:
        """Accuracy and length over the steps, as a page; written anew after each evaluation."""
        return self.path / "report.html"

    @property
    def references(self) -> Path:
        """What the model did with the problems before training, where the reward needs it."""
        return self.path / "references.json"

    @property
    def checkpoints(self) -> Path:
        """The trainer's own folders."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model, or the adapter, at the end."""
        return self.path / "model"

    def _lock(self) -> None:
        """Be the only process at work here until :meth:`release`. Raises RecipeError where there is another."""
        self.release()
        file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise RecipeError(f"another process is at work in '{self.path}'.", "Wait for it, or stop it.") from error
        _LOCKS[self.path.resolve()] = file  # held as long as it is open

    def release(self) -> None:
        """Let others work here."""
        held = _LOCKS.pop(self.path.resolve(), None)
        if held is not None:
            os.close(held)

    def last(self) -> Path | None:
        """The newest checkpoint that is complete, if there is one."""
        there = [each for each in self.checkpoints.glob("checkpoint-*") if (each / _COMPLETE).is_file()]
        return max(there, key=_step, default=None)

    def complete(self, step: int) -> None:
        """Note that a step's checkpoint has been written whole: a run may be killed between any two of its files."""
        (self.checkpoints / f"checkpoint-{step}" / _COMPLETE).touch()

    @property
    def data(self) -> Path:
        """What identifies the problems or examples."""
        return self.path / "data.sha256"

    @property
    def held_out(self) -> Path:
        """The problems that the run is evaluated on, for other commands."""
        return self.path / "held_out.jsonl"

    def begin(self, recipe: Recipe, digest: str, *, resume: bool) -> int:
        """Make the folder ready; the step from which the run goes on, 0 for a new one.

        Raises RecipeError for a folder that holds something while nothing is resumed, and for one that is to be resumed
        and holds no run, one that has ended, or one of another recipe or other problems.
        """
        if resume and self.path.is_dir():
            self._lock()
        if not resume:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise RecipeError(f"'{self.path}' is there already.", "Name a new folder, or go on with it: --resume.")
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock()
                write(self.data, digest + "\n")
                write(self.recipe, recipe.model_dump_json(indent=1) + "\n")
            except OSError as error:
                raise RecipeError(
                    f"cannot write to '{self.path}': {error.strerror}.", "Name another folder."
                ) from error
            return 0
        if not self.recipe.is_file():
            raise RecipeError(f"'{self.path}' holds no run.", "Leave --resume out to begin one.")
        if self.model.exists():
            raise RecipeError(f"the run in '{self.path}' has ended.", "Begin another in a new folder.")
        try:
            before = Recipe.model_validate(json.loads(self.recipe.read_text("utf-8")))
        except ValueError as error:
            raise RecipeError(f"'{self.recipe}' is damaged.", "Begin another run in a new folder.") from error
        other = changed(before, recipe)
        if other:
            raise RecipeError(
                f"the run in '{self.path}' had another recipe; what differs: {', '.join(other)}.",
                "Resume it with its own, or begin another in a new folder.",
            )
        if not self.data.is_file() or self.data.read_text("utf-8").strip() != digest:
            raise RecipeError(f"the run in '{self.path}' had other problems or examples.", "Give it those again.")
        last = self.last()
        return 0 if last is None else _step(last)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all, whenever the run is killed."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
