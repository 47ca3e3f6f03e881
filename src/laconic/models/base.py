"""The contract between the decode loop and a white-box model: token trees in, logits out, slots of cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from laconic.errors import BrokenLogits
from laconic.models.brought import BroughtHead
from laconic.models.largest import first_largest, tops
from laconic.models.partial import LayerPlan
from laconic.models.past import CacheShape, Held, Keeper, Past


@dataclass(frozen=True, slots=True)
class ScoreTree:
    """Nodes to score in one pass, for one slot. A parent always comes before its children.

    ``parents[i]`` is the index of node i's parent, or -1 at a root. A root continues the slot's committed tokens:
    all of them, or, where ``bases[i] >= 0``, only the first ``bases[i]`` (a branch off an earlier point; it sees
    nothing that was committed later). ``bases`` is read at roots only and may be empty when no root needs it.
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    bases: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether each node continues the one before it and the first continues everything committed."""
        return not self.bases and all(parent == i - 1 for i, parent in enumerate(self.parents))

    def ways(self) -> list[list[int]]:
        """The way from a root to each leaf, in nodes; a chain has one."""
        parents, found = set(self.parents), []
        for leaf in range(len(self)):
            if leaf not in parents:
                way, node = [], leaf
                while node >= 0:
                    way.append(node)
                    node = self.parents[node]
                found.append(way[::-1])
        return found


def chain(tokens: Sequence[int]) -> ScoreTree:
    """A tree without branches."""
    return ScoreTree(tokens, range(-1, len(tokens) - 1))


_TIE = {torch.float32: 256 * torch.finfo(torch.float32).eps, torch.float64: 256 * torch.finfo(torch.float64).eps}
"""Distance of two logits, as a share of the larger, below which passes of other widths may order them otherwise."""


def tied(logits: torch.Tensor, given: torch.dtype | None = None) -> torch.Tensor:
    """Of each row of ``logits [rows, vocab]``, whether rounding may have put its two likeliest tokens in their order.

    Never in 16-bit formats, where that is an everyday thing; ``given`` is the format in which the model gave them,
    where rules have made them wider since.
    """
    if (given or logits.dtype) not in _TIE:
        return torch.zeros(len(logits), dtype=torch.bool)
    top = logits.amax(-1, keepdim=True)
    return (logits >= top - _TIE[logits.dtype] * top.abs()).sum(-1) > 1


class Scores:
    """Logits of one pass, ``flat[nodes, vocab]``: those of request i begin at ``starts[i]``, ``sizes[i]`` of them.

    Rows that belong to no request are padding, which the model has computed too. ``hidden [nodes, width]`` are the
    inputs of the output head, row by row those of ``flat``; None where nobody asked the model for them.
    """

    __slots__ = ("_best", "_ties", "flat", "hidden", "sizes", "starts")

    def __init__(
        self, flat: torch.Tensor, starts: Sequence[int], sizes: Sequence[int], hidden: torch.Tensor | None = None
    ) -> None:
        self.flat = flat
        self.starts = starts
        self.sizes = sizes
        self.hidden = hidden
        self._best: list[int] | None = None
        self._ties: torch.Tensor | None = None

    def of(self, i: int) -> torch.Tensor:
        """Logits of request i's nodes, shape ``[nodes, vocab]``."""
        return self.flat[self.starts[i] : self.starts[i] + self.sizes[i]]

    def hidden_of(self, i: int) -> torch.Tensor | None:
        """Hidden states of request i's nodes, shape ``[nodes, width]``; None where the pass kept none."""
        return None if self.hidden is None else self.hidden[self.starts[i] : self.starts[i] + self.sizes[i]]

    def best(self, i: int) -> list[int]:
        """The likeliest token after each node of request i; the first one where several tie."""
        if self._best is None:
            self._best = first_largest(self.flat).tolist()
        return self._best[self.starts[i] : self.starts[i] + self.sizes[i]]

    def ties(self, i: int) -> list[int]:
        """Nodes of request i whose two likeliest tokens are no further apart than rounding may put them.

        Always empty in 16-bit formats, where that is an everyday thing.
        """
        if self._ties is None:
            if self.flat.dtype not in _TIE:
                self._ties = torch.zeros((), dtype=torch.bool)
            else:
                self._ties = tied(self.flat)
                if not bool(self._ties.any()):  # so nearly always; then every further question is free
                    self._ties = torch.zeros((), dtype=torch.bool)
        if self._ties.ndim == 0:
            return []
        nodes: list[int] = self._ties[self.starts[i] : self.starts[i] + self.sizes[i]].nonzero()[:, 0].tolist()
        return nodes

    def check(self) -> None:
        """Raise BrokenLogits if a node's logits hold NaN, +inf, or nothing finite."""
        top, self._best = tops(self.flat)  # NaN is larger than all, so the largest tells, and their sum tells of all
        if math.isfinite(float(top.sum())):
            return
        for i, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            if not bool(top[start : start + size].isfinite().all()):
                raise BrokenLogits(f"the logits of request {i} are not finite.", "Try float32, or check the weights.")


