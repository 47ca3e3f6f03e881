"""Which problems a model is trained on, and which it is evaluated on: never the same."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial

from laconic.bench import tasks
from laconic.bench.tasks import BundledTask, Item, JsonlTask
from laconic.equality import same
from laconic.errors import MissingExtra, RecipeError
from laconic.training.run.recipe import Recipe

_ALL = 2**31
"""More problems than a file has."""


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems by what they are for."""

    training: list[Item]
    held_out: list[Item]

    def numbered(self) -> dict[str, Item]:
        """Those to train on by the number that a trainer's row has of them."""
        return {str(at): item for at, item in enumerate(self.training)}

    def digest(self) -> str:
        """SHA-256 of all questions, answers and solutions, by which a run that is resumed knows them."""
        said = [[_said(item) for item in items] for items in (self.training, self.held_out)]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _said(item: Item) -> tuple[str, ...]:
    return (item.question, item.answer, item.solution) if item.solution else (item.question, item.answer)


def problems(recipe: Recipe) -> Problems:
    """What a recipe trains and evaluates on.

    The bundled kinds have problems for training and others for evaluations. Of a file the last ones are held out, of a
    data set of reasoning-gym the last that are drawn, ``evaluation.n`` in all and evenly from several sources, unless
    ``evaluation.problems`` names a source. Raises TaskError for sources that are not there, RecipeError for problems
    without answers or with two, for too few of them, and where a problem would be both.
    """
    sources = tasks.load(recipe.problems or None)
    wanted = recipe.evaluation.n
    if all(isinstance(source, BundledTask) for source in sources):
        training = _bundled([source.name for source in sources], recipe.n, recipe.seed)
        held_out = tasks.draw(sources, wanted, recipe.seed) if wanted else []
    else:
        inside = 0 if recipe.evaluation.problems else wanted
        training, held_out = _parted(sources, recipe.n, inside, recipe.seed)
    if recipe.evaluation.problems and wanted:
        held_out = tasks.draw(tasks.load(recipe.evaluation.problems), wanted, recipe.seed)
    _check(training, held_out, recipe)
    return Problems(training, held_out)


def _parted(sources: list[tasks.Task], n: int, held_out: int, seed: int) -> tuple[list[Item], list[Item]]:
    """Problems to train on, ``n`` at most and in turns of the sources, and those that are held out."""
    training, kept = [], []
    for at, source in enumerate(sources):
        share = held_out // len(sources) + (at < held_out % len(sources))
        found = source.items(_ALL if isinstance(source, JsonlTask) else n + share, seed)
        training.append(found[: max(len(found) - share, 0)])
        kept += found[max(len(found) - share, 0) :]
    return tasks.in_turns(training)[:n], kept


def _bundled(kinds: list[str], n: int, seed: int) -> list[Item]:
    from laconic.models.reasoner import problems as bundled

    found = []
    for at, kind in enumerate(kinds):
        share = n // len(kinds) + (at < n % len(kinds))
        try:
            drawn = bundled.problems(kind, share, seed, held_out=False) if share else []
        except ImportError as error:
            raise MissingExtra("reasoning-gym", "train") from error
        except ValueError as error:
            raise RecipeError(f"{str(error).capitalize()}.", "Lower n.") from error
        found += [
            Item(f"{kind}/train/{i}", kind, each.question, each.answer, partial(bundled.score, each))
            for i, each in enumerate(drawn)
        ]
    return found


def _check(training: list[Item], held_out: list[Item], recipe: Recipe) -> None:
    where = f"'{recipe.problems}'" if recipe.problems else "the bundled kinds"
    if any(item.grade is None for item in [*training, *held_out]):
        raise RecipeError(f"problems of {where} have no answers.", "A reward needs to know what is right.")
    if len(training) < recipe.rollouts.prompts:
        raise RecipeError(
            f"{where} leaves {len(training)} problems to train on, and a step has {recipe.rollouts.prompts}.",
            "Lower rollouts.prompts or evaluation.n, or give more problems.",
        )
    answers: dict[str, str] = {}
    for item in [*training, *held_out]:
        if not same(answers.setdefault(item.question, item.answer), item.answer):
            raise RecipeError(
                f"{where} answers {item.question!r} with {answers[item.question]!r} and with {item.answer!r}.",
                "Leave one of them out.",
            )
    both = {item.question for item in training} & {item.question for item in held_out}
    if both:
        raise RecipeError(
            f"{len(both)} problems are trained on and held out, such as: {min(both)!r}.",
            "An evaluation on them would say nothing; name another source.",
        )
