"""Recipes: everything that a training run is made of, in one TOML file.

    model = "bundled"
    problems = "problems.jsonl"
    reward = "arora-zanette:alpha=0.2"

    [rollouts]
    prompts = 8
    generations = 8
    max_tokens = 400

    [update]
    steps = 60
    rate = 2e-5

Every other key has the default that is told here. A key that is not known is an error, as is a value that cannot be.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pydantic

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import RecipeError, did_you_mean
from laconic.policy import registry
from laconic.training.base import (
    Advantages,
    BatchAdvantages,
    Cuts,
    GroupLoss,
    Hints,
    Limits,
    Remembers,
    Reward,
    TokenLoss,
    Updates,
)
from laconic.training.plans.base import Plan, Weighs

_Count = Annotated[int, pydantic.Field(ge=1)]
_Share = Annotated[float, pydantic.Field(ge=0, le=1)]
_Rate = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
DType = Literal["float32", "bfloat16"]


class _Table(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Rollouts(_Table):
    """The table ``[rollouts]``: what is sampled in each step."""

    prompts: _Count = 8
    """Problems in a step."""
    generations: Annotated[int, pydantic.Field(ge=2)] = 8
    """Rollouts of each: the size of a group."""
    max_tokens: _Count = 1024
    """New tokens at most. A rollout that has more is cut off, and without an answer it is wrong."""
    temperature: Annotated[float, pydantic.Field(ge=0.01, le=100)] = 1.0
    """Of sampling, and of the log-probabilities in the loss."""
    drafter: str = "suffix"
    """What speculates; the distribution is the same with any."""
    dtype: DType | None = None
    """Of the copy that samples; None is the type that is trained. In bfloat16 a CPU samples faster, and from a
    distribution that is slightly another, for which nothing corrects."""
    batch: _Count = 64
    """Rollouts that are written at once."""
    workers: _Count = 1
    """Processes that sample. Two on two cores sample nearly twice as fast as one with two threads, for small models:
    half of the time is Python's."""
    reuse: bool = False
    """Draft each rollout from the one that its problem had in an earlier step, with the same random numbers: exact, and
    fast where the model has changed little. Of worth where problems come again, in runs of several epochs. Keeps four
    bytes for each token of a rollout of each problem; with budgets in the prompt only the same budget's are found."""
    plan: str = ""
    """Which rollouts a step has, as a spec; empty for independent ones. See ``laconic methods --family plan``."""
    budgets: tuple[_Count, ...] = ()
    """Lengths in tokens that rollouts are asked for, where the reward needs one (L1, HBPO)."""


class Update(_Table):
    """The table ``[update]``: what is learned from them. Names in brackets are TRL's."""

    steps: _Count = 100
    """Updates of the model (``max_steps``)."""
    rate: _Rate = 1e-6
    """Learning rate, after ``warmup`` steps constant (``learning_rate``)."""
    warmup: Annotated[int, pydantic.Field(ge=0)] = 0
    """Steps over which the rate rises."""
    clip: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.2
    """How far a token's ratio may fall below 1 (``epsilon``)."""
    clip_high: _Rate = 0.2
    """How far it may rise above 1 (``epsilon_high``); DAPO has 0.28."""
    kl: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight of the divergence from the model as it was (``beta``)."""
    loss: Literal["grpo", "dr_grpo", "dapo"] = "dapo"
    """How tokens are averaged (``loss_type``): by rollout, by the limit, or over all tokens of the step."""
    scale: Literal["group", "batch", "none"] = "group"
    """Whether advantages are divided by a standard deviation, and by whose (``scale_rewards``)."""
    iterations: _Count = 1
    """Passes over the rollouts of a step (``num_iterations``)."""
    rows: _Count = 8
    """Rows that a pass holds (``per_device_train_batch_size``): less is slower, and takes less memory."""
    max_norm: _Rate = 1.0
    """Norm to which gradients are clipped."""


class Lora(_Table):
    """The table ``[lora]``: train an adapter in place of the weights. Left out, all weights are trained."""

    rank: _Count = 16
    """Rank of the update."""
    alpha: _Rate = 32.0
    """The update counts ``alpha / rank`` times."""
    targets: str | tuple[str, ...] = "all-linear"
    """Layers that get one."""


class Examples(_Table):
    """The tables ``[sft]`` and ``[dpo]``: a JSONL file to learn from, and how often."""

    data: str
    """Rows as TRL reads them: ``prompt`` and ``completion``, or ``messages``; ``prompt``, ``chosen``, ``rejected``."""
    epochs: _Rate = 1.0
    """Times through the file."""
    rate: _Rate = 1e-5
    """Learning rate."""
    rows: _Count = 8
    """Rows of an update."""
    max_tokens: _Count | None = None
    """Tokens at which a row is cut off; None is the model's context."""
    beta: _Rate = 0.1
    """Of DPO alone: how much a divergence from the model as it was costs."""
    imitate: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    """Of DPO alone: weight of a second loss (``loss_weights``), the mean negative log-probability of the chosen reply's
    tokens. IRPO has 1; without it both replies of a pair may become less likely."""


