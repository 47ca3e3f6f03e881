"""SentenceKV: the past by sentences, of which a query reads those that mean what it looks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from laconic.kv.base import Telling
from laconic.kv.retrieve.reader import Retrieval
from laconic.policy import Card, knobs

_END = re.compile(r"[.!?。！？\n]\W*$")
"""The end of a token behind which a sentence is over."""


@knobs
class Sentences(Retrieval):
    """Read the sentences of the past whose mean key has the largest product with the query, and no others.

    Source: SentenceKV, as the abstract describes it: entries are kept by sentences with one vector each, and those of
    the sentences that fit are brought back. That the vector is the mean of the sentence's keys, and that all of its
    entries are kept, are this project's readings; the paper moves them to the host's memory, which is not here. A
    sentence ends with a token that ends in a full stop, a question or exclamation mark or a line break, or after
    ``longest`` tokens.
    Trap: keys of one sentence were rotated to their own places, so that the mean of a long one is shorter than they
    are, and promises less.
    """

    card = Card(paper="SentenceKV", lossless=False, catalogue=(246,))

    longest: Annotated[int, Field(ge=1)] = 64
    """Tokens after which a sentence is cut."""

    @property
    def unit(self) -> int:
        """See the base."""
        return self.longest

    def ends(self, told: Telling, begin: int, last: int) -> list[int]:
        """Whole sentences; of views, which do not know the text (kv-view), by length alone."""
        found = []
        for at in range(begin, last):
            over = told.text is not None and _END.search(told.text.piece(told.tokens[at]))
            if over or at + 1 - begin >= self.longest:
                found.append(at + 1)
                begin = at + 1
        return found

    def described(self, keys: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The mean of each sentence's keys, twice."""
        means = torch.stack([part.float().mean(0) for part in torch.split(keys, list(sizes))]).to(keys.dtype)
        return means, means