class Slot(Protocol):
    """One sequence's place in the KV cache."""

    @property
    def length(self) -> int:
        """Committed tokens."""
        ...

    def commit(self, path: Sequence[int]) -> None:
        """Keep these nodes of the last pass, a path from a root downwards, and drop the others.

        The root must continue all that is committed: for a branch off an earlier point, roll back to it first.
        """
        ...

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` committed tokens. Nodes of the last pass may be committed all the same."""
        ...

    def fork(self) -> Slot:
        """An independent copy of the committed tokens."""
        ...

    def close(self) -> None:
        """Give the place back; the slot must not be used again."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values that the committed tokens occupy."""
        ...


class Nowhere:
    """A slot that holds nothing: of a request whose model runs elsewhere, or whose cache was taken away."""

    length = 0
    nbytes = 0

    def commit(self, path: Sequence[int]) -> None:
        """Nothing to keep."""

    def rollback(self, count: int) -> None:
        """Nothing to forget."""

    def fork(self) -> Nowhere:
        """Another one."""
        return Nowhere()

    def close(self) -> None:
        """Nothing to give back."""


class LanguageModel(Protocol):
    """A causal language model whose passes score trees of tokens for many sequences at once."""

    vocab_size: int
    context: int
    """Longest sequence, prompt and output together, in tokens."""

    @property
    def passes(self) -> int:
        """Passes made so far."""
        ...

    def open(self) -> Slot:
        """A new, empty slot."""
        ...

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens`` to ``slot`` without looking at logits; returns the number of passes it took."""
        ...

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """Score every node of ``trees[i]`` after the committed tokens of ``slots[i]``, in one pass.

        Nothing is committed. Raises BrokenLogits if a row holds NaN or nothing finite.
        """
        ...


class Kept(Protocol):
    """What a model has computed of a text, outside of its passes. It takes no part in any until it is resumed."""

    @property
    def length(self) -> int:
        """Tokens that it covers."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that it occupies."""
        ...


@runtime_checkable
class Resumes(Protocol):
    """A LanguageModel whose work on one text can be taken up by another that begins alike."""

    resumes: bool
    """Whether it can, as its passes are made; else :meth:`keep` must not be called."""

    def keep(self, slot: Slot) -> Kept:
        """A copy of what the slot has committed, which outlives the slot. Not for slots that are steered."""
        ...

    def resume(self, kept: Kept, length: int) -> Slot:
        """A new slot with the first ``length`` tokens of what was kept, which stays as it is."""
        ...


class Reduced(Slot, Protocol):
    """A slot of which a keeper says what stays in the cache (models.past)."""

    @property
    def room(self) -> int:
        """Tokens that may still be committed before :meth:`compact`: no node further on may be."""
        ...

    def compact(self, *, tidy: bool = False) -> None:
        """Reduce the cache to what the keeper wants to keep, where there is no room left.

        ``tidy`` also gives back memory that is free then; not while nodes of a pass are still to be committed.
        A rollback to before this point forgets the whole text, which must then be read again.
        """
        ...


@runtime_checkable
class Forgets(Protocol):
    """A LanguageModel whose slots can be reduced to part of what they have read."""

    forgets: bool
    """Whether it can, as its passes are made; else :meth:`hold` must not be called."""

    @property
    def cache_shape(self) -> CacheShape:
        """What a token takes in the cache."""
        ...

    def hold(self, slot: Slot, keeper: Keeper) -> None:
        """Have ``keeper`` say what of the slot's text stays, which must not have come near the keeper's first stop."""
        ...

    def holds(self, slot: Slot) -> Keeper | None:
        """Who says so, if anybody does."""
        ...


@runtime_checkable
class Views(Protocol):
    """A LanguageModel that can read a text through less than all that it has kept of it."""

    views: bool
    """Whether it can, as its passes are made; else nothing here must be called."""

    def look(self, slot: Slot, tokens: Sequence[int]) -> list[Held | None]:
        """All that a slot holds, layer by layer, and the queries of its last ``tokens``, for which a pass is made.

        Of no tokens there is no pass. It counts among ``part_passes``. Nothing of a slot that has been reduced itself.
        """
        ...

    def view(self, past: Past) -> Slot:
        """A slot of its own that begins with this ``past``, whatever of it there is. Close it at the end."""
        ...

    def follow(self, view: Slot, slot: Slot) -> bool:
        """Bring a view up to what the slot has committed, whose text goes on from the view's. No pass is made.

        False where the slot no longer has what the view lacks; then another view must be made.
        """
        ...


@runtime_checkable
class ShowsHidden(Protocol):
    """A LanguageModel that can give the hidden states behind its logits."""

    hidden_size: int
    """Width of a hidden state, and of an embedding."""
    keep_hidden: bool
    """Whether scores shall come with hidden states. Set by whoever needs them; no logits depend on it."""

    def embedding(self, token: int) -> torch.Tensor:
        """The input embedding of ``token``, shape ``[hidden_size]``."""
        ...

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this model's weights from others, whatever its number format."""
        ...


@runtime_checkable
class ShowsLayers(Protocol):
    """A LanguageModel that can keep what some of its layers put out, token by token, as long as its cache."""

    hidden_size: int
    """Width of what a layer puts out."""
    num_layers: int
    """Decoder layers, counted from 0."""
    shows_layers: bool
    """Whether it can, as its passes are made; else :meth:`show` must not be called."""

    def show(self, layers: Sequence[int]) -> None:
        """Keep the outputs of these layers too, from now on, of all that slots commit. No logits depend on it."""
        ...

    def shown(self, slot: Slot, begin: int, layers: Sequence[int]) -> torch.Tensor | None:
        """Outputs ``[length - begin, layers, hidden_size]`` of these layers at a slot's tokens from ``begin`` on.

        A view that holds until the next pass. None where not all of them were kept: of what a slot read before they
        were asked for there are none.
        """
        ...

    def embeddings(self, tokens: Sequence[int]) -> torch.Tensor:
        """The input embeddings of ``tokens``, shape ``[tokens, hidden_size]``."""
        ...

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this model's weights from others, whatever its number format."""
        ...


@runtime_checkable
class BringsHead(Protocol):
    """A LanguageModel whose checkpoint may bring a head that drafts."""

    def own_head(self) -> BroughtHead:
        """The head, read once. Raises UnmetNeed where there is none."""
        ...


@runtime_checkable
class Shrinks(Protocol):
    """A LanguageModel that can give memory back while slots are open."""

    def shrink(self) -> None:
        """Give back what no open slot needs, where that is much. Between passes: uncommitted nodes are lost."""
        ...


@runtime_checkable
class Narrows(Protocol):
    """A LanguageModel whose output head can be asked about some tokens only, which costs so much less."""

    def narrowed(self, kept: torch.Tensor) -> AbstractContextManager[None]:
        """Within, logits are computed for the tokens ``kept [n]`` alone; all others are -inf.

        What that takes is made once for each tensor that is given, and kept for the last few.
        """
        ...


@runtime_checkable
class RunsParts(Protocol):
    """A LanguageModel that can make passes through part of its layers, over the slots of its whole self.

    Such a pass reads what the whole model has committed to a slot, and writes keys and values of the layers that ran
    where the next pass of the whole model writes its own. So what it commits must be rolled back before that.
    """

    num_layers: int
    """Decoder layers, counted from 0."""
    runs_parts: bool
    """Whether it can, as its passes are made; else nothing here must be called."""
    runs_halves: bool
    """Whether a layer's attention or feed-forward network can be left out alone."""
    head_cost: float
    """What the output head costs, in layers, by its weights."""
    part_passes: int
    """Such passes made so far; ``passes`` does not count them."""

    def partly(
        self, plan: LayerPlan, at_end: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> AbstractContextManager[None]:
        """Within, passes leave out what ``plan`` does. ``at_end`` is given what the last layer that is left puts out,
        ``[nodes, hidden_size]`` of all requests in turn, and returns what the output head gets in its place.

        Raises RequestError for a layer that the model does not have, UnsupportedModel for halves where it runs none.
        """
        ...

    def through(self, slot: Slot, tree: ScoreTree, after: Mapping[int, Callable[[torch.Tensor], torch.Tensor]]) -> None:
        """A pass over ``tree`` without logits, of which nothing can be committed.

        ``after[l]`` is given what layer l puts out, ``[nodes, hidden_size]``, and returns what goes on in its place.
        """
        ...


@runtime_checkable
class Steerable(Protocol):
    """A LanguageModel whose residual stream can be pushed, and read."""

    hidden_size: int
    """Width of the residual stream."""
    num_layers: int
    """Decoder layers, counted from 0."""

    def steer(self, slot: Slot, vectors: Mapping[int, torch.Tensor], start: int) -> None:
        """From now on, add ``vectors[l] [hidden_size]`` to the output of layer l at positions ``start`` and later.

        A position is an index in the slot's sequence. It holds for every node of the slot, branches included, and for
        its forks; other slots of a pass are untouched. What is committed already stays as it is. No vectors end it.
        Raises RequestError for a layer or a width that the model does not have.
        """
        ...

    def residuals(self, tokens: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """The outputs ``[tokens, hidden_size]`` of these layers along a text, not steered."""
        ...

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this model's weights from others, whatever its number format."""
        ...
