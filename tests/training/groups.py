"""Groups to reward, and a spec of every reward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.policy import registry
from laconic.training.base import Reward
from laconic.training.group import Group, Rollout

SPECS = {
    "a-dlp": "a-dlp:accuracy=0.5,rate=0.01,price=0.001",
    "alp": "alp:beta=0.001",
    "arora-zanette": "arora-zanette:0.2",
    "dapo": "dapo:buffer=100",
    "drpo": "drpo:temperature=0.5",
    "gfpo": "gfpo:k=1",
    "cppo": "cppo:reward=[kimi],k=1",
    "grpo-lambda": "grpo-lambda:reward=[kimi:weight=1],share=0.5",
    "laser": "laser:200",
    "laser-d": "laser-d:easy=100,medium=200,hard=300",
    "laser-de": "laser-de:easy=100,medium=200,hard=300",
    "lspo": "lspo:reward=[outcome],short=0.25,long=0.75",
    "o1-pruner": "o1-pruner:alpha=2",
    "palu": "palu:target=0.5,quantile=0.5",
    "pear": "pear:alpha=0.5",
    "s-grpo": "s-grpo:exits=3",
    "siri": "siri:shortest=100,longest=300,cycle=4",
    "slpo": "slpo:alpha=0.5",
}
"""Specs of rewards that have a knob without default, or one that does not fit short rollouts."""


def make(name: str) -> Reward:
    """A reward by its name."""
    return cast(Reward, registry.build("reward", SPECS.get(name, name)))


def group(written: str, **belongs: Any) -> Group:
    """``"+100 -200 +300!"``: right with 100 tokens, wrong with 200, right with 300 and cut off."""
    rollouts = []
    for word in written.split():
        tokens = int(word.strip("+-!"))
        rollouts.append(Rollout(tokens, right=word[0] == "+", truncated=word.endswith("!")))
    return Group(tuple(rollouts), **belongs)


def having(original: Group, **values: list[Any]) -> Group:
    """The group with a value of each field for each rollout."""
    rollouts = [
        replace(rollout, **{name: of_each[at] for name, of_each in values.items()})
        for at, rollout in enumerate(original.rollouts)
    ]
    return replace(original, rollouts=tuple(rollouts))


def full(written: str) -> Group:
    """A group with everything that any reward reads."""
    bare = group(written, step=3, limit=1000, effort=0.8, reference=200.0, pass_rate=0.5)
    each = {
        "thought": [rollout.tokens // 2 for rollout in bare.rollouts],
        "text": [" wait" * (rollout.tokens // 10) for rollout in bare.rollouts],
        "budget": [128 * (1 + at % 2) for at in range(len(bare))],
        "repeats": [at % 3 == 0 for at in range(len(bare))],
        "thought_entropy": [rollout.tokens / 1000 for rollout in bare.rollouts],
        "answer_entropy": [0.3 for _ in bare.rollouts],
    }
    return having(bare, **each)
