"""Tokens that two vocabularies have in common."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import TokenizerMismatch
from laconic.models.foreign.spelling import Spelling


@dataclass(frozen=True, slots=True)
class Shared:
    """Tokens that mean the same: ``ours[i]`` of one vocabulary is ``theirs[i]`` of the other; both ``[shared]``.

    A token of text means the bytes that it stands for, a control token (an end, a turn) what it is called; a control
    token is never taken for text. ``vocab`` and ``foreign`` are the sizes of the two.
    """

    ours: Tensor
    theirs: Tensor
    vocab: int
    foreign: int

    def __str__(self) -> str:
        return f"{len(self.ours):,} of the draft model's {self.foreign:,} tokens are also the target's"


def shared(ours: Spelling, theirs: Spelling, sizes: tuple[int, int]) -> Shared:
    """What two vocabularies share of the ``sizes`` that their models have room for.

    Raises TokenizerMismatch if that is nothing.
    """
    found = {}
    for word, i in ours.by_bytes.items():
        if (other := theirs.by_bytes.get(word)) is not None:
            found[i] = other
    for name, i in ours.marks.items():  # tags and ends by name, whichever of the two calls them special
        if (other := theirs.marks.get(name)) is not None:
            found[i] = other
    pairs = sorted((i, other) for i, other in found.items() if i < sizes[0] and other < sizes[1])
    if not pairs:
        raise TokenizerMismatch("draft and target have no token in common.", "Use another draft model, or suffix.")
    mine, other = torch.tensor(pairs).T
    return Shared(mine.contiguous(), other.contiguous(), *sizes)
