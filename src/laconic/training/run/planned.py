"""Rollouts by a plan: what :mod:`laconic.training.plans` asks for, in the rows that TRL's trainer expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import torch

from laconic.errors import TrainingError
from laconic.training.plans.base import Plan, Planned
from laconic.training.run.rollouts import EngineRollouts, Runs, trained
from laconic.training.run.solutions import Solution
from laconic.training.trl import written
from laconic.types import Limits, Request, Result

_AT_ONCE = 256
"""Tokens whose distributions are in memory together."""
Row = Mapping[str, Any]
"""What the trainer's data set says of a row."""


@dataclass
class PlannedRollouts(EngineRollouts):
    """As many rollouts as the trainer asks for, made by ``plan``; of ``generations`` for each problem on average."""

    plan: Plan | None = None
    generations: int = 1
    solutions: Mapping[str, Solution] = field(default_factory=dict, repr=False)
    """By the rows' ``problem``."""
    judged: Callable[[Row, str], bool] = lambda row, answer: False
    """Whether an answer to a row is right."""
    rows: Sequence[Row] = field(default_factory=list, repr=False)
    """Of each prompt of the next call; the trainer sets it."""
    sizes: list[int] = field(default_factory=list, repr=False)
    """Rollouts of each problem of the last call, in order."""
    trainer: Any = field(default=None, repr=False)
    _hints: list[int] = field(default_factory=list, repr=False)

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """See the base. What is returned for a row may belong to another problem than its prompt's: see ``sizes``."""
        self.trainer = trainer
        return super().__call__(prompts, trainer)

    def write(self, engine: Runs, asked: list[Request]) -> dict[str, Any]:
        """See :meth:`EngineRollouts.write`."""
        assert self.plan is not None
        made = self.plan.rollouts(_Step(self, engine, asked))
        self.sizes = _sizes(self.plan, made, len(asked), self.generations)
        found: dict[str, Any] = {
            "prompt_ids": [list(each.prompt) for each in made],
            "completion_ids": [list(each.completion) for each in made],
            "prompt_tokens": [list(each.prompt[: len(each.prompt) - each.hint]) for each in made],
        }
        self._hints = [each.hint for each in made]
        if any(each.path for each in made):
            found["path"] = [each.path for each in made]
        if any(self._hints):
            found["hint"] = self._hints
            found["begun"] = [list(each.prompt[len(each.prompt) - each.hint :]) for each in made]
        return found

    def begun(self, rows: int) -> list[int]:
        """See the base."""
        return self._hints

    def sources(self) -> list[int]:
        """Of each row of the last call the row whose problem it belongs to."""
        return [at * self.generations for at, size in enumerate(self.sizes) for _ in range(size)]


def _sizes(plan: Plan, made: Sequence[Planned], rows: int, size: int) -> list[int]:
    """Rollouts of each problem. Raises TrainingError for a plan that breaks its contract."""
    problems = [each.problem for each in made]
    if len(made) != rows or sorted(problems) != problems or set(problems) != set(range(rows // size)):
        raise TrainingError(f"the plan '{plan.name}' made {len(made)} rollouts of {len(set(problems))} problems.")
    return [problems.count(at) for at in range(rows // size)]


class _Step:
    """One step's rollouts in the making."""

    def __init__(self, rollouts: PlannedRollouts, engine: Runs, asked: Sequence[Request]) -> None:
        self._rollouts, self._engine = rollouts, engine
        self.size, self.limit = rollouts.generations, rollouts.max_tokens
        self.asked = asked[:: self.size]
        self._rows = rollouts.rows[:: self.size] or [{}] * len(self.asked)

    def run(self, requests: Sequence[Request], problems: Sequence[int], part: int) -> list[Result]:
        often: dict[int, int] = {}
        seeded = []
        for request, at in zip(requests, problems, strict=True):
            often[at] = often.get(at, -1) + 1
            sampling = self._rollouts.sampling(self._rollouts._step, at, part * 4096 + often[at])
            seeded.append(replace(request, sampling=sampling))
        return self._rollouts.run(self._engine, seeded, remember=False)

    def request(self, problem: int, begun: Sequence[int], limit: int) -> Request:
        asked = self.asked[problem]
        phase = written(self._rollouts.text, list(asked.prompt), begun).phase if begun else asked.phase
        return replace(asked, prompt=(*asked.prompt, *begun), phase=phase, limits=Limits(limit, answer_room=0))

    def solution(self, problem: int) -> tuple[int, ...]:
        found = self._solved(problem)
        return () if found is None else found.tokens

    def words(self, problem: int) -> range:
        found = self._solved(problem)
        return range(0) if found is None else range(found.first, found.last + 1)

    def _solved(self, problem: int) -> Solution | None:
        return self._rollouts.solutions.get(self._rows[problem].get("problem", ""))

    def right(self, problem: int, completion: Sequence[int]) -> bool:
        reply = written(self._rollouts.text, list(self.asked[problem].prompt), completion).parts().answer
        return self._rollouts.judged(self._rows[problem], reply)

    @torch.no_grad()
    def gradient(self, problem: int, completion: Sequence[int]) -> float:
        model = trained(self._rollouts.trainer)
        prompt, n = self.asked[problem].prompt, len(completion)
        if not n:
            return 0.0
        tokens = torch.tensor([[*prompt, *completion]], device=model.device)
        made = model(tokens, output_hidden_states=True)
        heat, total = self._rollouts.temperature, 0.0
        for part in range(0, n, _AT_ONCE):
            places = torch.arange(part, min(part + _AT_ONCE, n), device=model.device) + len(prompt) - 1
            errors = -(made.logits[0, places].float() / heat).softmax(-1)
            errors[torch.arange(len(places)), tokens[0, places + 1]] += 1
            total = total + errors.T @ made.hidden_states[-1][0, places].float() / heat
        return float(torch.as_tensor(total).norm())

    def random(self, problem: int) -> Random:
        return Random(f"{self._rollouts.seed} {self._rollouts._step} {problem}")
