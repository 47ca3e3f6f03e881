"""What a push does: to the length and the rightness of thoughts, and to the next token's distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor

from laconic.bench.along import read
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.models.base import LanguageModel, Steerable
from laconic.thinking.steer.push import Push
from laconic.types import Limits, Request, Result

Vectors = Mapping[int, Tensor]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model made of ``n`` problems: mean thinking tokens, share right, and share cut off at the limit."""

    n: int
    thinking: float
    right: float
    cut_off: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def answers(
    engine: Engine, items: Sequence[Item], limits: Limits, vectors: Vectors | None = None, batch: int = 16
) -> tuple[list[Request], list[Result]]:
    """Greedy answers to ``items``, pushed by ``vectors``."""
    think = (Push(dict(vectors)),) if vectors else ()
    requests = [engine.request(item.question, limits=limits) for item in items]
    return requests, engine.using(think=think).run(requests, batch=batch)


def outcome(items: Sequence[Item], results: Sequence[Result]) -> Outcome:
    """Count. A thought that never ended counts with the length at which it was cut off."""
    n = len(items)
    return Outcome(
        n,
        sum(result.usage.thinking for result in results) / n,
        sum(bool(item.judge(result.answer)) for item, result in zip(items, results, strict=True)) / n,
        sum(result.finish_reason == "length" for result in results) / n,
    )


@torch.inference_mode()
def divergences(
    model: LanguageModel, texts: Sequence[tuple[Sequence[int], Sequence[int]]], pushes: Sequence[Vectors]
) -> list[float]:
    """For each of ``pushes``, the mean of KL(free || pushed) of the next token, in nats, over ``texts``.

    A text is a prompt and what the free model wrote. Over such texts the sum along a text estimates the divergence of
    whole texts, by the chain rule.
    """
    totals, count = [0.0] * len(pushes), 0
    for prompt, tokens in texts:
        with ExitStack() as stack:
            slots = [stack.enter_context(closing(model.open())) for _ in (None, *pushes)]
            for slot, vectors in zip(slots[1:], pushes, strict=True):
                cast(Steerable, model).steer(slot, vectors, len(prompt) - 1)
            free, *pushed = (read(model, slot, prompt, tokens) for slot in slots)
            for scores in free:
                p = scores.of(0).float().log_softmax(-1)
                count += len(p)
                for i, other in enumerate(pushed):
                    q = next(other).of(0).float().log_softmax(-1)
                    totals[i] += float((p.exp() * (p - q)).sum())
    return [total / count for total in totals]
