"""Reinforcement learning with any reward: TRL's trainer, laconic's rollouts, a log, evaluations, an end in time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig

from laconic.bench.tasks import Item
from laconic.models.causal_lm import digest
from laconic.models.text import Text
from laconic.training.base import Cuts, Hints, Remembers, reads
from laconic.training.run.besides import CutRollouts, HintRollouts
from laconic.training.run.data import Problems
from laconic.training.run.folder import Folder, write
from laconic.training.run.planned import PlannedRollouts
from laconic.training.run.progress import Evaluated, Log, collapse, note, rollouts
from laconic.training.run.recipe import Recipe
from laconic.training.run.rollouts import EngineRollouts, Runs, trained
from laconic.training.run.solutions import Solution
from laconic.training.run.trainer import GroupTrainer
from laconic.training.trl import GroupReward
from laconic.types import Limits, Request, Sampling

Known = dict[str, dict[str, float]]
"""Of a problem, by its number: what the model did with it before training."""


def references(recipe: Recipe, model: Any, text: Text, items: list[Item], folder: Folder) -> Known:
    """Mean lengths and shares of right rollouts before training, where the reward reads them (O1-Pruner).

    As many rollouts of every problem are sampled as a group has; they are kept in the folder for a run that is resumed.
    """
    method = recipe.method()
    if "reference" not in reads(method) or isinstance(method, Remembers):
        return {}
    if folder.references.exists():
        return cast(Known, json.loads(folder.references.read_text("utf-8")))
    r, known = recipe.rollouts, {}
    plain = EngineRollouts(**_sampling(recipe, text))
    engine = plain.over(model)
    for at, item in enumerate(items):
        one = plain.request([{"role": "user", "content": item.question}], 0)
        asked = [replace(one, sampling=plain.sampling(-1, at, part)) for part in range(r.generations)]
        made = plain.run(engine, asked)
        right = sum(judged(item, result.answer)[0] for result in made)
        tokens = sum(len(result.tokens) for result in made)
        known[str(at)] = {"reference": tokens / len(made), "pass_rate": right / len(made)}
    write(folder.references, json.dumps(known))
    return known


def sampler(recipe: Recipe, text: Text, items: Mapping[str, Item], solved: Mapping[str, Solution]) -> EngineRollouts:
    """Rollouts as the recipe, or the reward, needs them; ``items`` and ``solved`` are by the problems' numbers."""
    method, plan, size = recipe.method(), recipe.plan(), recipe.rollouts.generations
    said = _sampling(recipe, text)
    if plan is not None:
        return PlannedRollouts(
            **said, plan=plan, generations=size, solutions=solved,
            judged=lambda row, reply: judged(items[row["problem"]], reply)[0],
        )  # fmt: skip
    if isinstance(method, Cuts):
        return CutRollouts(**said, method=method, generations=size)
    if isinstance(method, Hints):
        return HintRollouts(**said, method=method, generations=size, budgets=recipe.rollouts.budgets)
    return EngineRollouts(**said)


def _sampling(recipe: Recipe, text: Text) -> dict[str, Any]:
    r = recipe.rollouts
    return {
        "text": text, "max_tokens": r.max_tokens, "temperature": r.temperature, "drafter": r.drafter,
        "dtype": _dtype(recipe), "batch": r.batch, "seed": recipe.seed, "workers": r.workers,
        "reuse": r.reuse,
    }  # fmt: skip


def _dtype(recipe: Recipe) -> torch.dtype | None:
    return None if recipe.rollouts.dtype is None else cast(torch.dtype, getattr(torch, recipe.rollouts.dtype))


def trainer(
    recipe: Recipe, model: Any, text: Text, found: Problems, folder: Folder, log: Log, known: Known | None = None,
    solved: Mapping[str, Solution] | None = None,
) -> GroupTrainer:  # fmt: skip
    """A trainer that is ready to go; it writes into ``folder`` and ``log``."""
    r, u = recipe.rollouts, recipe.update
    items = found.numbered()
    made = sampler(recipe, text, items, solved or {})
    made.base = digest(model)
    scorer = GroupReward(
        recipe.method(), generations=r.generations, limit=r.max_tokens, text=text, answer="problem",
        judge=lambda problem, reply: judged(items[problem], reply),
    )  # fmt: skip
    rows = r.prompts * r.generations
    passes = max(rows // u.rows, 1)
    args = GRPOConfig(
        output_dir=str(folder.checkpoints),
        max_steps=u.steps,
        learning_rate=u.rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=u.warmup,
        per_device_train_batch_size=rows // passes,
        gradient_accumulation_steps=passes,
        num_generations=r.generations,
        num_iterations=u.iterations,
        max_completion_length=r.max_tokens,
        temperature=r.temperature,
        epsilon=u.clip,
        epsilon_high=u.clip_high,
        beta=u.kl,
        loss_type=u.loss,
        scale_rewards=u.scale,
        max_grad_norm=u.max_norm,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        save_steps=recipe.save,
        save_total_limit=2,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
    )
    data = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": item.question}], "problem": at} | (known or {}).get(at, {})
            for at, item in items.items()
        ]
    )
    watch = Watch(recipe, found.held_out, scorer, made, log, folder)
    ready = GroupTrainer(
        watch=watch,
        scorer=scorer,
        rollouts=made,
        args=args,
        model=model,
        processing_class=text.tokenizer,
        train_dataset=data,
        **({} if recipe.lora is None else {"peft_config": adapter(recipe)}),
    )
    ready.remove_callback(PrinterCallback)
    return ready


