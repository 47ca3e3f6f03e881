"""TRL's GRPO trainer, taught what some methods do besides rewarding (:mod:`laconic.training.base`).

What is changed of the trainer (TRL 1.16), and nothing else:

* Once it has scored a step's rollouts, advantages are the method's own where it has some, and rows that it leaves out
  are masked.
* The limit on new tokens is the method's, step by step.
* A loss of the method's own takes the place of the trainer's.
* Rows are split into passes by length, not at random: rows of like length need less padding. The gradient of a step is
  the sum over its passes, so their order does not matter.
* Rows that teach nothing, since their advantage is 0 or they are left out, are not computed, where the loss lets them
  be missing: the gradient is the same. With rewards of 0 and 1 those are all groups that are right, or wrong, as a
  whole.
* What a method learns is written into the trainer's checkpoints, and read from them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from laconic.errors import UnmetNeed
from laconic.training.base import (
    Advantages,
    BatchAdvantages,
    BatchKeeps,
    GroupLoss,
    Keeps,
    Limits,
    TokenLoss,
    reads,
)
from laconic.training.group import Group
from laconic.training.plans.base import Weighs
from laconic.training.run.planned import PlannedRollouts
from laconic.training.run.rollouts import EngineRollouts
from laconic.training.trl import GroupReward, written

STATE = "laconic_state.json"
"""What a checkpoint holds besides the trainer's own files."""
_ROWS = ("completion_ids", "completion_mask")
_TOLD = ("prompt_tokens", "begun", "path", "hint")
"""What :class:`PlannedRollouts` says of a rollout."""


