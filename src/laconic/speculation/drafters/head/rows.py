"""What a head says of the next token, over the tokens that it can say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from laconic.speculation.base import Context, Grown, way_down
from laconic.speculation.draws import foresee, warp

_CANDIDATES, _LIKELIEST = 64, 16
"""Tokens that are looked at where the target's draw is to be guessed, and where the likeliest few are wanted."""


class KeptRow:
    """A Row over logits of the kept tokens alone; see speculation.base.Row.

    ``values`` and ``ids [n]`` are the probabilities and the target's ids of the likeliest tokens, best first; ``logits
    [kept]`` is all that was said, and ``place`` the position whose draw by the target is to be guessed, None where the
    likeliest token is.
    """

    __slots__ = ("_chances", "_context", "_logits", "_map", "_place", "_vocab", "hidden", "ids", "values")

    def __init__(
        self, values: list[float], ids: list[int], logits: Tensor, kept: Tensor, vocab: int, context: Context,
        place: int | None,
    ) -> None:  # fmt: skip
        self.values, self.ids = values, ids
        self.hidden: Tensor | None = None
        self._logits, self._map, self._vocab = logits, kept, vocab
        self._context, self._place = context, place
        self._chances: list[tuple[int, float]] | None = None

    @property
    def probs(self) -> Tensor:
        """``[vocab]``: nothing for tokens that are not kept."""
        sampling = self._context.sampling
        mine = self._logits.float().softmax(-1) if sampling.greedy else warp(self._logits, sampling)
        return mine.new_zeros(self._vocab).index_copy_(0, self._map, mine)

    @property
    def best(self) -> int | None:
        """The likeliest token, or the one that the target's random numbers point to; None where rules leave none."""
        return self._ahead[0][0] if self._ahead else None

    @property
    def confidence(self) -> float:
        """Probability of ``best``."""
        return self._ahead[0][1] if self._ahead else 0.0

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` likeliest, of the few that were looked at."""
        return self._ahead[:k]

    @property
    def _ahead(self) -> list[tuple[int, float]]:
        """Tokens and chances, best first."""
        if self._chances is None:
            if self._place is None or not self.ids:
                self._chances = list(zip(self.ids, self.values, strict=True))
            else:
                tokens, chances = foresee(
                    torch.tensor(self.values), self._context.draws, self._place, np.array(self.ids)
                )
                order = np.argsort(-chances)
                self._chances = [(int(tokens[i]), float(chances[i])) for i in order if chances[i] > 0]
        return self._chances


def rows_of(
    logits: Tensor, kept: Tensor, vocab: int, context: Context, nodes: list[int], grown: Grown, foresees: bool
) -> list[KeptRow]:
    """Rows of one request's ``nodes`` from their ``logits [nodes, kept]``; its logit rules are applied first."""
    if context.ruled is not None:
        logits = torch.stack([
            _ruled(context, one, kept, vocab, way_down(grown.tokens, grown.parents, node))
            for one, node in zip(logits, nodes, strict=True)
        ])  # fmt: skip
    sampling = context.sampling
    probs = logits.float().softmax(-1) if sampling.greedy else warp(logits, sampling)
    probs = probs.nan_to_num(0.0)  # a row of which rules leave nothing
    values, places = probs.topk(min(_CANDIDATES if foresees else _LIKELIEST, probs.shape[-1]), dim=-1)
    ids = kept[places]
    base = len(context.tokens)
    likely = [
        [(p, token) for p, token in zip(*row, strict=True) if p > 0]
        for row in zip(values.tolist(), ids.tolist(), strict=True)
    ]
    return [
        KeptRow(
            [p for p, _ in pairs],
            [token for _, token in pairs],
            one,
            kept,
            vocab,
            context,
            base + grown.below(node) if foresees else None,
        )
        for pairs, one, node in zip(likely, logits, nodes, strict=True)
    ]


def _ruled(context: Context, logits: Tensor, kept: Tensor, vocab: int, drafted: list[int]) -> Tensor:
    assert context.ruled is not None
    every = logits.new_full((vocab,), -torch.inf).index_copy_(0, kept, logits)
    return context.ruled(every, drafted)[kept]
