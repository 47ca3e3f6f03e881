"""A language model whose passes take known times on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from laconic.models.base import Scores, ScoreTree


class Slot:
    def __init__(self, model: Planted, length: int = 0) -> None:
        self.model, self.length = model, length
        model.open_slots += 1

    def fork(self) -> Slot:
        return Slot(self.model, self.length)

    def close(self) -> None:
        self.model.open_slots -= 1


class Planted:
    """``seconds(tokens, context, requests)`` is what a pass takes; ``clock`` reads the time."""

    def __init__(self, seconds: Callable[[int, int, int], float], context: int = 4096) -> None:
        self.vocab_size, self.context, self.passes = 11, context, 0
        self.now = 0.0
        self.open_slots = 0
        self.log: list[tuple[int, int, int]] = []
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    def open(self) -> Slot:
        return Slot(self)

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        assert all(0 <= token < self.vocab_size for token in tokens)
        slot.length += len(tokens)
        return 1

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        assert len(trees) == len(slots) == len({id(slot) for slot in slots})
        kind = sum(map(len, trees)), slots[0].length, len(slots)
        assert all(slot.length + len(tree) <= self.context for slot, tree in zip(slots, trees, strict=True))
        self.log.append(kind)
        self.passes += 1
        self.now += self._seconds(*kind)
        return Scores(torch.zeros(len(slots), self.vocab_size), range(len(slots)), [1] * len(slots))
