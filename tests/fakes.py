"""A language model small enough to see through: logits are a table indexed by the last two tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from laconic.models.base import Scores, ScoreTree
from laconic.models.text import Text


@dataclass
class FakeSlot:
    """Committed tokens in a plain list; refuses every commit that is not a path of the last pass."""

    tokens: list[int] = field(default_factory=list)
    last: ScoreTree | None = None
    scored_at: int = 0
    closed: bool = False

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        return 8 * len(self.tokens)

    def commit(self, path: Sequence[int]) -> None:
        assert self.last is not None, "commit without a pass"
        parents = [self.last.parents[i] for i in path]
        assert parents == [-1, *path][: len(path)], "not a path from a root"
        bases = self.last.bases
        base = bases[path[0]] if path and bases and bases[path[0]] >= 0 else self.scored_at
        assert not path or base == len(self.tokens), "a branch off another point"
        self.tokens += [self.last.tokens[i] for i in path]
        self.last = None

    def rollback(self, count: int) -> None:
        assert 0 <= count <= len(self.tokens), "rollback beyond the start"
        del self.tokens[len(self.tokens) - count :]

    def fork(self) -> FakeSlot:
        return FakeSlot(list(self.tokens))

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


class FakeModel:
    """An order-2 Markov chain behind the LanguageModel contract. ``table[a, b]``: logits after ... a, b.

    The first token of a text is preceded by token 0. ``passes`` counts scoring passes, ``prefills`` prefill passes,
    ``scored`` the nodes of all scoring passes.
    """

    def __init__(self, table: torch.Tensor, context: int = 4096) -> None:
        self.table = table
        self.vocab_size = table.shape[-1]
        self.context = context
        self.passes = self.prefills = self.scored = 0
        self.slots: list[FakeSlot] = []

    @classmethod
    def random(cls, seed: int, vocab: int = 8, sharpness: float = 2.0) -> FakeModel:
        """Normal logits of standard deviation ``sharpness``."""
        noise = torch.randn(vocab, vocab, vocab, generator=torch.Generator().manual_seed(seed))
        return cls(sharpness * noise)

    def noisy(self, seed: int, amount: float) -> FakeModel:
        """A model that resembles this one: its logits plus noise of standard deviation ``amount``."""
        noise = torch.randn(self.table.shape, generator=torch.Generator().manual_seed(seed))
        return FakeModel(self.table + amount * noise, self.context)

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits ``[vocab]`` of the token that follows ``tokens``."""
        return self.table[tokens[-2] if len(tokens) > 1 else 0, tokens[-1]]

    def open(self) -> FakeSlot:
        self.slots.append(FakeSlot())
        return self.slots[-1]

    def prefill(self, slot: FakeSlot, tokens: Sequence[int]) -> int:
        assert tokens
        assert not slot.closed
        slot.tokens += tokens
        slot.last = None
        self.prefills += 1
        assert slot.length <= self.context, "beyond the model's context"
        return 1

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[FakeSlot]) -> Scores:
        assert len(trees) == len(slots) == len({id(slot) for slot in slots}), "one tree per slot"
        sizes = [len(tree) for tree in trees]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        flat = torch.zeros(sum(sizes), self.vocab_size)
        for i, (tree, slot) in enumerate(zip(trees, slots, strict=True)):
            assert len(tree)
            assert not slot.closed
            for node in range(len(tree)):
                text = self.text(tree, slot, node)
                assert len(text) <= self.context, "beyond the model's context"
                flat[starts[i] + node] = self.after(text)
            slot.last, slot.scored_at = tree, slot.length
            self.scored += len(tree)
        self.passes += 1
        return Scores(flat, starts, sizes)

    @staticmethod
    def text(tree: ScoreTree, slot: FakeSlot, node: int) -> list[int]:
        """What ``node`` sees, itself included."""
        path, base = [], slot.length
        while node != -1:
            path.append(tree.tokens[node])
            parent = tree.parents[node]
            assert parent < node, "a parent comes before its children"
            if parent == -1 and tree.bases and tree.bases[node] >= 0:
                base = tree.bases[node]
            node = parent
        return slot.tokens[:base] + path[::-1]


class Writes(FakeModel):
    """Writes a given text below any prompt of ``prompt`` tokens, whatever else stands in the context."""

    def __init__(self, prompt: int, tokens: Sequence[int], vocab: int, context: int = 4096) -> None:
        super().__init__(torch.zeros(1, 1, vocab), context)
        self.prompt, self.reply = prompt, list(tokens)

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        """Nearly all probability for the reply's next token; its last one again behind its end."""
        row = torch.zeros(self.vocab_size)
        row[self.reply[min(max(len(tokens) - self.prompt, 0), len(self.reply) - 1)]] = 20.0
        return row


class Hashed(FakeModel):
    """What follows hangs on the last tokens and on the place, so that texts do not run in circles.

    ``biases`` make pieces of text likelier. A ``/`` is mostly followed by the ``>`` that closes a tag of two tokens.
    """

    def __init__(self, text: Text, biases: Mapping[str, float], context: int = 512) -> None:
        rows = 2.5 * torch.randn(997, 264, generator=torch.Generator().manual_seed(3))
        for piece, value in biases.items():
            rows[:, text.encode(piece)] += value
        super().__init__(rows, context)
        self.slash, self.bracket = text.encode("/>")

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        """One of many rows."""
        row = self.table[(sum(31**i * token for i, token in enumerate(tokens[-4:])) + 7 * len(tokens)) % 997]
        if tokens[-1] != self.slash:
            return row
        return row.index_fill(0, torch.tensor([self.bracket]), 14.0)