class Evaluation(_Table):
    """The table ``[evaluation]``: the model on problems that it is not trained on."""

    problems: str = ""
    """Where they come from; empty for the last ``n`` of a file of problems, or the bundled model's held-out ones."""
    n: Annotated[int, pydantic.Field(ge=0)] = 64
    """How many; 0 leaves evaluations out."""
    every: _Count = 20
    """Steps between two; there is one before the first step and one after the last."""
    temperature: Annotated[float, pydantic.Field(ge=0, le=100)] = 0.0
    """0 is greedy."""


class Stop(_Table):
    """The table ``[stop]``: when a run has collapsed. Shares of the rollouts, averaged over the last ``window`` steps,
    are held against those at first; and at the end the last evaluation against the first, as far as intervals tell."""

    accuracy: _Share = 0.25
    """How far the share of right rollouts may fall below the first."""
    format: _Share = 0.25
    """How far the share of rollouts with a readable answer may fall."""
    window: _Count = 5
    """Steps that are averaged."""


class Recipe(_Table):
    """A whole recipe. Raises nothing by itself: :func:`read` and :func:`check` do, with what to change."""

    model: str
    """The model to train: a path, a hub name, or ``bundled``."""
    problems: str = ""
    """Questions with answers: a JSONL file, ``gym:NAME``, or kinds of the bundled model's; empty for all of these."""
    n: _Count = 1000
    """Problems at most."""
    reward: str = ""
    """The reward, as a spec; see ``laconic methods --family reward``."""
    dtype: DType = "float32"
    """Of the weights that are trained. In bfloat16 a small rate changes few of them: updates are rounded away."""
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**32)] = 0
    """Of everything that is drawn."""
    save: _Count = 20
    """Steps between two checkpoints, from which a run that was killed is resumed; a multiple of update.iterations."""
    threads: Annotated[int, pydantic.Field(ge=0)] = 0
    """Threads on a CPU; 0 leaves it to PyTorch."""
    rollouts: Rollouts = Rollouts()
    update: Update = Update()
    lora: Lora | None = None
    sft: Examples | None = None
    dpo: Examples | None = None
    evaluation: Evaluation = Evaluation()
    stop: Stop = Stop()

    @property
    def objective(self) -> Literal["grpo", "sft", "dpo"]:
        """What the recipe does, by what it names."""
        return "sft" if self.sft is not None else "dpo" if self.dpo is not None else "grpo"

    def method(self) -> Reward:
        """The reward. Raises MethodError subclasses for what is none."""
        return cast(Reward, registry.build("reward", self.reward))

    def plan(self) -> Plan | None:
        """The rollout plan, if there is one. Raises MethodError subclasses for what is none."""
        return cast(Plan, registry.build("plan", self.rollouts.plan)) if self.rollouts.plan else None


_OF_PAIRS = ("beta", "imitate")
"""What only a table [dpo] has a use for."""
MAY_CHANGE = {"save", "threads", "stop"}
"""What may be another in a run that is resumed: nothing that the result depends on."""


