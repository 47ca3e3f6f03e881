"""A whole run: read, check, train, write."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from laconic.errors import Collapsed, MissingExtra, RecipeError, UnmetNeed
from laconic.models.load import load_text, resolve
from laconic.models.loading import read_model
from laconic.training.base import Hints, Remembers
from laconic.training.run.folder import Folder
from laconic.training.run.progress import Log
from laconic.training.run.recipe import Recipe

_PACKAGES = ("trl", "datasets", "peft", "accelerate")
Shown = Callable[[dict[str, Any]], None]


def train(recipe: Recipe, out: Path, *, resume: bool = False, shown: Shown = lambda row: None) -> Log:
    """Follow a recipe; ``out`` gets what :class:`~laconic.training.run.folder.Folder` names. Returns the log.

    A run that was killed is taken up from its last checkpoint with ``resume``: it then samples, and learns, what it
    would have. ``shown`` is called with each row of the log.

    Everything that can be known before the first step is checked before it: raises MissingExtra without TRL,
    RecipeError and what it takes for a model or problems that cannot be used, UnmetNeed for a reward that needs what
    is not there. Raises Collapsed, with the log written, where accuracy or format has fallen (``recipe.stop``).
    """
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "train")
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if recipe.objective != "grpo":
        from laconic.training.run.examples import learn

        return learn(recipe, Folder(out), resume=resume, shown=shown)
    _able(recipe)
    return _reinforce(recipe, Folder(out), resume=resume, shown=shown)


def _able(recipe: Recipe) -> None:
    """Raise UnmetNeed for what a method needs and this run cannot give it."""
    method = recipe.method()
    if isinstance(method, Remembers) and isinstance(method, Hints):
        raise UnmetNeed(f"'{method.name}' goes on from lengths of another run, which no recipe gives yet.")
    if isinstance(method, Hints) and not recipe.rollouts.budgets:
        raise UnmetNeed(
            f"'{method.name}' needs a budget for each rollout.", "Write rollouts.budgets = [100, 200], say."
        )
    if "effort" in method.reads:
        raise UnmetNeed(f"'{method.name}' needs an effort in the prompt, which no recipe gives yet.")
    keeps = getattr(method, "k", None)
    if isinstance(keeps, int) and keeps > recipe.rollouts.generations:
        raise RecipeError(f"'{method.name}' keeps {keeps} of {recipe.rollouts.generations} rollouts.")


def _reinforce(recipe: Recipe, folder: Folder, *, resume: bool, shown: Shown) -> Log:
    from laconic.training.run import grpo
    from laconic.training.run.data import problems

    found = problems(recipe)
    text = load_text(recipe.model)
    longest = max(len(text.prompt(item.question)) for item in [*found.training, *found.held_out])
    model = read_model(resolve(recipe.model), dtype=getattr(torch, recipe.dtype))
    context = int(model.config.get_text_config().max_position_embeddings)
    if longest + recipe.rollouts.max_tokens > context:
        raise RecipeError(
            f"the longest prompt has {longest} tokens, rollouts.max_tokens is {recipe.rollouts.max_tokens}, and the"
            f" model's context is {context}.",
            "Lower rollouts.max_tokens.",
        )
    begun = folder.begin(recipe, resume=resume)
    log = Log.resumed(folder.log, begun, shown=shown)
    known = grpo.references(recipe, model, text, found.training, folder)
    trainer = grpo.trainer(recipe, model, text, found, folder, log, known)
    trainer.train(resume_from_checkpoint=str(folder.last()) if begun else None)
    if trainer.watch.collapsed:
        raise Collapsed(
            f"{trainer.watch.collapsed}.",
            f"Checkpoints before that may be in {folder.checkpoints}; a smaller update.rate, a larger group or a reward"
            " that weighs length less are what usually helps.",
        )
    grpo.save(trainer, text, folder.model)
    return log
