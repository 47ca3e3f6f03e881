"""Sampled continuations of one context, each token with how it came about."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from typing import Literal

from laconic.engine import Engine
from laconic.loop import Loop
from laconic.sequence import Sequence
from laconic.types import Limits, Request, Sampling

Kind = Literal["accepted", "after refusal", "bonus", "plain"]
KINDS: tuple[Kind, ...] = ("accepted", "after refusal", "bonus", "plain")
"""A drafted token that stood; the one drawn where the draft was refused; the one after a draft that stood to its
end; one from a pass without a draft."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One continuation."""

    tokens: tuple[int, ...]
    kinds: tuple[Kind, ...]


def continuations(
    engine: Engine, context: Seq[int], sampling: Sampling, seeds: Seq[int], *, depth: int, most: int
) -> list[Drawn]:
    """The first ``depth`` tokens that the engine's speculation writes after ``context``, one text per seed.

    All seeds run in one batch. ``most`` is the request's limit, which also bounds the draft: a request with room
    for two tokens drafts at most one, so that the second is a bonus whenever the first was accepted. Controllers
    take no part.
    """
    prompt, limits = tuple(context), Limits(most)
    return follow(engine, [Request(prompt, replace(sampling, seed=seed), limits) for seed in seeds], depth)


def follow(engine: Engine, requests: Seq[Request], depth: int) -> list[Drawn]:
    """Serve all requests in one batch, without controllers, each until it has written ``depth`` tokens or ends."""
    loop = Loop(engine.target, engine.text, replace(engine.plan, controllers=()), engine.draft_model)
    try:
        texts = [loop.add(request) for request in requests]
        kinds: dict[int, list[Kind]] = {id(s): [] for s in texts}
        while loop.active:
            before = [(s, len(s.tokens), s.usage.accepted) for s in loop.active]
            loop.step()
            for s, length, accepted in before:
                kinds[id(s)] += label(s, s.tokens[length:], s.usage.accepted - accepted)
            for s in list(loop.active):
                if s.generated >= depth:
                    loop.cancel(s)
    finally:
        for s in list(loop.active):
            loop.cancel(s)
    return [Drawn(tuple(s.tokens[s.context.prompt_length :][:depth]), tuple(kinds[id(s)][:depth])) for s in texts]


def label(sequence: Sequence, written: Seq[int], accepted: int) -> list[Kind]:
    """How each token of the last pass came about; ``accepted`` of them were drafted."""
    tree = sequence.tree
    kinds: list[Kind] = ["accepted"] * accepted
    if len(written) == accepted:
        return kinds  # the limit cut off the token after the draft
    if not len(tree):
        return [*kinds, "plain"]
    below = {edge: i for i, edge in enumerate(zip(tree.parents, tree.tokens, strict=True))}
    node = -1
    for token in written[:accepted]:
        node = below[node, token]
    return [*kinds, "after refusal" if node in tree.parents else "bonus"]
