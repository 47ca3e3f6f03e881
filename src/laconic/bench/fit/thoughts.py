"""Step ends of free thoughts, as examples: the model's state there, and how the thought was doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from laconic.bench.grading import same
from laconic.bench.oracle.exits import Thought
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.thinking.base import Belief, Probe
from laconic.types import Request

Label = Literal["right", "final"]
STATE = Probe("", "\n", max_tokens=1, close=False)
"""Asks for the very next token of the open thought, and so for the state behind it."""


@dataclass(frozen=True, slots=True)
class Examples:
    """One a step end: states ``[n, width]``, settled (0 or 1), share done and tokens left ``[n]``; and of how many
    thoughts."""

    states: Tensor
    settled: Tensor
    progress: Tensor
    remaining: Tensor
    thoughts: int

    def __len__(self) -> int:
        return len(self.settled)


def examples(
    engine: Engine,
    items: Sequence[Item],
    requests: Sequence[Request],
    label: Label,
    *,
    batch: int = 16,
    after: Callable[[str], Any] = lambda said: None,
) -> list[Examples]:
    """The examples of each thought that came to its end and has steps."""
    writer, found = engine.using(think=()), []
    for start in range(0, len(requests), batch):
        part = requests[start : start + batch]
        for item, request, result in zip(items[start:], part, writer.run(part, batch=batch), strict=False):
            made = _of(engine, item, request, result.tokens, label)
            if made is not None:
                found.append(made)
        after(f"{min(start + batch, len(requests))} of {len(requests)} thoughts")
    return found


def _of(engine: Engine, item: Item, request: Request, tokens: Sequence[int], label: Label) -> Examples | None:
    try:
        thought = Thought(engine.target, engine.text, request, tokens)
    except ValueError:  # there is no thought, or it was cut off
        return None
    ends, own = thought.ends[:-1], thought.ends[-1]
    if not ends:
        return None
    thought.show_hidden()
    states = [hidden for end in ends if (hidden := thought.belief(end, STATE).hidden) is not None]
    last = thought.belief(own)
    settled = [_settled(item, thought.belief(end), last, label) for end in ends]
    spent = torch.tensor([float(end.thinking) for end in ends])
    return Examples(
        torch.stack(states).float().cpu(),
        torch.tensor(settled).float(),
        spent / own.thinking,
        own.thinking - spent,
        1,
    )


def _settled(item: Item, belief: Belief, last: Belief, label: Label) -> bool:
    if not belief.complete:
        return False
    judged = item.judge_answer(belief.answer) if label == "right" else None
    return same(last.answer, belief.answer) if judged is None else judged


def joined(parts: Sequence[Examples]) -> Examples:
    """Several thoughts' examples as one."""
    return Examples(
        torch.cat([part.states for part in parts]),
        torch.cat([part.settled for part in parts]),
        torch.cat([part.progress for part in parts]),
        torch.cat([part.remaining for part in parts]),
        sum(part.thoughts for part in parts),
    )
