"""An output head that is asked about some of its tokens only.

A small model's head is most of its cost: of SmolLM2-135M's weights a fifth, of a draft of four million more than half.
The rows that are wanted are copied once, into the layout in which the whole head is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from laconic.models.devices import fetched

if TYPE_CHECKING:
    from laconic.models.fast import FastDecoder
    from laconic.models.host import Host

_MADE = 4
"""Narrow heads that are kept."""


class _Narrow(NamedTuple):
    kept: Tensor
    """Also what keeps its id from being another tensor's."""
    columns: Tensor
    """The same where the logits are."""
    head: Any
    """A Projection of the written-out pass, or a module."""


class OutputHead:
    """The output head of ``model``, ``[vocab, hidden]``, whose passes ``host`` makes."""

    def __init__(self, model: Any, host: Host, vocab_size: int) -> None:
        self._model, self._width = model, vocab_size
        self._fast: FastDecoder | None = getattr(host, "fast", None)
        self._whole = model.get_output_embeddings() if self._fast is None else self._fast.head
        self._made: OrderedDict[int, _Narrow] = OrderedDict()
        self._now: _Narrow | None = None

    @contextmanager
    def only(self, kept: Tensor) -> Iterator[None]:
        """See models.base.Narrows."""
        before = self._now
        self._put(self._narrow(kept))
        try:
            yield
        finally:
            self._put(before)

    def forget(self, kept: Tensor) -> None:
        """Give back what was made for ``kept``, which nobody will ask about again."""
        self._made.pop(id(kept), None)

    def widened(self, logits: Tensor) -> Tensor:
        """Logits ``[nodes, vocab]`` of what the head has given, which may be some columns of them."""
        if self._now is None:
            return logits
        wide = logits.new_full((len(logits), self._width), -torch.inf)
        return wide.index_copy_(1, self._now.columns, logits)

    def _put(self, narrow: _Narrow | None) -> None:
        self._now = narrow
        head = self._whole if narrow is None else narrow.head
        if self._fast is not None:
            self._fast.head = head
        else:
            self._model.set_output_embeddings(head)

    def _narrow(self, kept: Tensor) -> _Narrow:
        if id(kept) not in self._made:
            self._made[id(kept)] = self._cut(kept)
            if len(self._made) > _MADE:
                self._made.popitem(last=False)
        self._made.move_to_end(id(kept))
        return self._made[id(kept)]

    def _cut(self, kept: Tensor) -> _Narrow:
        if self._fast is not None:
            columns = kept.to(self._fast.embedding.device)
            return _Narrow(kept, columns, self._whole.only(columns))
        with fetched(self._whole):
            columns = kept.to(self._whole.weight.device)
            weight = self._whole.weight[columns]
            bias = None if self._whole.bias is None else self._whole.bias[columns]
        head = nn.Linear(weight.shape[1], len(kept), bias is not None, device="meta")
        head.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            head.bias = nn.Parameter(bias, requires_grad=False)
        return _Narrow(kept, columns, head)
