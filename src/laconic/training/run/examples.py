"""Learning from examples, by TRL's trainers: texts to imitate (SFT), and pairs of which one is better (DPO)."""

from __future__ import annotations

import hashlib
import json
import math
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from laconic.bench import jsonl
from laconic.errors import Collapsed, RecipeError
from laconic.models.causal_lm import context
from laconic.models.causal_lm import digest as fingerprint
from laconic.models.load import load_text, resolve
from laconic.models.loading import read_model
from laconic.training.run.data import problems
from laconic.training.run.folder import Folder
from laconic.training.run.grpo import adapter, evaluated, save
from laconic.training.run.progress import Log, collapse
from laconic.training.run.recipe import Examples, Recipe, Stop
from laconic.training.run.run import Shown, begun, drafting, draw, ended, finish, fits, opened

_SFT = ({"messages"}, {"prompt", "completion"}, {"text"})
_DPO = ({"prompt", "chosen", "rejected"}, {"chosen", "rejected"})


def learn(recipe: Recipe, folder: Folder, *, resume: bool, shown: Shown) -> Log:
    """Follow a recipe with a table ``[sft]`` or ``[dpo]``; see :func:`laconic.training.run.run.train`."""
    table, forms = (recipe.sft, _SFT) if recipe.sft is not None else (recipe.dpo, _DPO)
    assert table is not None
    rows = read(table, forms)
    asked = bool(recipe.problems or recipe.evaluation.problems or recipe.model == "bundled")
    held_out = problems(recipe).held_out if recipe.evaluation.n and asked else []
    if held_out:
        drafting(recipe)
    text = load_text(recipe.model)
    model = read_model(resolve(recipe.model), dtype=getattr(torch, recipe.dtype))
    most = table.max_tokens or context(model.config.get_text_config())
    fits(recipe, model, text, 0, most)
    longest = max((len(text.prompt(item.question)) for item in held_out), default=0)
    fits(recipe, model, text, longest, recipe.rollouts.max_tokens if held_out else 0)
    base = fingerprint(model)
    digest = hashlib.sha256(json.dumps([rows, [item.question for item in held_out]]).encode()).hexdigest()
    step = folder.begin(recipe, digest, resume=resume)
    log = opened(recipe, folder, step, shown)
    common = {
        "output_dir": str(folder.checkpoints),
        "num_train_epochs": table.epochs,
        "per_device_train_batch_size": table.rows,
        "learning_rate": table.rate,
        "lr_scheduler_type": "constant",
        "max_length": most,
        "seed": recipe.seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "gradient_checkpointing": False,
        "save_steps": recipe.save,
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }
    watch = Rows(log, folder, recipe.stop)
    given = {
        "model": model,
        "train_dataset": Dataset.from_list(rows),
        "processing_class": text.tokenizer,
        "callbacks": [watch],
        **({} if recipe.lora is None else {"peft_config": adapter(recipe)}),
    }
    trainer: Any
    with begun(folder, resume=resume):
        if recipe.sft is not None:
            trainer = SFTTrainer(args=SFTConfig(**common), **given)
        else:
            both = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, table.imitate]} if table.imitate else {}
            trainer = DPOTrainer(args=DPOConfig(beta=table.beta, **both, **common), **given)
        if not len(trainer.train_dataset):
            raise RecipeError(
                f"nothing of '{table.data}' can be learned: max_tokens={most} cuts off every reply.",
                "Raise it.",
            )
    trainer.remove_callback(PrinterCallback)
    steps = math.ceil(len(trainer.train_dataset) / table.rows) * table.epochs
    if held_out and not log.evaluations:
        log.add(evaluated(trainer, text, held_out, recipe, 0, base).as_dict())
    finish(trainer, folder, step, math.ceil(steps))
    draw(recipe, folder, log)
    if watch.collapsed:
        raise Collapsed(f"{watch.collapsed}.", "Lower the table's rate.")
    if held_out:
        last = max(trainer.state.global_step, step)
        log.add(evaluated(trainer, text, held_out, recipe, last, base).as_dict())
    ended(log, recipe)
    save(trainer, recipe, text, folder.model)
    return log


def read(table: Examples, forms: tuple[set[str], ...]) -> list[dict[str, Any]]:
    """Rows of a JSONL file, all in the form of the first; keys besides are left out.

    Raises TaskError for a file that cannot be read, RecipeError for rows in none of the ``forms``, with the line.
    """
    rows: list[dict[str, Any]] = []
    keys: set[str] | None = None
    hint = "A row has " + ", or ".join(" and ".join(sorted(form)) for form in forms) + "."
    for at, row in jsonl.objects(jsonl.lines(table.data, hint)):
        if row is None:
            continue
        if isinstance(row, jsonl.BadLine):
            raise RecipeError(f"{table.data}, line {at}: {row}.", hint)
        keys = keys or next((form for form in forms if form <= row.keys()), None)
        if keys is None or not keys <= row.keys():
            raise RecipeError(f"{table.data}, line {at}: it has {', '.join(sorted(row)) or 'nothing'}.", hint)
        kept = {key: row[key] for key in sorted(keys)}
        if not all(_learnable(value) for value in kept.values()):
            raise RecipeError(f"{table.data}, line {at}: a value is neither a text nor a list of messages.", hint)
        if rows and any(type(value) is not type(rows[0][key]) for key, value in kept.items()):
            raise RecipeError(f"{table.data}, line {at}: it has texts where others have messages.", hint)
        rows.append(kept)
    if not rows:
        raise RecipeError(f"'{table.data}' has no rows.", hint)
    return rows


def _learnable(value: Any) -> bool:
    """Whether a value is a text, or chat messages."""
    if isinstance(value, str):
        return bool(value)
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and isinstance(each.get("content"), str) and "role" in each for each in value)
    )


class Rows(TrainerCallback):  # type: ignore[misc]  # it has no types
    """Writes the trainer's own numbers into the log."""

    def __init__(self, log: Log, folder: Folder, stop: Stop) -> None:
        self._log, self._folder, self._stop = log, folder, stop
        self._clock = time.perf_counter()
        self.collapsed: str | None = None
        """Why the run was ended early, if it was."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All files of a checkpoint are there."""
        self._folder.complete(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """A row for a step."""
        if logs and "loss" in logs:
            kept = (
                "loss",
                "grad_norm",
                "mean_token_accuracy",
                "rewards/accuracies",
                "rewards/chosen",
                "rewards/rejected",
                "logps/chosen",
                "logps/rejected",
            )
            row = {"step": state.global_step} | {name: logs[name] for name in kept if name in logs}
            now = time.perf_counter()
            self._log.add(row | {"seconds": now - self._clock})
            self._clock = now
            self.collapsed = collapse([row], self._stop)
            if self.collapsed:
                control.should_training_stop = True
