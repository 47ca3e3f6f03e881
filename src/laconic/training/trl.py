"""Any reward as a function for TRL's ``GRPOTrainer``, which is not imported here.

What the trainer does, as of TRL 1.16, and what follows from it:

* A function is called once for each generated batch and *process*, with that process's rows: the ``num_generations``
  rollouts of a prompt one after the other, several prompts in one call, and a prompt twice where the dataset has it
  twice. So groups are cut by position, and the prompt is only checked.
* With several processes a group may be split between two of them, where ``per_device_train_batch_size *
  steps_per_generation`` is no multiple of ``num_generations``. A function cannot see the other part: GroupError.
* What it returns is normalised by the trainer, over the group or the batch. A method with advantages, a loss, a filter
  or a limit of its own would be another method there: UnmetNeed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.answers import extract
from laconic.equality import same
from laconic.errors import GroupError, UnmetNeed
from laconic.models.text import Text
from laconic.policy import registry
from laconic.thinking.scores.redundancy import repeated_share
from laconic.training import base
from laconic.training.base import Batched, Remembers, Reward, Updates, besides, checked
from laconic.training.group import Group, Rollout
from laconic.transcript import Transcript
from laconic.types import Request

_OUT_OF_REACH = (
    base.Advantages,
    base.BatchAdvantages,
    base.BatchKeeps,
    base.Cuts,
    base.GroupLoss,
    base.Keeps,
    base.Limits,
    base.TokenLoss,
)
"""What a function that only rewards cannot do."""
_OF_ROLLOUTS = ("budget", "repeats", "thought_entropy", "answer_entropy", "path", "hint")
_GRAM, _LOOPS = 8, 0.5
"""A rollout repeats itself where more than this share of its runs of so many tokens came before."""
_OF_GROUPS = ("effort", "reference", "pass_rate")


Judge = Callable[[str, str], tuple[bool, bool]]
"""Of the right answer (the dataset's) and a reply: whether that is right, and whether it states an answer at all."""


def _equal(right: str, reply: str) -> tuple[bool, bool]:
    """By laconic's own equality."""
    stated = extract(reply)
    return same(right, stated), bool(stated)


class GroupReward:
    """Rewards of whole groups, called as TRL's trainer calls its reward functions.

    ``generations`` and ``limit`` are the trainer's ``num_generations`` and ``max_completion_length``; evaluations
    must have as many generations. A smaller number that divides the trainer's would cut its groups into parts
    unnoticed. ``answer`` names the dataset's column with the right answers, which laconic's own equality
    (:func:`laconic.equality.same`), or another ``judge``, holds against what a completion states. ``text`` is the
    model's tokenizer as laconic sees it: with it the thought is told from the answer, and only the answer is read;
    without it the whole completion is read, and rewards that need the length of the thought raise GroupError. A
    completion counts as cut off if it does not end with a token that ends texts; without ``text``, if it has
    ``limit`` tokens.

    Other columns of the dataset, or of a ``rollout_func``, are taken where they are named as fields of
    :class:`~laconic.training.group.Rollout` (budget, repeats, entropies, path, hint) or of
    :class:`~laconic.training.group.Group` (effort, reference, pass_rate), ``prompt_tokens`` for what was really asked,
    and ``begun`` for tokens behind it that were given and begin the reply. What a method says in the prompt must stand
    in the dataset's prompts, with a column ``budget`` or ``effort`` beside it.

    What a method learns while it trains (:class:`~laconic.training.base.Updates`, ``Remembers``) is kept in this
    object, by prompt and answer; :meth:`state` and :meth:`restore` carry it through a checkpoint. An evaluation's
    batches add to it.

    Raises GroupError for a call whose groups are incomplete or whose columns do not fit, RewardError for rewards that
    are no finite numbers.
    """

    def __init__(
        self,
        reward: Reward | str,
        *,
        generations: int,
        limit: int,
        text: Text | None = None,
        answer: str = "answer",
        judge: Judge = _equal,
    ) -> None:
        self.reward = cast(Reward, registry.build("reward", reward))
        self.__name__ = self.reward.name  # what the trainer calls it in its logs
        self.limit = limit
        """Tokens that a rollout may have; may be set anew between two calls."""
        self.scored: list[tuple[Group, list[float]]] = []
        """Groups and rewards of the last call, in order."""
        self.sizes: list[int] | None = None
        """Rollouts of each group of the next call, in order; None where each has ``generations``."""
        self._generations, self._text, self._answer, self._judge = generations, text, answer, judge
        self._kept: dict[str, float | None] = {}
        if generations < 1 or limit < 1:
            raise GroupError(f"generations={generations} and limit={limit} must both be 1 or more.")

    def state(self) -> dict[str, Any]:
        """What was learned so far, ready for JSON."""
        return {"reward": self.reward.spec(), "kept": self._kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where :meth:`state` was."""
        self.reward = cast(Reward, registry.build("reward", state["reward"]))
        self._kept = dict(state["kept"])

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float]:
        """One reward for each completion, in order. ``columns``: one list each, as long as ``prompts``."""
        groups = self._groups(prompts, completions, completion_ids, columns)
        if isinstance(self.reward, Batched):
            rewards = self.reward.batch_rewards(groups)
        else:
            rewards = [self.reward.rewards(group) for group in groups]
        given = [checked(self.reward.name, found, group) for found, group in zip(rewards, groups, strict=True)]
        self.scored = list(zip(groups, given, strict=True))
        self._learn(groups, prompts, columns)
        return [value for of_group in given for value in of_group]

    def _groups(
        self, prompts: Sequence[Any], completions: Sequence[Any], ids: Sequence[Sequence[int]], columns: dict[str, Any]
    ) -> list[Group]:
        size, rows = self._generations, len(prompts)
        if self._answer not in columns:
            lists = sorted(name for name, values in columns.items() if isinstance(values, list))
            raise GroupError(f"there is no column '{self._answer}' with right answers.", f"Columns: {lists}.")
        if self.sizes is None and rows % size:
            raise GroupError(
                f"{rows} completions are no whole groups of {size}.",
                "Give generations as the trainer's num_generations, and each process a multiple of it.",
            )
        return [self._group(part, prompts, completions, ids, columns) for part in self._parts(rows)]

    def _parts(self, rows: int) -> list[slice]:
        """The rows of each group."""
        sizes = [self._generations] * (rows // self._generations) if self.sizes is None else self.sizes
        ends = list(accumulate(sizes))
        return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]

    def _group(
        self,
        part: slice,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        ids: Sequence[Sequence[int]],
        columns: dict[str, Any],
    ) -> Group:
        keys = {self._key(prompts[at], columns[self._answer][at]) for at in range(part.start, part.stop)}
        if len(keys) > 1:
            raise GroupError(
                f"completions {part.start} to {part.stop - 1} answer {len(keys)} prompts: a group is incomplete.",
                "Give generations as the trainer's num_generations, and each process whole groups: make"
                " per_device_train_batch_size * steps_per_generation a multiple of it.",
            )
        belongs = {name: self._common(name, columns[name][part]) for name in _OF_GROUPS if name in columns}
        kept = self._kept.get(next(iter(keys)))
        if kept is not None:
            belongs["reference"] = kept
        rollouts = []
        for at in range(part.start, part.stop):
            told = {name: columns[name][at] for name in _OF_ROLLOUTS if name in columns}
            asked = columns["prompt_tokens"][at] if "prompt_tokens" in columns else prompts[at]
            begun = columns["begun"][at] if "begun" in columns else ()
            found = self._rollout(asked, begun, completions[at], ids[at], str(columns[self._answer][at]))
            rollouts.append(replace(found, **told))
        step = getattr(columns.get("trainer_state"), "global_step", 0)
        return Group(tuple(rollouts), step=step, limit=self.limit, **belongs)

    def _rollout(self, prompt: Any, begun: Sequence[int], completion: Any, ids: Sequence[int], right: str) -> Rollout:
        if self._text is None:
            said = _plain(completion)
            return self._judged(said, said, right, ids=ids, tokens=len(ids), truncated=len(ids) >= self.limit)
        transcript = written(self._text, prompt, [*begun, *ids])
        parts, thought = transcript.parts(), transcript.told()[len(begun) :].count("thinking")
        cut = bool(ids) and ids[-1] not in self._text.eos
        return self._judged(parts.text, parts.answer, right, ids=ids, tokens=len(ids), thought=thought, truncated=cut)

    def _judged(self, text: str, reply: str, right: str, **counted: Any) -> Rollout:
        """The rollout of a text, of which ``reply`` is what may state the answer."""
        correct, stated = self._judge(right, reply)
        stated = stated and not counted["truncated"]  # what was cut off has not come to its answer
        counted["repeats"] = repeated_share(counted.pop("ids"), _GRAM) > _LOOPS
        return Rollout(right=correct, formatted=stated, text=text, **counted)

    def _learn(self, groups: Sequence[Group], prompts: Sequence[Any], columns: dict[str, Any]) -> None:
        if isinstance(self.reward, Remembers):
            for part, group in zip(self._parts(len(prompts)), groups, strict=True):
                row = part.start
                key = self._key(prompts[row], columns[self._answer][row])
                kept = self._kept.get(key)  # by an earlier group of this very call, where a prompt comes twice
                before = group if kept is None else replace(group, reference=kept)
                self._kept[key] = self.reward.remember(before)
        if isinstance(self.reward, Updates):
            self.reward = cast(Reward, self.reward.update(groups))

    def _key(self, prompt: Any, answer: Any) -> str:
        return json.dumps([prompt, answer], sort_keys=True, default=str)

    def _common(self, name: str, values: Sequence[Any]) -> Any:
        if len(set(values)) > 1:
            raise GroupError(f"'{name}' belongs to the prompt, and a group has {sorted(set(values))}.")
        return values[0]


class TRLReward(GroupReward):
    """``reward`` for ``GRPOTrainer(reward_funcs=[...])``, a trainer that knows nothing of laconic.

    Several processes would each learn something else, so methods that learn while they train are refused there. Raises
    UnmetNeed for methods that are more than a reward to the trainer, and what :class:`GroupReward` does.
    """

    def __init__(self, reward: Reward | str, **options: Any) -> None:
        super().__init__(reward, **options)
        if isinstance(self.reward, _OUT_OF_REACH):
            raise UnmetNeed(
                f"'{self.reward.name}' is more than a reward ({', '.join(besides(self.reward))}), which TRL's trainer"
                " would leave out.",
                "Choose one that is only a reward; docs/training.md tells which are.",
            )
        if isinstance(self.reward, Updates | Remembers) and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UnmetNeed(
                f"'{self.reward.name}' learns while it trains, and several processes would each learn something else.",
                "Train it in one process.",
            )


def _plain(completion: Any) -> str:
    """The text of a completion: a string, or the contents of chat messages."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message.get("content") or "") for message in completion)


def written(text: Text, prompt: Any, ids: Sequence[int]) -> Transcript:
    """A completion as the reply to its prompt: token ids, a text that was rendered, or messages."""
    if isinstance(prompt, str):
        prompt = text.encode(prompt)
    if prompt and isinstance(prompt[0], int):
        asked, phase = tuple(prompt), text.phase(prompt)
    else:
        asked, phase = text.ask(list(prompt))
    transcript = Transcript(text, Request(asked, phase=phase), list(asked))
    for token in ids:
        transcript.push(token)
    return transcript
