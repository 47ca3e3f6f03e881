"""Which problems a model is trained on, and which it is evaluated on: never the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from laconic.bench import tasks
from laconic.bench.tasks import BundledTask, Item, JsonlTask
from laconic.errors import MissingExtra, RecipeError
from laconic.training.run.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems by what they are for."""

    training: list[Item]
    held_out: list[Item]


def problems(recipe: Recipe) -> Problems:
    """What a recipe trains and evaluates on.

    The bundled kinds have problems for training and others for evaluations. Of a file, or of a data set of
    reasoning-gym, the last ``evaluation.n`` are held out unless ``evaluation.problems`` names a source. Raises
    TaskError for sources that are not there, RecipeError for problems without answers, for too few of them, and where
    a problem would be both.
    """
    sources = tasks.load(recipe.problems or None)
    wanted = recipe.evaluation.n
    if all(isinstance(source, BundledTask) for source in sources):
        training = _bundled([source.name for source in sources], recipe.n, recipe.seed)
        held_out = tasks.draw(sources, wanted, recipe.seed) if wanted else []
    else:
        drawn = tasks.draw(sources, _most(sources, recipe.n + wanted), recipe.seed)
        inside = 0 if recipe.evaluation.problems else wanted
        training, held_out = drawn[: len(drawn) - inside], drawn[len(drawn) - inside :]
        training = training[: recipe.n]
    if recipe.evaluation.problems and wanted:
        held_out = tasks.draw(tasks.load(recipe.evaluation.problems), wanted, recipe.seed)
    _check(training, held_out, recipe)
    return Problems(training, held_out)


def _most(sources: list[tasks.Task], wanted: int) -> int:
    known = [len(source.items(wanted, 0)) for source in sources if isinstance(source, JsonlTask)]
    return min(wanted, sum(known)) if len(known) == len(sources) else wanted


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
    both = {item.question for item in training} & {item.question for item in held_out}
    if both:
        raise RecipeError(
            f"{len(both)} problems are trained on and held out, such as: {min(both)!r}.",
            "An evaluation on them would say nothing; name another source.",
        )
