"""Requests with what the engine itself writes for them, so that whatever a server replies can be checked."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from laconic import Engine, Limits, Sampling
from laconic.bench.tasks import draw, load
from laconic.cli.defaults import DEFAULT

_EXTRAS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.8, "top_p": 0.95},
    {"temperature": 1.1, "top_k": 20, "min_p": 0.02, "n": 3},
    {"stop": ["answer is"]},
    {"thinking_token_budget": 50},
    {"laconic": {"think": "settled:0.1"}},
    {"laconic": {"think": "answer-agreement:2+budget:150", "draft": False}, "n": 2, "temperature": 0.6},
    {"max_tokens": 40},
    {"reasoning_effort": "none"},
    {"frequency_penalty": 0.4, "presence_penalty": 0.2, "repetition_penalty": 1.05, "max_tokens": 200},
)


@dataclass(frozen=True)
class Case:
    """A body, and its replies as pairs of thought and answer with why they ended."""

    body: dict[str, Any]
    replies: tuple[tuple[str, str, str], ...]


def cases(n: int, seed: int) -> list[Case]:
    """``n`` of them, of all kinds, written by the engine without a server."""
    engine, dice = Engine.load("bundled"), random.Random(seed)
    made = []
    for at, item in enumerate(draw(load(None), n, seed)):
        body = {
            "messages": [{"role": "user", "content": item.question}], "seed": dice.randrange(1 << 31),
            "max_tokens": 500, **_EXTRAS[at % len(_EXTRAS)],
        }  # fmt: skip
        made.append(Case(body, tuple(_written(engine, body, turn) for turn in range(body.get("n", 1)))))
    return made


def _written(engine: Engine, body: dict[str, Any], turn: int) -> tuple[str, str, str]:
    names = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty")
    sampling = Sampling(**{name: body[name] for name in names if name in body}, seed=body["seed"] + turn)
    budget, said = body.get("thinking_token_budget"), body.get("laconic", {}).get("think")
    think = ([f"budget:{budget}"] if budget else []) + (said.split("+") if said else list(DEFAULT.think))
    request = engine.request(
        body["messages"],
        sampling=sampling,
        limits=Limits(body["max_tokens"], tuple(body.get("stop", ()))),
        thinking=body.get("reasoning_effort") != "none",
    )
    result = engine.using(think=tuple(think)).run([request])[0]
    return result.thinking, result.answer, result.finish_reason
