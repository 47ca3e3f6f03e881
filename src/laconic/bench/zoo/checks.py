"""The checks of an examination: what the loop may do to slots, each node's logits held against the model alone."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from laconic.models.base import LanguageModel, ScoreTree, Slot, chain

_FIRST, _LAST = 4, 250
"""Tokens drawn, of a vocabulary of 256: those that configurations give a meaning (padding ...) are left out."""

_SEES_AHEAD = 1e-4
"""A change of earlier logits by a later token above this share of the largest logit is no rounding."""


class Truth:
    """The model run alone, without a cache, over a whole text. Keeps a copy of the model, and what it has computed."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = copy.deepcopy(model)
        self._known: dict[tuple[int, ...], torch.Tensor] = {}
        self.causal = self._is_causal()

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits ``[tokens, vocab]`` after each token."""
        text = tuple(tokens)
        if text not in self._known:
            self._known[text] = self._model(input_ids=torch.tensor([text]), use_cache=False).logits[0].clone()
        return self._known[text]

    def _is_causal(self) -> bool:
        text = words(1, 80)
        before = self.logits(text)
        for place in (40, 79):
            changed = [*text[:place], *words(2, 80)[place:]]
            apart = (self.logits(changed)[:place] - before[:place]).abs().max()
            if float(apart) > _SEES_AHEAD * float(before.abs().max()):
                return False
        return True


def words(seed: int, count: int) -> list[int]:
    """Random tokens."""
    draw = random.Random(seed)
    return [draw.randint(_FIRST, _LAST) for _ in range(count)]


@dataclass
class Seat:
    """A slot, and the text that it ought to hold."""

    slot: Slot
    text: list[int] = field(default_factory=list)


@dataclass
class Exam:
    """Does to slots what a check asks for, and keeps the largest error of the logits it sees."""

    lm: LanguageModel
    truth: Truth
    error: float = 0.0

    def seat(self, text: Sequence[int]) -> Seat:
        """A new slot with this text."""
        seat = Seat(self.lm.open(), list(text))
        self.lm.prefill(seat.slot, text)
        return seat

    def score(self, seats: Sequence[Seat], trees: Sequence[ScoreTree]) -> None:
        """One pass; every node is compared with the model alone over the node's own text."""
        scores = self.lm.score(trees, [seat.slot for seat in seats])
        for i, (seat, tree) in enumerate(zip(seats, trees, strict=True)):
            found = scores.of(i)
            for node in range(len(tree)):
                if node in tree.parents:
                    continue  # on the way to a leaf, whose text holds its own
                path = path_to(tree, node)
                base = tree.bases[path[0]] if tree.bases and tree.bases[path[0]] >= 0 else len(seat.text)
                text = [*seat.text[:base], *(tree.tokens[step] for step in path)]
                expected = self.truth.logits(text)
                apart = (found[path].to(expected) - expected[base:]).abs().max() / expected.abs().max()
                self.error = max(self.error, float(apart) if apart.isfinite() else math.inf)

    def commit(self, seat: Seat, tree: ScoreTree, path: Sequence[int]) -> None:
        """Keep a path of the last pass."""
        seat.slot.commit(path)
        seat.text += [tree.tokens[node] for node in path]
        assert seat.slot.length == len(seat.text), f"the slot holds {seat.slot.length} tokens of {len(seat.text)}"

    def rollback(self, seat: Seat, count: int) -> None:
        """Forget tokens."""
        seat.slot.rollback(count)
        del seat.text[len(seat.text) - count :]
        assert seat.slot.length == len(seat.text), f"the slot holds {seat.slot.length} tokens of {len(seat.text)}"

    def go_on(self, seat: Seat, tokens: Sequence[int]) -> None:
        """One pass for each token."""
        for token in tokens:
            tree = chain([token])
            self.score([seat], [tree])
            self.commit(seat, tree, [0])


def path_to(tree: ScoreTree, node: int) -> list[int]:
    """The nodes from a root down to ``node``."""
    path = [node]
    while tree.parents[path[-1]] >= 0:
        path.append(tree.parents[path[-1]])
    return path[::-1]


def branching(seed: int) -> ScoreTree:
    """Two nodes in a row, then three branches, one of which branches again: nine nodes."""
    return ScoreTree(words(seed, 9), [-1, 0, 1, 1, 1, 2, 3, 3, 6])


def plain(exam: Exam) -> None:
    """Token by token, past every window of 16."""
    seat = exam.seat(words(3, 30))
    exam.go_on(seat, words(4, 45))
    seat.slot.close()


def drafts(exam: Exam) -> None:
    """Chains of five, of which one to five tokens are kept."""
    seat = exam.seat(words(5, 30))
    for turn, kept in enumerate((3, 5, 1, 2, 4, 5)):
        tree = chain(words(100 + turn, 5))
        exam.score([seat], [tree])
        exam.commit(seat, tree, range(kept))
    exam.go_on(seat, words(6, 2))
    seat.slot.close()


