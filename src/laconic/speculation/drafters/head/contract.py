"""What a draft head is: the smallest interface from which one drafter and one trainer run every kind.

A head reads pairs along the text: the target's features at a token, and what it hears of the token after it. So at the
last committed token it stands where the target will stand after its next pass, and says what comes after that. From
there it goes down a draft: a state at each drafted token, made of the state above it and what is heard of the token.
What is heard is the token's embedding, or, of a head with ``early`` layers, what the target's first layers make of it.

    state  = head.read(heard, features, spans)         along what was committed; the state at its end
    state' = head.step(states, heard, depths, spans)   one drafted token further, any nodes of any trees at once
    logits = head.logits(states, depths)               of the token after a state, over the kept tokens

Heads of the Medusa kind, which do not see drafted tokens, have a ``step`` that ignores them; recurrent ones need no
memory; those with attention keep keys and values in the request's Memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from laconic.speculation.drafters.head.memory import Memory


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes that a head shares with the model it was made for.

    ``width`` is that of embeddings and features, ``layers`` are the target's layers whose outputs it reads, ``kept``
    how many of the ``vocab`` tokens it can say. ``heads``, ``kv_heads``, ``head_dim``, ``inner`` (of the feed-forward
    part), ``theta`` (of the rotary embedding) and ``eps`` (of norms) are those of a layer of its own, if it has one.
    ``early`` is how many of the target's layers a token goes through before the head hears of it; 0: its embedding is
    heard. The last of them is one of ``layers``.
    """

    width: int
    layers: tuple[int, ...]
    vocab: int
    kept: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    theta: float = 10_000.0
    eps: float = 1e-5
    early: int = 0


class Span(NamedTuple):
    """The rows of one request in a call, ``begin .. end``: its memory, their positions, and what each sees of the
    memory.

    ``seen [rows, entries]`` is boolean, over the entries that the memory holds with those of these rows appended; None
    where every row sees all that is held and the rows of its own up to itself.
    """

    memory: Memory
    begin: int
    end: int
    positions: Tensor
    seen: Tensor | None


class DraftHead(nn.Module):
    """Base of all kinds. ``depth`` is the most tokens it can draft in a row, None for any number."""

    depth: int | None = None
    window: int = 0
    """How many entries of the text its attention sees, its own included; 0: all of them."""
    early: ClassVar[int] = 0
    """Layers of the target that tokens go through before a head of this kind hears of them, where none are named."""

    d2t: Tensor
    lm_head: nn.Linear
    """The output, a row for each token that it can say; gone once packed."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("d2t", torch.zeros(shape.kept, dtype=torch.int64))

    @property
    def kept(self) -> Tensor:
        """The target's ids ``[kept]`` of the tokens that it can say, in order."""
        return self.d2t + torch.arange(self.shape.kept, device=self.d2t.device)

    def keep(self, tokens: Tensor) -> None:
        """Say which tokens it can say: the target's ids ``[kept]``, sorted. Kept as distances, as checkpoints do."""
        self.d2t.copy_(tokens - torch.arange(len(tokens)))

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """States ``[rows, ...]`` along committed text: from ``heard [rows, width]``, ``features [rows, n, width]``.

        Row by row: the target's features at a token, and what is heard of the token after it.
        """
        raise NotImplementedError

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """States ``[rows, ...]`` at drafted tokens: of the states above them, and of ``heard [rows, width]``.

        ``depths`` are those of the drafted tokens, 0 for the first one of a draft.
        """
        raise NotImplementedError

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """Logits ``[rows, kept]`` of the tokens after these states, at these depths of the draft, 0 for its first."""
        raise NotImplementedError

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """For training: logits ``[texts, length - 2 - s, kept]`` of step s of a draft begun at every place at once.

        Of texts of ``length`` tokens, ``heard [texts, length - 1, width]`` at all but the first token, ``features
        [texts, length - 1, n, width]`` of the target at all but the last. Row i of step s has read the pairs up to
        (features at i, token i + 1), was then given tokens up to i + 1 + s as its own draft, and speaks of token i + 2
        + s. So it learns from its own states, as it will draft (EAGLE-3's training-time test). Nothing is asked of the
        last token, so what is heard of it does not matter.
        """
        raise NotImplementedError

    def begin_as(self, norm: Tensor, output: Tensor) -> None:
        """Begin with the target's own last ``norm [width]`` and ``output`` rows ``[kept, width]``. May do nothing."""

    def packed(self) -> DraftHead:
        """Ready for use: weights in the layout that this processor reads best, where there is one."""
        return self


@dataclass(frozen=True, slots=True)
class About:
    """What a head is, as its description says. ``model`` is the fingerprint of the target that it was trained on.

    ``knobs`` are the kind's own. ``measures`` and ``training`` are for the reader.
    """

    kind: str
    model: str
    shape: Mapping[str, Any]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
