"""What may come next after a context, and how likely: the law that the sampled audit holds a configuration to.

The next tokens are followed along the likeliest paths. At each place on a path the ``keep`` likeliest tokens are
events of their own and all others are one; a path that has become improbable is not followed further. Every text
falls into exactly one cell, and the probability of a cell is the product of the model's own conditional ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from laconic.models.base import LanguageModel, chain
from laconic.speculation.draws import warp
from laconic.types import Sampling

OTHER = -1
"""Stands in a cell for every token that is no event of its own."""
FLOOR = 0.02
"""Least probability of a path that is followed further: its continuations would come too rarely to tell."""
_ROWS = 16

Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Events:
    """``branches[path][token]`` is the probability of ``token`` after ``path``, OTHER included."""

    depth: int
    branches: dict[Cell, dict[int, float]] = field(default_factory=dict)

    def cell(self, tokens: Sequence[int], depth: int) -> Cell:
        """The cell that a text falls into when its first ``depth`` tokens are looked at."""
        path: Cell = ()
        for token in tokens[:depth]:
            if path not in self.branches:
                break
            if token not in self.branches[path]:
                return (*path, OTHER)
            path = (*path, token)
        return path

    def law(self, depth: int) -> dict[Cell, float]:
        """Probability of every cell of texts of ``depth`` tokens."""
        found: dict[Cell, float] = {}

        def visit(path: Cell, share: float) -> None:
            if len(path) == depth or path not in self.branches:
                found[path] = share
                return
            for token, weight in self.branches[path].items():
                visit((*path, token), share * weight)

        visit((), 1.0)
        return found

    @property
    def entropy(self) -> float:
        """Entropy of the cells at full depth, nats."""
        shares = torch.tensor(list(self.law(self.depth).values()), dtype=torch.float64)
        return float(torch.special.entr(shares).sum())


def split(probs: torch.Tensor, keep: int) -> dict[int, float]:
    """The ``keep`` likeliest tokens of ``probs [vocab]`` that are possible at all, and OTHER if there are more."""
    probs = probs.double()
    top = probs.topk(min(keep, probs.shape[-1]))
    shares = {t: p for t, p in zip(top.indices.tolist(), top.values.tolist(), strict=True) if p > 0}
    rest = probs.clone()
    rest[top.indices] = 0
    other = float(rest.sum())
    return shares | {OTHER: other} if other > 0 else shares


def events(
    model: LanguageModel, context: Sequence[int], sampling: Sampling, ends: frozenset[int], *, keep: int, depth: int
) -> Events:
    """The law of the next ``depth`` tokens after ``context``; nothing follows a token in ``ends``.

    Each path is scored as a plain chain behind a fresh prefill: no tree, and nothing that a drafter touched.
    """
    found = Events(depth)
    slot = model.open()
    try:
        if len(context) > 1:
            model.prefill(slot, context[:-1])
        level: dict[Cell, float] = {(): 1.0}
        for _ in range(depth):
            paths, below = list(level), {}
            for start in range(0, len(paths), _ROWS):
                part = paths[start : start + _ROWS]
                slots = [slot.fork() for _ in part]
                try:
                    scores = model.score([chain([context[-1], *path]) for path in part], slots)
                    rows = [warp(scores.of(i)[-1], sampling) for i in range(len(part))]
                finally:
                    for fork in slots:
                        fork.close()
                for path, row in zip(part, rows, strict=True):
                    found.branches[path] = split(row, keep)
                    for token, share in found.branches[path].items():
                        if token != OTHER and token not in ends and level[path] * share >= FLOOR:
                            below[(*path, token)] = level[path] * share
            level = below
            if not level:
                break
    finally:
        slot.close()
    return found