def read(path: str | Path, changes: tuple[str, ...] = ()) -> Recipe:
    """The recipe of a file, with ``changes`` such as ``update.steps=20`` made to it.

    The file is TOML, or the ``recipe.json`` of a run, which has all that was changed in it. Paths in it are meant from
    where the program is started. Raises RecipeError for a file that cannot be read, for keys that are not known, for
    values that cannot be, and for recipes that do not say one thing.
    """
    form = "JSON" if Path(path).suffix == ".json" else "TOML"
    try:
        text = Path(path).read_text("utf-8")
        said = _written(text) if form == "JSON" else tomllib.loads(text)
    except OSError as error:
        raise RecipeError(
            f"cannot read '{path}': {error.strerror}.", "Give the path of a TOML file, or of a run's recipe.json."
        ) from error
    except ValueError as error:  # of either form, or of UTF-8
        raise RecipeError(f"'{path}' is not {form}: {error}.") from error
    for change in changes:
        _set(said, change)
    return of(said, str(path))


def _written(text: str) -> dict[str, Any]:
    """What a run's own ``recipe.json`` says besides the defaults, which nobody has chosen."""
    whole = json.loads(text)
    if not isinstance(whole, dict):
        raise ValueError("it holds no object")
    try:
        return Recipe.model_validate(whole).model_dump(exclude_defaults=True)
    except pydantic.ValidationError:
        return cast(dict[str, Any], whole)  # told with the key, as of any recipe


def of(said: dict[str, Any], where: str = "the recipe") -> Recipe:
    """The recipe that says so; see :func:`read`."""
    try:
        recipe = Recipe.model_validate(said)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        keys = [str(part) for part in first["loc"]]
        raise RecipeError(f"{where}, '{'.'.join(keys)}': {first['msg'].lower()}.", _known(keys)) from error
    _consistent(recipe, where)
    _applies(recipe, where)
    return recipe


def changed(old: Recipe, new: Recipe) -> list[str]:
    """In what two recipes differ and must not, if one takes up the other's run: keys with both values."""
    mine, yours = (flat(each.model_dump(mode="json", exclude=MAY_CHANGE)) for each in (old, new))
    names = sorted(name for name in mine.keys() | yours.keys() if mine.get(name) != yours.get(name))
    return [f"{name} ({mine.get(name, 'not said')}, now {yours.get(name, 'not said')})" for name in names]


def _consistent(recipe: Recipe, where: str) -> None:
    named = [name for name, there in (("reward", recipe.reward), ("sft", recipe.sft), ("dpo", recipe.dpo)) if there]
    if len(named) != 1:
        said = " and ".join(named) or "none of them"
        raise RecipeError(
            f"{where} must have one of: a reward, a table [sft], a table [dpo]; it has {said}.",
            'For reinforcement learning write reward = "kimi", say; laconic methods --family reward lists them.',
        )
    rows = recipe.rollouts.prompts * recipe.rollouts.generations
    if recipe.objective == "grpo" and rows % min(recipe.update.rows, rows):
        raise RecipeError(
            f"{where}: update.rows={recipe.update.rows} does not divide the {rows} rollouts of a step.",
            "Choose a divisor of rollouts.prompts * rollouts.generations.",
        )
    if recipe.objective == "grpo" and recipe.save % recipe.update.iterations:
        raise RecipeError(
            f"{where}: a checkpoint every {recipe.save} steps would part the {recipe.update.iterations} passes over"
            " the same rollouts.",
            "Make save a multiple of update.iterations.",
        )
    if recipe.lora is not None and recipe.dtype != "float32":
        raise RecipeError(f"{where}: an adapter is trained in float32.", "Leave dtype out, or [lora].")