class GroupTrainer(GRPOTrainer):  # type: ignore[misc]  # it has no types
    """``GRPOTrainer`` for every method of laconic's; rollouts are by its engine.

    ``args`` and other options are the trainer's own. Raises UnmetNeed for a method with a loss of its own for each
    group where a step is parted into several passes, since a group would be parted too.
    """

    def __init__(
        self, *, scorer: GroupReward, rollouts: EngineRollouts, watch: Any = None, args: Any, **options: Any
    ) -> None:
        self.watch = watch
        """A callback that wants to see the trainer itself; it is given to it as ``trainer``."""
        if watch is not None:
            watch.trainer = self
            options["callbacks"] = [*options.get("callbacks", ()), watch]
        self._scorer, self._rollouts = scorer, rollouts
        self._most = rollouts.max_tokens
        self._fresh = False
        self._buffered_inputs: Any = None
        self.discouraged: float | None = None
        """Share of the last step's right rollouts that were made less likely; None where none was right."""
        self.computed = 1.0
        """Share of the last step's rollouts that the update was computed from."""
        if isinstance(scorer.reward, GroupLoss) and args.gradient_accumulation_steps > 1:
            raise UnmetNeed(
                f"'{scorer.reward.name}' has a loss of its own for each group, and a step has"
                f" {args.gradient_accumulation_steps} passes, which would part them.",
                "Set update.rows to rollouts.prompts * rollouts.generations.",
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*rollout_func.*experimental")  # we know, and tests hold it
            super().__init__(reward_funcs=[scorer], args=args, rollout_func=rollouts, **options)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        method = self._scorer.reward
        planned = self._rollouts if isinstance(self._rollouts, PlannedRollouts) else None
        if planned is not None:
            planned.rows = inputs
        if isinstance(method, Limits):
            self._rollouts.max_tokens = self._scorer.limit = min(self._most, method.limit(self.state.global_step))
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self._fresh = True
        groups, rewards = [g for g, _ in self._scorer.scored], [r for _, r in self._scorer.scored]
        weighs = planned is not None and isinstance(planned.plan, Weighs)
        own = advantages(planned.plan if planned is not None and weighs else method, groups, rewards)
        if own is not None:
            batch["advantages"] = torch.tensor(own, device=batch["advantages"].device, dtype=batch["advantages"].dtype)
        kept = kept_rows(method, groups, rewards)
        if kept is not None:
            batch["completion_mask"] = (
                batch["completion_mask"] * torch.tensor(kept, device=batch["completion_mask"].device)[:, None]
            )
            batch["num_items_in_batch"] = batch["completion_mask"].sum().clamp(min=1)
        if isinstance(method, GroupLoss):
            batch["row"] = torch.arange(len(batch["advantages"]), device=batch["advantages"].device)
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        told = zip(batch["advantages"].tolist(), rollouts, strict=True)
        right = [value < 0 for value, rollout in told if rollout.right]
        self.discouraged = sum(right) / len(right) if right else None
        return batch

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        if isinstance(self._rollouts, PlannedRollouts):
            inputs, prompts = self._by_problem(inputs, prompts)
        if {"thought_entropy", "answer_entropy"} & reads(self._scorer.reward):
            for row, told in zip(inputs, self._entropies(completion_ids_list), strict=True):
                row |= told
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _by_problem(self, inputs: list[dict[str, Any]], prompts: list[Any]) -> tuple[list[dict[str, Any]], list[Any]]:
        """What belongs to each row's problem, where a plan has given rows to other problems than the trainer had."""
        assert isinstance(self._rollouts, PlannedRollouts)
        self._scorer.sizes = self._rollouts.sizes
        told = [{name: row[name] for name in _TOLD if name in row} for row in inputs]  # of the row, not of its problem
        at = self._rollouts.sources()
        return [inputs[one] | own for one, own in zip(at, told, strict=True)], [prompts[one] for one in at]

    @torch.no_grad()
    def _entropies(self, completions: Sequence[list[int]]) -> list[dict[str, float]]:
        """Mean entropies of thoughts and answers, at the sampling temperature; 0 of a part that is empty."""
        found = []
        for prompt, given, ids in zip(
            self._rollouts.prompts, self._rollouts.begun(len(completions)), completions, strict=True
        ):
            tokens = torch.tensor([[*prompt, *ids]], device=self.accelerator.device)
            _, each, _ = self._get_per_token_logps_and_entropies(
                self.model, tokens, torch.ones_like(tokens), len(ids), compute_entropy=True
            )
            asked, begun = prompt[: len(prompt) - given], prompt[len(prompt) - given :]
            kinds = written(self._rollouts.text, list(asked), [*begun, *ids]).told()[given:]
            told = {}
            for kind, name in (("thinking", "thought_entropy"), ("answer", "answer_entropy")):
                values = [value for value, what in zip(each[0].tolist(), kinds, strict=True) if what == kind]
                told[name] = max(sum(values), 0.0) / max(len(values), 1)
            found.append(told)
        return found

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        if not self._fresh or not self.model.training:
            return inputs
        self._fresh = False
        parts = self._buffered_inputs
        self._buffered_inputs = by_length(parts, teaching(parts) if self._leaves_out() else None)
        rows = sum(len(part["advantages"]) for part in parts)
        self.computed = sum(len(part["advantages"]) for part in self._buffered_inputs) / rows
        first: dict[str, Any] = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return first

    def _leaves_out(self) -> bool:
        """Whether rows without an advantage add nothing but to the count of all tokens, which is known by then."""
        own = isinstance(self._scorer.reward, TokenLoss | GroupLoss)
        return not own and self.beta == 0 and self.loss_type == "dapo" and self.top_entropy_quantile == 1.0

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        method = self._scorer.reward
        if not isinstance(method, TokenLoss | GroupLoss):
            loss: Tensor = super()._compute_loss(model, inputs)
            return loss
        mask = inputs["completion_mask"]
        log_probs, _, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], mask], 1),
            inputs["completion_ids"].shape[1],
        )
        old = inputs.get("old_per_token_logps")
        old = log_probs.detach() if old is None else old
        if isinstance(method, TokenLoss):
            each = method.token_loss(log_probs, old, inputs["advantages"][:, None])
            share = inputs["num_items_in_batch"].clamp(min=1) / self._parts()
            total: Tensor = (each * mask).sum() / share
            return total
        return self._by_groups(method, log_probs, old, mask, inputs["row"])

    def _by_groups(self, method: GroupLoss, log_probs: Tensor, old: Tensor, mask: Tensor, row: Tensor) -> Tensor:
        """The mean of the groups' losses, and the penalty on divergence from the model that sampled, if any."""
        scores = (log_probs * mask).sum(1) / mask.sum(1).clamp(min=1)
        scores = scores[row.argsort()]
        size, losses = self.num_generations, []
        for at, (group, _) in enumerate(self._scorer.scored):
            losses.append(method.group_loss(group, scores[at * size : (at + 1) * size]))
        loss = torch.stack(losses).mean()
        penalty = getattr(method, "divergence_penalty", None)
        if penalty is not None:
            loss = loss + penalty(((old - log_probs) * mask).sum() / mask.sum().clamp(min=1))
        return loss

    def _parts(self) -> float:
        return float(self.args.steps_per_generation / self.current_gradient_accumulation_steps)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        place = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        (place / STATE).write_text(json.dumps(self._scorer.state()))

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._scorer.restore(json.loads((Path(checkpoint) / STATE).read_text()))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: what a model was made of stands in its recipe."""


def advantages(method: Any, groups: Sequence[Group], rewards: Sequence[list[float]]) -> list[float] | None:
    """One number for every rollout of a step, in order, where the method has advantages of its own."""
    if isinstance(method, Weighs):
        each = method.step_advantages(groups, rewards)
    elif isinstance(method, Advantages):
        each = [method.advantages(group, given) for group, given in zip(groups, rewards, strict=True)]
    elif isinstance(method, BatchAdvantages):
        each = method.batch_advantages(rewards)
    else:
        return None
    return [value for of_group in each for value in of_group]


def kept_rows(method: Any, groups: Sequence[Group], rewards: Sequence[list[float]]) -> list[bool] | None:
    """Which rollouts of a step are learned from, in order, where the method leaves some out."""
    if isinstance(method, Keeps):
        each = [method.keeps(group, given) for group, given in zip(groups, rewards, strict=True)]
    elif isinstance(method, BatchKeeps):
        each = method.batch_keeps(groups, rewards)
    else:
        return None
    return [keep for of_group in each for keep in of_group]


def teaching(parts: Sequence[dict[str, Any]]) -> Tensor:
    """Which rows of all parts have a part in the gradient, ``[rows]``."""
    return torch.cat([(part["advantages"] != 0) & (part["completion_mask"].sum(1) > 0) for part in parts])


def by_length(parts: Sequence[dict[str, Any]], wanted: Tensor | None = None) -> list[dict[str, Any]]:
    """The same rows in as many parts of the same size, short ones together, without columns of padding alone.

    Of rows that are not ``wanted [rows]`` no more are taken, the shortest, than it takes to have one for each part.
    """
    joined = {name: _join([part[name] for part in parts]) for name in parts[0]}
    lengths = joined["completion_mask"].sum(1)
    order = lengths.argsort(descending=True, stable=True)  # the largest pass first: it either fits, or none does
    if wanted is not None:
        few = max(len(parts) - int(wanted.sum()), 0)
        order = torch.cat([order[wanted[order]], order[~wanted[order]][len(order) - int(wanted.sum()) - few :]])
    made = []
    for rows in order.tensor_split(len(parts)):
        part = {
            name: value[rows] if torch.is_tensor(value) and value.dim() else value for name, value in joined.items()
        }
        ends = part["completion_mask"].shape[1]
        longest = max(int(part["completion_mask"].sum(1).max()), 1)
        for name, value in part.items():
            if name.endswith("_per_token_logps") or name in _ROWS:
                part[name] = value[:, : min(longest, ends)]
        made.append(part)
    return made


def _join(values: Sequence[Any]) -> Any:
    first = values[0]
    return torch.cat(list(values)) if torch.is_tensor(first) and first.dim() else first
