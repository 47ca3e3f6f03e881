"""One pass over the slot cache: where its nodes are written, and what each of them sees."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from laconic.models.base import ScoreTree
from laconic.models.past import Attention, Past, PastLayer

if TYPE_CHECKING:
    from laconic.models.slot import Entries
    from laconic.models.slots import SlotPool


class SlotPass:
    """One pass over the rows ``lo .. lo+len(lengths)-1``: where its nodes are written and what each may see."""

    def __init__(
        self,
        pool: SlotPool,
        lo: int,
        lengths: Sequence[int],
        trees: Sequence[ScoreTree | None],
        stems: Sequence[Entries | None] = (),
        shared: Sequence[int] = (),
        pasts: Sequence[Past | None] = (),
    ) -> None:
        self.pool = pool
        self.lo = lo
        self.stems = stems
        """Where the first ``shared`` entries of each row are; what is no row's own is not in the pool's buffers."""
        self.shared = shared
        self.rows = len(lengths)
        self.lengths = lengths
        self.pasts = pasts if any(past is not None for past in pasts) else ()
        """What is left of the beginning of each row's text where it was reduced; its entries are no ``keys``."""
        self._gone = [0 if past is None else past.length for past in pasts] or [0] * self.rows
        """Tokens at the beginning of each row's text that are not among the ``keys``."""
        self.width = max(len(tree) for tree in trees if tree is not None)
        kept = [length - gone for length, gone in zip(lengths, self._gone, strict=True)]
        self.keys = max(length for length, tree in zip(kept, trees, strict=True) if tree is not None) + self.width
        self.end = max(length for length, tree in zip(lengths, trees, strict=True) if tree is not None) + self.width
        """No node's position is as far on as this."""
        self.layer = 0
        """The layer that is being run, where it must be known which one that is."""
        self.asks = False
        """Whether the queries of its nodes shall be kept."""
        self.padded = False
        """Whether rows of different lengths are filled up with nodes that are nobody's."""
        self.queries: list[torch.Tensor] = []
        """What the layers that attend were asked, in their order, ``[nodes, heads, head_dim]`` each."""
        self.attention: dict[int, Attention] = {}
        """How each layer attends; the pool's."""
        self._trees = trees
        self._windows: dict[int | None, torch.Tensor | None] = {}
        self._folded: dict[tuple[int | None, int, torch.dtype], torch.Tensor | None] = {}
        sizes = [len(tree) if tree is not None else 0 for tree in trees]
        self.starts = list(itertools.accumulate(sizes, initial=0))[:-1]
        """Index of each row's first node among all that are real."""
        self.real: torch.Tensor | None = None
        """Places of the real nodes in ``[rows * width]``; None where nothing is padding."""
        if sum(sizes) < self.rows * self.width:
            self.real = torch.tensor([row * self.width + i for row, size in enumerate(sizes) for i in range(size)])
        self._chains = all(tree is None or tree.is_chain for tree in trees)
        if self._chains:
            starts = torch.tensor(lengths)[:, None]
            self.positions = starts + torch.arange(self.width)
            self._first = torch.tensor(self._gone)[:, None, None]
            self._key_positions: torch.Tensor | None = None
        else:
            self._layout()

    @property
    def tokens(self) -> torch.Tensor:
        """Token ids ``[rows, width]``; 0 where a row has no node."""
        width = self.width
        return torch.tensor(
            [[*tree.tokens, *[0] * (width - len(tree))] if tree else [0] * width for tree in self._trees]
        )

    def _layout(self) -> None:
        """Positions, visibility and key positions where some row branches; the plain and obvious way."""
        visible = np.zeros((self.rows, self.width, self.keys), dtype=bool)
        positions = np.zeros((self.rows, self.width), dtype=np.int64)
        key_positions = np.arange(self.keys) + np.array(self._gone)[:, None]
        for row, (length, gone, tree) in enumerate(zip(self.lengths, self._gone, self._trees, strict=True)):
            if tree is None:
                visible[row, :, 0] = True  # a row of padding must see something, or its softmax is NaN
                continue
            for node, parent in enumerate(tree.parents):
                if parent < 0:
                    base = tree.bases[node] if tree.bases and tree.bases[node] >= 0 else length
                    if base < gone:
                        raise ValueError(f"a branch off {base} tokens, of which only what is left of {gone} is here")
                    visible[row, node, : base - gone] = True
                    positions[row, node] = base
                else:
                    visible[row, node] = visible[row, parent]
                    positions[row, node] = positions[row, parent] + 1
                visible[row, node, length - gone + node] = True
                key_positions[row, length - gone + node] = positions[row, node]
            visible[row, len(tree) :, 0] = True
        self.positions = torch.from_numpy(positions)
        self._key_positions = torch.from_numpy(key_positions)
        self._windows[None] = torch.from_numpy(visible)[:, None]

    def mask_for(self, window: int | None) -> torch.Tensor | None:
        """Boolean mask ``[rows, 1, width, keys]``, True where a node sees a key; None if every node sees all.

        ``window`` limits the view to keys at most ``window - 1`` positions back, as Transformers defines it.
        """
        if window is not None and self.end <= window:
            window = None
        if window not in self._windows:
            self._windows[window] = self._mask(window)
        return self._windows[window]

    def folded_mask_for(self, window: int | None, groups: int, dtype: torch.dtype) -> torch.Tensor | None:
        """The mask as numbers to add, ``[rows, 1, groups * width, keys]``: for ``groups`` query heads side by side."""
        key = (window, groups, dtype)
        if key not in self._folded:
            seen = self.mask_for(window)
            if seen is not None:
                hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
                seen = hidden.repeat(1, 1, groups, 1)
            self._folded[key] = seen
        return self._folded[key]

    def _mask(self, window: int | None) -> torch.Tensor | None:
        if window is None:  # only chains come here: branching rows have laid out their mask already
            if self.rows == 1 and self.width == 1:
                return None
            return (self._key_indices() <= self.positions[:, :, None])[:, None]
        seen = self.mask_for(None)
        keys = self._key_indices() if self._key_positions is None else self._key_positions[:, None, :]
        near = (keys > self.positions[:, :, None] - window)[:, None]
        return near if seen is None else near & seen

    def _key_indices(self) -> torch.Tensor:
        """Positions of the keys of chains, ``[rows, 1, keys]``."""
        return torch.arange(self.keys, device=self.positions.device) + self._first

    def note(self, queries: torch.Tensor, attention: Attention) -> None:
        """What the layer that is being run was asked, ``[nodes, heads, head_dim]``, and how it attends."""
        self.attention[self.layer] = attention
        if self.asks:
            self.queries.append(queries)

    def first(self, row: int) -> int:
        """Index of the row's first node among those of :attr:`queries`."""
        return row * self.width if self.padded else self.starts[row]

    def before(self, row: int) -> PastLayer | None:
        """What is left of the beginning of a row's text, in the layer that is being run."""
        past = self.pasts[row] if self.pasts else None
        return None if past is None else past.layers[self.layer]

    def past_mask_for(self, window: int | None, row: int) -> torch.Tensor | None:
        """Boolean ``[width, count]``: which of them each node of the row sees; None where it sees all."""
        kept = self.before(row)
        if window is None or kept is None or kept.positions is None:
            return None
        return kept.positions.to(self.positions.device) > self.positions[row][:, None] - window

    def to(self, device: torch.device) -> None:
        """Move masks and positions to ``device``."""
        self._windows = {w: None if m is None else m.to(device) for w, m in self._windows.items()}
        self.positions = self.positions.to(device)
        self.real = self.real.to(device) if self.real is not None else None
        if self._key_positions is None:
            self._first = self._first.to(device)
        else:
            self._key_positions = self._key_positions.to(device)
