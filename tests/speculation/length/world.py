"""Chains of tokens whose chances and costs are known: a world in which the best draft length can be computed."""

from __future__ import annotations

import random

from laconic.speculation.base import Go, Node, TokenTree, Verdict
from laconic.speculation.pace import Pace
from tests.speculation.rounds import build, context_of

PASS = 1.0


class World:
    """Tokens come as easy or hard, and tend to stay so; a drafter knows which, and is right as often as it says."""

    def __init__(self, easy: float, hard: float, stay: float, node: float, draft: float, lie: float = 0.0) -> None:
        self.chances, self.stay, self.node, self.draft, self.lie = (hard, easy), stay, node, draft, lie

    def tokens(self, rng: random.Random):
        kind = 1
        while True:
            yield self.chances[kind]
            if rng.random() > self.stay:
                kind = 1 - kind

    def play(self, decide, rounds: int, seed: int = 0, learn=lambda drafted, held, seconds: None) -> float:
        """Tokens per second. ``decide(depth, chance)`` judges each token in turn; None is no draft at all."""
        rng = random.Random(seed)
        stream = self.tokens(rng)
        ahead: list[float] = []
        written, seconds = 0, 0.0
        for _ in range(rounds):
            drafted, looks, go = 0, 0, Go.ON
            if decide(-1, 0.0) is Go.ON:
                while go is Go.ON:
                    while len(ahead) <= drafted:
                        ahead.append(next(stream))
                    looks += 1
                    go = decide(drafted, ahead[drafted])
                    drafted += go is not Go.STOP
            held = 0
            while held < drafted and rng.random() < ahead[held]:
                held += 1
            spent = PASS + self.node * (drafted + 1) + self.draft * looks
            while len(ahead) <= held:
                ahead.append(next(stream))
            del ahead[: held + 1]
            written += held + 1
            seconds += spent
            learn(drafted, held, looks)
        return written / seconds


def rate(world: World, spec: str, rounds: int, seed: int = 0) -> float:
    """Tokens a second of a length policy, after some rounds in which it may learn."""
    policy, pace = build("length", spec), Pace()
    context = context_of([1])
    state = policy.start(context, pace)
    budget = 0

    def decide(depth, chance):
        nonlocal budget
        if depth < 0:
            budget = policy.budget(state)
            return Go.ON if budget else Go.STOP
        go = policy.go_on(state, Node(depth, None, chance ** (1 + world.lie)))
        return Go.LAST if go is Go.ON and depth + 1 >= budget else go

    def learn(drafted, held, looks):
        spent = PASS + world.node * (drafted + 1)
        if drafted:
            tree = TokenTree.of_chain(range(drafted))
            policy.observe(state, Verdict(tree, range(held), 0), spent + world.draft * looks)
        context.tokens += [0] * (held + 1)
        pace.record(
            nodes=drafted + 1, tokens=held + 1, draft_passes=looks, draft=world.draft * looks, score=spent, rest=0.0
        )

    world.play(decide, 400, seed + 1, learn)
    return world.play(decide, rounds, seed, learn)


def best_fixed(world: World, rounds: int, seed: int = 0) -> float:
    """The best draft length in hindsight."""

    def fixed(length: int):
        return lambda depth, chance: (
            (Go.ON if length else Go.STOP) if depth < 0 else Go.LAST if depth + 1 >= length else Go.ON
        )

    return max(world.play(fixed(length), rounds, seed) for length in range(25))
