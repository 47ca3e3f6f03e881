"""TreePO: the rollouts of a problem are the leaves of a tree, and share what they have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from laconic.errors import RecipeError
from laconic.policy import Card, knobs
from laconic.thinking.scores.redundancy import repeated_share
from laconic.training.group import Group
from laconic.training.plans.base import Plan, Planned, Step

_GRAM = 8
"""Tokens of the runs by which loops are found."""


@dataclass(frozen=True, slots=True)
class _Path:
    """A way from the root to a leaf: the nodes below the root, and for each of them where its tokens end."""

    nodes: tuple[int, ...]
    tokens: tuple[int, ...]
    ends: tuple[int, ...]


@knobs
class Tree(Plan):
    """Rollouts are written in segments; at the end of each a path parts into ``branch``, until the group is full.

    Source: TreePO (tree-based policy optimization), as described in the paper and in the authors' public code. What
    paths have in common is sampled once. A path ends with its reply, at the limit, or where its last segment is a
    loop. Places that are left in the group when all paths have ended are filled from inner nodes drawn at random
    (fallback). All paths branch alike as long as there is room, in an order drawn at random where there is not for all;
    branching by the tokens' probabilities is not here.

    Advantages: of each inner node above a rollout the rollout's reward minus the mean over that node's leaves, averaged
    over these nodes, then divided by the root of their mean square over the step (the authors' code also takes off the
    step's mean, by which groups without a difference would be learned from). A node with a single leaf says nothing and
    is left out, other than the root. The authors' code weighs nodes by their leaves where nothing is said, or all
    alike: ``weigh``.
    Trap: leaves of one late node differ in their ends alone; a tree with few branches near the root explores less than
    as many independent rollouts. ``segment`` has no default, since it is in the model's tokens (the authors: 512, with
    6 segments).
    """

    card = Card(paper="TreePO: Heuristic Tree-based Modeling", lossless=False, catalogue=(147,))

    segment: Annotated[int, Field(ge=1)]
    """Tokens of a segment."""
    branch: Annotated[int, Field(ge=2)] = 2
    """Paths that go on from the end of a segment, as long as there is room for them."""
    loops: Annotated[float, Field(gt=0, le=1)] = 0.75
    """A path ends where more than this share of its last segment's runs of eight tokens came before within it."""
    weigh: Literal["leaves", "alike"] = "leaves"
    """How the nodes above a rollout count: by their leaves, or all alike."""

    def check(self, size: int, limit: int) -> None:
        """See the base."""
        if self.segment >= limit:
            raise RecipeError(
                f"'{self.name}' parts nothing: a segment has {self.segment} tokens, and a rollout {limit} at most.",
                "Lower the segment, so that a rollout has several.",
            )

    def rollouts(self, step: Step) -> list[Planned]:
        """See the class."""
        trees = [_Growing(self, step.size, step.random(at)) for at in range(len(step.asked))]
        for part in count():
            wanted = [(at, path) for at, tree in enumerate(trees) for path in tree.branches()]
            if not wanted:
                break
            limits = [min(self.segment, step.limit - len(path.tokens)) for _, path in wanted]
            requests = [step.request(at, path.tokens, most) for (at, path), most in zip(wanted, limits, strict=True)]
            made = step.run(requests, [at for at, _ in wanted], part)
            for (at, path), result, most in zip(wanted, made, limits, strict=True):
                ended = result.finish_reason != "length" or len(path.tokens) + most >= step.limit
                trees[at].grow(path, result.tokens, ended=ended)
        return [
            Planned(at, step.asked[at].prompt, path.tokens, path.nodes)
            for at, tree in enumerate(trees)
            for path in tree.ended
        ]

    def step_advantages(self, groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> list[list[float]]:
        """See the class."""
        each = [
            [self._over_nodes(at, [leaf.path or () for leaf in group.rollouts], given) for at in range(len(group))]
            for group, given in zip(groups, rewards, strict=True)
        ]
        values = [value for of_group in each for value in of_group]
        deviation = math.sqrt(sum(value**2 for value in values) / len(values))
        return [[value / deviation if deviation else 0.0 for value in of_group] for of_group in each]

    def _over_nodes(self, at: int, paths: Sequence[tuple[int, ...]], rewards: Sequence[float]) -> float:
        """What one leaf has more than the leaves of the nodes above it, on average."""
        found, weights = 0.0, 0.0
        for depth in range(max(len(paths[at]), 1)):  # the leaf's own last node is no subgroup
            inside = [r for path, r in zip(paths, rewards, strict=True) if path[:depth] == paths[at][:depth]]
            if len(inside) == 1 and depth:
                continue
            weight = float(len(inside)) if self.weigh == "leaves" else 1.0
            found += weight * (rewards[at] - sum(inside) / len(inside))
            weights += weight
        return found / weights


class _Growing:
    """The tree of one problem."""

    def __init__(self, plan: Tree, size: int, random: Random) -> None:
        self.ended: list[_Path] = []
        self._plan, self._size, self._random = plan, size, random
        self._open = [_Path((), (), ())]
        self._number = count()

    def branches(self) -> list[_Path]:
        """Which paths are written on, each as often as it parts; none once the group is full and all have ended."""
        if not self._open and len(self.ended) < self._size:
            self._open = [self._inner() for _ in range(self._size - len(self.ended))]
            return self._taken(self._open)
        room = self._size - len(self.ended) - len(self._open)
        often = [1] * len(self._open)
        order = list(range(len(self._open)))
        self._random.shuffle(order)
        for _ in range(self._plan.branch - 1):
            for at in order[:room]:
                often[at] += 1
            room = max(room - len(order), 0)
        return self._taken([path for path, times in zip(self._open, often, strict=True) for _ in range(times)])

    def _taken(self, paths: list[_Path]) -> list[_Path]:
        self._open = []
        return paths

    def _inner(self) -> _Path:
        """An inner node of a path that has ended, drawn at random; the root is one of them."""
        path = self._random.choice(self.ended)
        depth = self._random.randrange(len(path.nodes))
        end = path.ends[depth - 1] if depth else 0
        return _Path(path.nodes[:depth], path.tokens[:end], path.ends[:depth])

    def grow(self, path: _Path, tokens: Sequence[int], *, ended: bool) -> None:
        """Add a segment to a path."""
        every = (*path.tokens, *tokens)
        made = _Path((*path.nodes, next(self._number)), every, (*path.ends, len(every)))
        ended = ended or repeated_share(tokens, _GRAM) > self._plan.loops
        (self.ended if ended else self._open).append(made)
