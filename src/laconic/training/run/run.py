"""A whole run: read, check, train, write."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors import SafetensorError

from laconic.engine import Methods, policies
from laconic.errors import Collapsed, LaconicError, MissingExtra, RecipeError, TrainingError, UnmetNeed
from laconic.models.adapters import adapted
from laconic.models.causal_lm import context
from laconic.models.load import load_text, resolve
from laconic.models.loading import read_model
from laconic.models.text import Text
from laconic.training.base import Cuts, Hints, Remembers, reads
from laconic.training.group import Group, Rollout
from laconic.training.run.folder import Folder, write
from laconic.training.run.progress import Log, collapse, note, worse
from laconic.training.run.recipe import Recipe
from laconic.training.run.solutions import Solution, solutions

_PACKAGES = ("trl", "datasets", "peft", "accelerate")
Shown = Callable[[dict[str, Any]], None]


def train(recipe: Recipe, out: Path, *, resume: bool = False, shown: Shown = lambda row: None) -> Log:
    """Follow a recipe; ``out`` gets what :class:`~laconic.training.run.folder.Folder` names. Returns the log.

    A run that was killed is taken up from its last checkpoint with ``resume``: it then samples, and learns, what it
    would have. ``shown`` is called with each row of the log.

    What can be known before the first step is checked before it, and leaves no folder: raises MissingExtra without TRL,
    RecipeError and what it takes for a model or data that cannot be used, UnmetNeed for a reward that needs what is not
    there, and for several processes or devices. Raises Collapsed, with the log written, where accuracy or format has
    fallen (``recipe.stop``).
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "train")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or torch.cuda.device_count() > 1:
        raise UnmetNeed("a run is one process on one device.", "Show it one, as by CUDA_VISIBLE_DEVICES=0.")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if adapted(resolve(recipe.model)) is not None:
        raise RecipeError(f"'{recipe.model}' is an adapter.", "Merge it into its base first: laconic merge.")
    folder = Folder(out)
    try:
        if recipe.objective != "grpo":
            from laconic.training.run.examples import learn

            return learn(recipe, folder, resume=resume, shown=shown)
        _able(recipe)
        return _reinforce(recipe, folder, resume=resume, shown=shown)
    finally:
        folder.release()


def _able(recipe: Recipe) -> None:
    """Raise for what a method needs and this run cannot give it, and for policies that cannot be built."""
    method, size = recipe.method(), recipe.rollouts.generations
    drafting(recipe)
    if isinstance(method, Remembers) and isinstance(method, Hints):
        raise UnmetNeed(f"'{method.name}' goes on from lengths of another run, which no recipe gives yet.")
    if isinstance(method, Hints) and not recipe.rollouts.budgets:
        hint = "Write rollouts.budgets = [100, 200], say."
        raise UnmetNeed(f"'{method.name}' needs a budget for each rollout.", hint)
    if "effort" in reads(method):
        raise UnmetNeed(f"'{method.name}' needs an effort in the prompt, which no recipe gives yet.")
    if isinstance(method, Cuts) and (exits := len(method.cuts(10**6, Random(0)))) != size:
        raise RecipeError(
            f"'{method.name}' makes groups of {exits}, the exits and the whole thought, not of {size}.",
            f"Set rollouts.generations to {exits}.",
        )
    keeps = getattr(method, "k", None)
    if isinstance(keeps, int) and keeps > size:
        raise RecipeError(f"'{method.name}' keeps {keeps} of {size} rollouts.")
    method.rewards(_imagined(recipe))


def drafting(recipe: Recipe) -> None:
    """Raise for a drafter that cannot be built, or that needs a draft model."""
    every = policies(Methods(drafter=recipe.rollouts.drafter).plan())
    asking = next((policy.name for policy in every if policy.needs.draft_model), None)
    if asking is not None:
        raise UnmetNeed(f"'{asking}' needs a draft model, which rollouts have none of.", "Use suffix, or a head.")


def _imagined(recipe: Recipe) -> Group:
    """A group as there might be one, so that knobs that do not fit the limit are seen before the first step."""
    most = recipe.rollouts.max_tokens
    rollouts = [
        Rollout(most - at % most, most // 2 - at % most // 2, at % 2 == 0, text="", budget=most, repeats=False,
                thought_entropy=1.0, answer_entropy=1.0)
        for at in range(recipe.rollouts.generations)
    ]  # fmt: skip
    return Group(tuple(rollouts), limit=most, reference=float(most), pass_rate=0.5)


def fits(recipe: Recipe, model: Any, text: Text, longest: int, most: int) -> None:
    """Raise RecipeError where prompt, what is said besides, and reply are more than the model can read."""
    most_read = context(model.config.get_text_config())
    method = recipe.method() if recipe.reward else None
    said = len(text.encode(text.format.ending)) if isinstance(method, Cuts | Hints) else 0
    if isinstance(method, Hints):
        told = Group(tuple(Rollout(0, budget=budget) for budget in recipe.rollouts.budgets))
        said += max(len(text.encode(f"{text.format.opens}{hint}\n\n\n")) for hint in method.hint(told))
    if longest + said + most > most_read:
        raise RecipeError(
            f"the longest prompt has {longest + said} tokens, a reply may have {most}, and the model's context is"
            f" {most_read}.",
            "Lower max_tokens.",
        )


