"""Rollouts of methods that ask for more than independent ones: thoughts cut short, budgets in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from laconic.errors import GroupError
from laconic.training.base import Cuts, Hints
from laconic.training.group import Group, Rollout
from laconic.training.run.rollouts import EngineRollouts, Runs
from laconic.training.trl import written
from laconic.types import Limits, Request


@dataclass
class CutRollouts(EngineRollouts):
    """One thought for each group, left at the places that ``method`` draws, closed there, and answered.

    A group has ``generations`` rows: the exits in ascending order, and the whole rollout in all rows that are left. A
    rollout that has no thought, or that the limit cut off in it, stands in all rows.
    """

    method: Cuts | None = None
    generations: int = 1

    def write(self, engine: Runs, asked: list[Request]) -> dict[str, Any]:
        """See :meth:`EngineRollouts.write`."""
        assert self.method is not None
        firsts = list(range(0, len(asked), self.generations))
        whole = self.run(engine, [asked[at] for at in firsts])
        rows: list[list[int]] = [[] for _ in asked]
        exits: list[tuple[int, list[int], Request]] = []
        for first, result in zip(firsts, whole, strict=True):
            for row in range(first, first + self.generations):
                rows[row] = list(result.tokens)
            for part, left in enumerate(self._left(asked[first], result.tokens, first)[: self.generations - 1]):
                request = replace(
                    asked[first],
                    prompt=(*asked[first].prompt, *left),
                    sampling=self.sampling(self._step, first, part + 1),
                    limits=Limits(max(self.max_tokens - len(left), 1), answer_room=0),
                    phase="answer",
                )
                exits.append((first + part, left, request))
        answers = self.run(engine, [request for _, _, request in exits], remember=False)
        for (row, left, _), answer in zip(exits, answers, strict=True):
            rows[row] = [*left, *answer.tokens]
        return {"prompt_ids": [list(request.prompt) for request in asked], "completion_ids": rows}

    def _left(self, request: Request, tokens: Sequence[int], first: int) -> list[list[int]]:
        """The thought as it stands at each exit before its end, closed."""
        assert self.method is not None
        kinds = written(self.text, list(request.prompt), tokens).kinds
        thought = [at for at, kind in enumerate(kinds) if kind == "thinking"]
        if not thought or "answer" not in kinds:
            return []
        random = Random(f"{self.seed} {self._step} {first}")
        ending = self.text.encode(self.text.format.ending)
        inner = [cut for cut in self.method.cuts(len(thought), random) if cut < len(thought)]
        return [[*tokens[: thought[cut - 1] + 1], *ending] for cut in inner]


@dataclass
class HintRollouts(EngineRollouts):
    """Rollouts that are told how long they shall be, by one of ``budgets``.

    Where ``method`` has budgets for rollouts (``each``) they take turns within a group, otherwise each group draws one.
    What is said at the beginning of a thought counts as part of the prompt: it is not learned.
    """

    method: Hints | None = None
    generations: int = 1
    budgets: tuple[int, ...] = ()

    def write(self, engine: Runs, asked: list[Request]) -> dict[str, Any]:
        """See :meth:`EngineRollouts.write`; with each row's budget and what was really asked."""
        assert self.method is not None
        budgets: list[int] = []
        for first in range(0, len(asked), self.generations):
            one = Random(f"{self.seed} {self._step} {first}").choice(self.budgets)
            turns = (self.budgets[at % len(self.budgets)] for at in range(self.generations))
            budgets += turns if self.method.each else [one] * self.generations
        told = Group(tuple(Rollout(0, budget=budget) for budget in budgets))
        hinted = [self._telling(request, hint) for request, hint in zip(asked, self.method.hint(told), strict=True)]
        found = super().write(engine, hinted)
        return found | {"budget": budgets, "prompt_tokens": found["prompt_ids"]}

    def _telling(self, request: Request, hint: str) -> Request:
        assert self.method is not None
        if self.method.said == "question":
            if request.question is None:
                raise GroupError("a budget cannot be said in a prompt that was rendered already.", "Give messages.")
            tokens, phase = self.text.ask(request.question.saying(hint, "hint", "a budget").messages)
            return replace(request, prompt=tokens, phase=phase)
        form = self.text.format
        opened = "" if request.phase == "thinking" else form.opens + form.lead
        tokens = (*request.prompt, *self.text.encode(f"{opened}{hint}\n\n"))
        return replace(request, prompt=tokens, phase="thinking")