def adapter(recipe: Recipe) -> Any:
    """What peft is told of the recipe's adapter."""
    from peft import LoraConfig

    lora = recipe.lora
    assert lora is not None
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, task_type="CAUSAL_LM")


def judged(item: Item, reply: str) -> tuple[bool, bool]:
    """Whether a reply to a problem is right, and whether it states an answer."""
    stated = item.read(reply)
    return bool(item.judge_answer(stated)), bool(stated)


def evaluate(engine: Runs, text: Text, items: list[Item], recipe: Recipe, step: int) -> Evaluated:
    """The held-out problems, once each. A thought that leaves no room for its answer is not answered for the model."""
    temperature, most = recipe.evaluation.temperature, recipe.rollouts.max_tokens
    limits = Limits(most, answer_room=0)
    asked = []
    for at, item in enumerate(items):
        tokens, phase = text.ask(item.question)
        asked.append(Request(tokens, Sampling(temperature=temperature, seed=at), limits, phase=phase))
    made = engine.run(asked, batch=recipe.rollouts.batch)
    right = sum(judged(item, result.answer)[0] for item, result in zip(items, made, strict=True))
    n = len(items)
    thinking = sum(result.usage.thinking for result in made) / n
    return Evaluated(step, n, right, thinking, sum(len(result.tokens) for result in made) / n)


def evaluated(
    trainer: Any, text: Text, items: list[Item], recipe: Recipe, step: int, base: str | None = None
) -> Evaluated:
    """The model that a trainer trains, as it is now, on held-out problems; ``base`` is as of EngineRollouts."""
    made = EngineRollouts(**_sampling(recipe, text) | {"workers": 1, "dtype": None}, base=base)  # as it will be saved
    return evaluate(made.over(trained(trainer)), text, items, recipe, step)


def counted(made: EngineRollouts) -> dict[str, float]:
    """What rollouts have taken so far, by the names that the log has for it."""
    return {
        "sampling": made.seconds, "written": made.written, "passes": made.passes, "drafted": made.drafted,
        "accepted": made.accepted,
    }  # fmt: skip


class Watch(TrainerCallback):  # type: ignore[misc]  # it has no types
    """Keeps the log of a run, evaluates it, and ends it when it has collapsed."""

    def __init__(
        self, recipe: Recipe, held_out: list[Item], scorer: GroupReward, made: EngineRollouts, log: Log,
        folder: Folder,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._recipe, self._held_out, self._scorer, self._made, self._log = recipe, held_out, scorer, made, log
        self._clock, self._before = time.perf_counter(), counted(made)
        self.collapsed: str | None = None
        """Why the run was ended early, if it was."""
        self.trainer: Any = None
        """Whom it watches."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate the model as it is, unless the log has that already."""
        if not self._log.evaluations:
            self._evaluated(state.global_step)
        self._clock, self._before = time.perf_counter(), counted(self._made)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write a step's row, evaluate where it is time to, and see whether the model has become worse."""
        if not logs or "loss" not in logs:
            return
        now, counts = time.perf_counter(), counted(self._made)
        since = {name: value - self._before[name] for name, value in counts.items()}
        groups = [group for group, _ in self._scorer.scored]
        rewards = [value for _, given in self._scorer.scored for value in given]
        row = (
            {"step": state.global_step, "reward": sum(rewards) / len(rewards)}
            | rollouts(groups)
            | {"right_discouraged": self.trainer.discouraged, "limit": self._scorer.limit}
            | {"computed": self.trainer.computed}
            | {name: logs[name] for name in ("loss", "grad_norm", "entropy", "kl") if name in logs}
            | {"seconds": now - self._clock, "path": self._made.path}
            | since
            | ({"reused": self._made.share} if self._made.reuse else {})
        )
        self._log.add(row)
        if state.global_step == 1 and not row["right"]:
            self._log.add(note(1, "no rollout of the first step is right: are the answers, and is max_tokens enough?"))
        self.collapsed = collapse([*self._log.steps[:-1], row], self._recipe.stop)
        if self.collapsed:
            control.should_training_stop = True
            return
        last = state.global_step >= self._recipe.update.steps
        if last or state.global_step % self._recipe.evaluation.every == 0:
            self._evaluated(state.global_step)
        self._clock, self._before = time.perf_counter(), counts

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """All files of a checkpoint are there."""
        self._folder.complete(state.global_step)

    def _evaluated(self, step: int) -> None:
        if not self._held_out:
            return
        base = self._made.base
        self._log.add(evaluated(self.trainer, self._made.text, self._held_out, self._recipe, step, base).as_dict())


def save(made: Any, recipe: Recipe, text: Text, place: Path) -> None:
    """Write the model, or its adapter, and the tokenizer; ``place`` is there only once all of it is."""
    part = place.with_name(place.name + ".part")
    model = trained(made)
    model.config.use_cache = True
    if recipe.lora is not None:  # the base by the name that laconic knows, or by a path that does not depend on here
        base = Path(recipe.model)
        model.peft_config["default"].base_model_name_or_path = str(base.resolve()) if base.exists() else recipe.model
    model.save_pretrained(part)
    text.tokenizer.save_pretrained(part)
    part.replace(place)