def opened(recipe: Recipe, folder: Folder, step: int, shown: Shown) -> Log:
    """The log of a run from a step on, of which a page is drawn whenever there is an evaluation."""
    log = Log.resumed(folder.log, step)

    def told(row: dict[str, Any]) -> None:
        shown(row)
        if "evaluation" in row:
            draw(recipe, folder, log)

    log.shown = told
    if find_spec("matplotlib") is None:
        say(log, "no report.html is drawn: matplotlib is not installed (pip install 'laconic[train]')")
    return log


def say(log: Log, text: str) -> None:
    """Note something about a whole run, once, also where it is resumed."""
    if not any(row.get("note") == text for row in log.rows):
        log.add(note(0, text))


def draw(recipe: Recipe, folder: Folder, log: Log) -> None:
    """Write the page of a log, where it can be drawn. A page that cannot be is no reason to end a run: it is noted."""
    if find_spec("matplotlib") is None:
        return
    from laconic.training.run.page import render

    try:
        write(folder.report, render(log.rows, recipe.model_dump(mode="json")))
    except Exception as error:
        log.add(note(max((row["step"] for row in log.steps), default=0), f"report.html could not be drawn: {error}"))


@contextmanager
def begun(folder: Folder, *, resume: bool) -> Iterator[None]:
    """Take the folder of a new run away where it cannot even begin."""
    try:
        yield
    except Exception as error:
        if not resume:
            shutil.rmtree(folder.path, ignore_errors=True)
        if isinstance(error, ValueError) and "target" in str(error).lower():  # what peft says of lora.targets
            raise RecipeError(f"lora.targets: {error}") from error
        raise


def ended(log: Log, recipe: Recipe) -> None:
    """Raise Collapsed where the model is worse than it was."""
    reason = worse(log.evaluations, recipe.stop)
    if reason is not None:
        raise Collapsed(f"{reason}.", "No model is written; what the trainer saved is in checkpoints.")


def finish(trainer: Any, folder: Folder, step: int, steps: int) -> None:
    """Train from a step on; a run that had made all of its steps has only to be written."""
    last = folder.last() if step else None
    try:
        if last is not None and step >= steps:
            trainer._load_from_checkpoint(str(last))
        else:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except SafetensorError as error:
        raise TrainingError(
            f"a checkpoint in {folder.checkpoints} cannot be read or written: {error}",
            "Free the disk, or remove the checkpoint; --resume goes on from the one before.",
        ) from error


def _reinforce(recipe: Recipe, folder: Folder, *, resume: bool, shown: Shown) -> Log:
    from laconic.training.run import grpo
    from laconic.training.run.data import problems

    found = problems(recipe)
    text = load_text(recipe.model)
    longest = max(len(text.prompt(item.question)) for item in [*found.training, *found.held_out])
    plan = recipe.plan()
    solved, left_out = dict[str, Solution](), None
    if plan is not None and plan.solutions:
        solved, left_out = solutions(plan, text, found.numbered(), recipe.rollouts.max_tokens)
    if plan is not None and plan.prompted:
        told = ((len(text.prompt(found.numbered()[at].question)), each.last) for at, each in solved.items())
        longest = max(longest, *(prompt + hint for prompt, hint in told))
    model = read_model(resolve(recipe.model), dtype=getattr(torch, recipe.dtype))
    fits(recipe, model, text, longest, recipe.rollouts.max_tokens)
    if torch.cuda.is_available():
        model.to("cuda")
    step = folder.begin(recipe, found.digest(), resume=resume)
    with begun(folder, resume=resume):
        log = opened(recipe, folder, step, shown)
        rows = [{"question": item.question, "answer": item.answer, "kind": item.kind} for item in found.held_out]
        write(folder.held_out, "".join(json.dumps(row) + "\n" for row in rows))
        known = grpo.references(recipe, model, text, found.training, folder)
        trainer = grpo.trainer(recipe, model, text, found, folder, log, known, solved)
    if not text.format.thinks:
        say(log, "this model has no thinking tags: all that it writes counts as its answer")
    if left_out is not None:
        say(log, left_out)
    trainer.watch.collapsed = collapse(log.steps, recipe.stop)
    if not trainer.watch.collapsed:
        finish(trainer, folder, step, recipe.update.steps)
    draw(recipe, folder, log)
    if trainer.watch.collapsed:
        raise Collapsed(
            f"{trainer.watch.collapsed}.",
            f"Checkpoints before that may be in {folder.checkpoints}; a smaller update.rate, a larger group or a reward"
            " that weighs length less are what usually helps.",
        )
    ended(log, recipe)
    try:
        grpo.save(trainer, recipe, text, folder.model)
    except OSError as error:
        raise LaconicError(f"cannot write '{folder.model}': {error.strerror}.", "Mend that, and --resume.") from error
    return log