def _applies(recipe: Recipe, where: str) -> None:
    """Raise RecipeError for what is said and would be without effect."""
    if recipe.objective != "grpo":
        beside = [name for name in ("update",) if name in recipe.model_fields_set]
        if beside:
            raise RecipeError(f"{where}: [{beside[0]}] has no effect beside [{recipe.objective}].", "Leave it out.")
        if recipe.rollouts.plan:
            raise RecipeError(f"{where}: rollouts.plan has no effect beside [{recipe.objective}].", "Leave it out.")
        told = [] if recipe.sft is None else [key for key in _OF_PAIRS if key in recipe.sft.model_fields_set]
        if told:
            raise RecipeError(f"{where}: sft.{told[0]} has no effect.", "It belongs to [dpo].")
        return
    method, update, plan = recipe.method(), recipe.update, recipe.plan()
    said = update.model_fields_set
    if plan is not None:
        _planned(recipe, method, plan, where)
    own = isinstance(method, TokenLoss | GroupLoss)
    idle: list[str] = [name for name in ("kl", "loss", "clip", "clip_high") if own and name in said]
    owner = plan if isinstance(plan, Weighs) else method if isinstance(method, Advantages | BatchAdvantages) else None
    idle += ["scale"] if owner is not None and "scale" in said else []
    if idle:
        name = method.name if owner is None or idle[0] != "scale" else owner.name
        raise RecipeError(f"{where}: update.{idle[0]} has no effect, '{name}' has its own.", "Leave it out.")
    if isinstance(method, TokenLoss) and update.iterations < 2:
        raise RecipeError(
            f"'{method.name}' differs from 'outcome' only where the model has moved since it sampled.",
            "Set update.iterations to 2 or more.",
        )


def _planned(recipe: Recipe, method: Reward, plan: Plan, where: str) -> None:
    """Raise RecipeError for what does not go together with a plan of the rollouts."""
    if isinstance(method, Cuts | Hints):
        raise RecipeError(
            f"{where}: '{method.name}' makes rollouts of its own, and so does '{plan.name}'.",
            "Leave rollouts.plan out, or choose another reward.",
        )
    if isinstance(plan, Weighs) and isinstance(method, Advantages | BatchAdvantages | GroupLoss):
        raise RecipeError(
            f"{where}: '{method.name}' and '{plan.name}' both have advantages of their own.",
            "Leave rollouts.plan out, or choose another reward.",
        )
    if plan.prompted and isinstance(method, Remembers | Updates):
        raise RecipeError(
            f"{where}: '{method.name}' goes by earlier rollouts' lengths, and '{plan.name}' gives some of them a part.",
            "Choose a reward that remembers nothing.",
        )
    if recipe.rollouts.reuse:
        raise RecipeError(f"{where}: rollouts.reuse has no effect beside rollouts.plan.", "Leave one of them out.")
    most = recipe.rollouts.max_tokens
    if isinstance(method, Limits):
        most = min(most, *(method.limit(step) for step in range(recipe.update.steps)))
    plan.check(recipe.rollouts.generations, most)


def _set(said: dict[str, Any], change: str) -> None:
    name, equals, value = change.partition("=")
    *tables, key = name.strip().split(".")
    if not equals or not key:
        raise RecipeError(f"'{change}' changes nothing.", "Write KEY=VALUE, e.g. update.steps=20.")
    at = said
    for table in tables:
        at = at.setdefault(table, {})
        if not isinstance(at, dict):
            raise RecipeError(f"'{change}': '{table}' is no table.")
    try:
        at[key] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        at[key] = value  # a string need not be quoted on a command line


def _known(keys: list[str]) -> str:
    """The keys that there are where one was not known."""
    table: type[pydantic.BaseModel] = Recipe
    for key in keys[:-1]:
        found: dict[str, type[pydantic.BaseModel]] = {
            "rollouts": Rollouts,
            "update": Update,
            "lora": Lora,
            "sft": Examples,
            "dpo": Examples,
        }
        found |= {"evaluation": Evaluation, "stop": Stop}
        if key not in found:
            return ""
        table = found[key]
    names = list(table.model_fields)
    return "" if keys[-1] in names else did_you_mean(keys[-1], names)


def flat(said: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Tables and keys as one table, ``update.steps``, with values in JSON."""
    found: dict[str, str] = {}
    for key, value in said.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: json.dumps(value)}
    return found
