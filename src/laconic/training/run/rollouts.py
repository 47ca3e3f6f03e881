"""Rollouts by laconic's engine: what TRL's trainer takes as its ``rollout_func``."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from laconic.engine import Engine, Methods
from laconic.models.causal_lm import digest
from laconic.models.text import Text
from laconic.splitmix import GOLDEN, MASK, mix
from laconic.training.run.workers import Workers, kept, release, target
from laconic.types import Limits, Question, Request, Result, Sampling


class Runs(Protocol):
    """Serves requests over some weights."""

    @property
    def path(self) -> str:
        """How passes are made."""
        ...

    @property
    def passes(self) -> int:
        """Passes so far."""
        ...

    def run(self, requests: Sequence[Request], *, batch: int) -> list[Result]:
        """One result for each, in order."""
        ...


class Alone:
    """An engine in this process."""

    def __init__(self, engine: Engine) -> None:
        self.run = engine.run
        self._target: Any = engine.target

    @property
    def path(self) -> str:
        """How passes are made."""
        return str(self._target.path)

    @property
    def passes(self) -> int:
        """Passes so far."""
        return int(self._target.passes)


@dataclass
class EngineRollouts:
    """Samples the trainer's model as it is now, many rows at once and with drafts.

    For any ``GRPOTrainer(rollout_func=EngineRollouts(text, max_tokens=...))``; prompts are chat messages or texts that
    were rendered already, as the trainer's data set has them. The distribution is the model's at ``temperature``,
    without top-k, top-p or a minimum: what the trainer's ratios take it to be. Give the trainer the same temperature
    and limit. What is sampled depends on ``seed``, the trainer's step and the row alone: neither on the drafter nor on
    ``batch``, so that a run that is resumed samples what it would have sampled.

    The weights are copied from the trainer's model before each step's rollouts, adapters merged into them; the
    trainer's own model is never touched. The drafter stays: what it has seen, or learned, in one step it drafts from in
    the next. ``dtype`` None keeps their type. In another one the distribution is slightly
    another, for which nothing corrects here.
    """

    text: Text
    max_tokens: int
    temperature: float = 1.0
    drafter: str = "suffix"
    dtype: torch.dtype | None = None
    batch: int = 64
    seed: int = 0
    seconds: float = 0.0
    """Spent on rollouts so far, copies of weights included."""
    written: int = 0
    """Tokens written so far."""
    passes: int = 0
    """Passes made so far."""
    drafted: int = 0
    """Tokens drafted so far."""
    accepted: int = 0
    """Of these, how many stood."""
    path: str = ""
    """How passes were made last (``models.choice``); empty before any."""
    prompts: list[tuple[int, ...]] = field(default_factory=list, repr=False)
    """Tokens of the last call's prompts."""
    workers: int = 1
    """Processes that sample, with as many threads in all as PyTorch has here."""
    reuse: bool = False
    """Whether a rollout is drafted from the last one of the same prompt and place in its group.

    Both then have the same random numbers, so that a token comes out otherwise only where the model has changed enough
    (Draws.pick): as the idea of SPEC-RL (Liu et al. 2025), but exact at any step, without stored probabilities. What a
    prompt is given in one epoch is no longer independent of what it was given in the last.
    """
    base: str | None = None
    """Fingerprint of the model as it was before training, or None for that of the first one: what a trained drafter was
    made for. It is taken for every step's model, of which it drafts the less the more the model has changed, unless it
    goes on learning (ReSpec)."""
    share: float = 0.0
    """Of the last call's tokens, how many were taken over from former rollouts."""
    _engine: Runs | None = field(default=None, repr=False)
    _methods: Methods | None = field(default=None, repr=False)
    _former: dict[tuple[int, int], NDArray[np.int32]] = field(default_factory=dict, repr=False)
    """Outputs by prompt (its hash) and seed, four bytes a token; of each the last."""
    _taken: int = field(default=0, repr=False)
    """Tokens that former rollouts gave so far."""
    _seeds: list[int] = field(default_factory=list, repr=False)
    """Under ``reuse``, one for each row of the call: of its prompt and of how often that came before in the call."""
    _step: int = -1

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """One rollout for each prompt, in order: ``prompt_ids``, ``completion_ids`` with the token that ends them."""
        begun = time.perf_counter()
        engine = self.engine(trainer)
        self._seeds, taken, written = self._places(prompts), self._taken, self.written
        try:
            found = self.write(engine, [self.request(prompt, row) for row, prompt in enumerate(prompts)])
        finally:
            self._seeds = []
        self.prompts, self.path = [tuple(prompt) for prompt in found["prompt_ids"]], engine.path
        if isinstance(engine, Alone):
            self._engine = None  # the copy is of no use while the model is updated
            release(self._methods)
        self.seconds += time.perf_counter() - begun
        self.share = (self._taken - taken) / max(self.written - written, 1)
        return found | {"logprobs": None}

    def write(self, engine: Runs, asked: list[Request]) -> dict[str, Any]:
        """What the trainer is told of a step's rollouts, but for the probabilities: it computes these itself."""
        made = self.run(engine, asked)
        return {
            "prompt_ids": [list(request.prompt) for request in asked],
            "completion_ids": [list(result.tokens) for result in made],
        }

    def begun(self, rows: int) -> list[int]:
        """How many tokens at the end of each row's prompt are the beginning of its reply."""
        return [0] * rows

    def engine(self, trainer: Any) -> Runs:
        """What runs requests over the trainer's weights as they are in this step."""
        if self._engine is None or self._step != trainer.state.global_step:
            self._engine = self.over(trained(trainer))
            self._step = int(trainer.state.global_step)
        return self._engine

    def over(self, model: Any) -> Runs:
        """What runs requests over a copy of a model's weights as they are now."""
        if self._methods is None:
            self._methods = kept(Methods(drafter=self.drafter))
        if self.base is None:
            self.base = digest(copied(model, None))
        methods = self._methods
        if self.workers == 1:
            self._engine = None  # let go of the old weights before there are new ones
            release(methods)
            return Alone(Engine(target(copied(model, self.dtype), self.base), self.text, methods))
        if not isinstance(self._engine, Workers):
            threads = max(torch.get_num_threads() // self.workers, 1)
            self._engine = Workers(self.workers, self.text, methods, threads)
        self._engine.load(copied(model, self.dtype), self.base)
        return self._engine

    def run(self, engine: Runs, requests: Sequence[Request], *, remember: bool = True) -> list[Result]:
        """Serve requests, and count. Under ``reuse`` what they are given is remembered, unless it cannot come again."""
        before = engine.passes
        keys = [(hash(r.prompt), r.sampling.seed) for r in requests] if self._seeds and remember else []
        if keys:
            requests = [
                replace(request, prior=tuple(self._former[key].tolist())) if key in self._former else request
                for request, key in zip(requests, keys, strict=True)
            ]
        made = engine.run(requests, batch=self.batch)
        if keys:
            self._former |= {k: np.asarray(r.tokens, dtype=np.int32) for k, r in zip(keys, made, strict=True)}
            self._taken += sum(result.usage.predicted for result in made)
        self.written += sum(len(result.tokens) for result in made)
        self.drafted += sum(result.usage.drafted for result in made)
        self.accepted += sum(result.usage.accepted for result in made)
        self.passes += engine.passes - before
        return made

    def _places(self, prompts: Sequence[Any]) -> list[int]:
        """A number for each row that is the same whenever its prompt comes again; none without ``reuse``."""
        if not self.reuse:
            return []
        told, seen = [json.dumps(prompt, sort_keys=True) for prompt in prompts], Counter[str]()
        found = []
        for text in told:
            digest = hashlib.blake2b(f"{seen[text]} {text}".encode(), digest_size=8).digest()
            found.append(int.from_bytes(digest, "big"))
            seen[text] += 1
        return found

    def request(self, prompt: Any, row: int) -> Request:
        """What asks for the rollout of a row in this step."""
        question = None
        if isinstance(prompt, str):
            tokens = tuple(self.text.encode(prompt))
            phase = self.text.phase(tokens)
        else:
            question = Question(tuple(prompt))
            tokens, phase = self.text.ask(list(prompt))
        sampling, limits = self.sampling(self._step, row), Limits(self.max_tokens, answer_room=0)
        return Request(tokens, sampling, limits, question, phase=phase)

    def sampling(self, step: int, row: int, part: int = 0) -> Sampling:
        """With a seed of its own for each row of each step, and for each part of a row; see also ``reuse``."""
        place = (step, row) if not self._seeds else (0, self._seeds[row])
        seed = mix((mix(mix(self.seed + GOLDEN) + place[0]) + place[1]) & MASK)
        return Sampling(temperature=self.temperature, seed=mix((seed + part) & MASK) >> 1)


def trained(trainer: Any) -> Any:
    """The model that a trainer trains, without what is wrapped around it."""
    return trainer.accelerator.unwrap_model(trainer.model)


@torch.no_grad()
def copied(model: Any, dtype: torch.dtype | None) -> Any:
    """A copy of a model, adapters merged into it.

    Trainers put functions of their own in the place of a model's ``forward``. These are slower, and a copy of them
    would still call the original: they are left out of the copy.
    """
    made = copy.deepcopy(model)
    if hasattr(made, "merge_and_unload"):
        made = made.merge_and_unload()
    for module in made.modules():
        module.__dict__.pop("forward", None)
    made.config.use_cache = True
    return made.to(dtype or made.dtype).requires_grad_(False)