def trees(exam: Exam) -> None:
    """Trees, of which a path that is not the first is kept."""
    seat = exam.seat(words(7, 30))
    for turn, path in enumerate(([0, 1, 3, 6, 8], [0, 1, 4], [0, 1, 2, 5], [0])):
        tree = branching(110 + turn)
        exam.score([seat], [tree])
        exam.commit(seat, tree, path)
    exam.go_on(seat, words(8, 2))
    seat.slot.close()


def bases(exam: Exam) -> None:
    """Branches off earlier points beside the text itself; then one of them becomes the text."""
    seat = exam.seat(words(9, 30))
    exam.go_on(seat, words(10, 6))
    tree = ScoreTree(words(11, 6), [-1, 0, -1, 2, -1, 4], [-1, -1, len(seat.text) - 3, -1, 20, -1])
    exam.score([seat], [tree])
    exam.commit(seat, tree, [0, 1])
    tree = ScoreTree(words(12, 5), [-1, -1, 1, -1, 3], [-1, len(seat.text) - 4, -1, len(seat.text) - 1, -1])
    exam.score([seat], [tree])
    exam.rollback(seat, 4)
    exam.commit(seat, tree, [1, 2])
    exam.go_on(seat, words(13, 3))
    seat.slot.close()


def rollbacks(exam: Exam) -> None:
    """Tokens are taken back: within a pass, over several, over more than a dozen, and into the prompt."""
    seat = exam.seat(words(14, 30))
    exam.go_on(seat, words(15, 4))
    exam.rollback(seat, 2)
    exam.go_on(seat, words(16, 2))
    tree = chain(words(17, 5))
    exam.score([seat], [tree])
    exam.commit(seat, tree, range(5))
    exam.rollback(seat, 7)
    exam.go_on(seat, words(18, 14))
    exam.rollback(seat, 13)
    exam.go_on(seat, words(19, 3))
    exam.rollback(seat, len(seat.text) - 12)
    exam.go_on(seat, words(20, 3))
    seat.slot.close()


def forks(exam: Exam) -> None:
    """A copy goes its own way, and outlives its source."""
    seat = exam.seat(words(21, 30))
    exam.go_on(seat, words(22, 3))
    copied = Seat(seat.slot.fork(), list(seat.text))
    exam.go_on(seat, words(23, 3))
    exam.go_on(copied, words(24, 3))
    both = [chain(words(25, 4)), branching(26)]
    exam.score([seat, copied], both)
    exam.commit(copied, both[1], [0, 1, 4])
    exam.commit(seat, both[0], [0, 1])
    seat.slot.close()
    exam.rollback(copied, 5)
    exam.go_on(copied, words(27, 3))
    copied.slot.close()


def batches(exam: Exam) -> None:
    """Three texts of different lengths with trees of different sizes; one ends, another begins."""
    seats = [exam.seat(words(30 + i, length)) for i, length in enumerate((5, 30, 61))]
    for turn in range(3):
        asked = [chain(words(120 + turn, 1)), branching(130 + turn), chain(words(140 + turn, 3))]
        exam.score(seats, asked)
        for seat, tree, path in zip(seats, asked, ([0], [0, 1, 3, 7], [0, 1]), strict=True):
            exam.commit(seat, tree, path)
    seats.pop(1).slot.close()
    seats.append(exam.seat(words(33, 18)))
    for turn in range(2):
        asked = [branching(150 + turn), chain(words(160 + turn, 2)), chain(words(170 + turn, 4))]
        exam.score(seats[::-1], asked)
        for seat, tree, path in zip(seats[::-1], asked, ([0, 1, 4], [0, 1], [0]), strict=True):
            exam.commit(seat, tree, path)
    for seat in seats:
        seat.slot.close()


def long_prompt(exam: Exam) -> None:
    """A prompt that takes more than one prefill pass, where the context has room for it."""
    seat = exam.seat(words(40, min(700, exam.lm.context - 20)))
    exam.go_on(seat, words(41, 2))
    tree = branching(42)
    exam.score([seat], [tree])
    exam.commit(seat, tree, [0, 1, 3])
    exam.go_on(seat, words(43, 1))
    seat.slot.close()


_SCENES: tuple[Callable[[Exam], None], ...] = (plain, drafts, trees, bases, rollbacks, forks, batches, long_prompt)


def _check(scene: Callable[[Exam], None]) -> Callable[[LanguageModel, Truth], float]:
    def run(lm: LanguageModel, truth: Truth) -> float:
        exam = Exam(lm, truth)
        scene(exam)
        return exam.error

    return run


CHECKS = {scene.__name__: _check(scene) for scene in _SCENES}
"""Every check by name: it returns the largest error, as a share of the largest logit of its text."""
