"""Solutions from the data as a model would write them: for rollout plans that have a use for them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laconic.bench.tasks import Item
from laconic.errors import RecipeError
from laconic.models.text import Text
from laconic.training.plans.base import Plan
from laconic.training.traces.rendering import Renderer
from laconic.training.trl import written


@dataclass(frozen=True, slots=True)
class Solution:
    """A right completion of a problem, and where in it the words of its solution lie.

    After ``first`` to ``last`` of its tokens something has been said of the solution and neither a tag that closes the
    thought nor the answer behind it.
    """

    tokens: tuple[int, ...]
    first: int
    last: int


def solutions(plan: Plan, text: Text, items: Mapping[str, Item], limit: int) -> tuple[dict[str, Solution], str | None]:
    """Of each problem that has a usable one, by its number; and what is to be said of the others, if anything.

    Left out are those that do not come to the right answer as they would be read, and under a plan that learns from
    them whole those of more than ``limit`` tokens. Raises RecipeError where none is left.
    """
    render, found, wrong, long = Renderer(text), dict[str, Solution](), 0, 0
    for at, item in items.items():
        if not item.solution.strip():
            continue
        made = solution(render, item)
        reply = written(text, list(text.ask(_asked(item))[0]), made.tokens).parts().answer
        if not item.judge_answer(item.read(reply)):
            wrong += 1
        elif not plan.prompted and len(made.tokens) > limit:
            long += 1
        else:
            found[at] = made
    told = [f"{wrong} do not come to the right answer, as they are read"] if wrong else []
    told += [f"{long} have more than {limit} tokens"] if long else []
    if not found:
        raise RecipeError(
            f"'{plan.name}' gives solutions, and no problem has a usable one{': ' if told else ''}{', '.join(told)}.",
            'Write them as {"question": ..., "answer": ..., "solution": ...} into the file of problems.',
        )
    return found, f"solutions that are left out: {', '.join(told)}" if told else None


def solution(render: Renderer, item: Item) -> Solution:
    """What a model would write that thinks as the problem's solution says."""
    words, asked = item.solution.strip(), _asked(item)
    said = render.completion(asked, words, item.answer)
    begin = len(render.prompt(asked).opening)
    tokens = render.text.encode(said)

    def length(count: int) -> int:
        return len(render.text.decode(tokens[:count]))

    counts = range(len(tokens) + 1)
    first = bisect_right(counts, begin, key=length)
    last = bisect_right(counts, begin + len(words), key=length) - 1
    return Solution(tuple(tokens), first, last)


def _asked(item: Item) -> Sequence[Mapping[str, str]]:
    return [{"role": "user", "content": item.question}]
