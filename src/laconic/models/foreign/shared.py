"""What the tokens of one vocabulary say of those of another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from laconic.errors import TokenizerMismatch
from laconic.models.foreign.reading import Reader
from laconic.models.foreign.spelling import Spelling


@dataclass(frozen=True, slots=True)
class Shared:
    """What a foreign vocabulary says in ours: its token ``theirs[i]`` stands for ours ``ours[i]``; both ``[n]``.

    The first ``same`` of them mean the same in both: text by the bytes that it stands for, control tokens (an end, a
    turn) by what they are called; a control token is never taken for text. The others are texts that are no token of
    ours, and stand for the first token that our tokenizer cuts them into. ``vocab`` and ``foreign`` are the sizes of
    the two vocabularies.
    """

    ours: Tensor
    theirs: Tensor
    same: int
    vocab: int
    foreign: int

    def __str__(self) -> str:
        return f"{self.same:,} of the draft model's {self.foreign:,} tokens are also the target's"

    def row(self, theirs: Tensor) -> Tensor:
        """Logits ``[nodes, vocab]`` of what logits over their tokens, ``[nodes, foreign]``, say of ours."""
        likely = theirs.float().softmax(-1)[:, self.theirs]
        return likely.new_zeros(len(theirs), self.vocab).index_add_(1, self.ours, likely).log_()


def shared(ours: Spelling, theirs: Spelling, sizes: tuple[int, int]) -> Shared:
    """What two vocabularies have in common, of the ``sizes`` that their models have room for.

    Raises TokenizerMismatch if they share no token.
    """
    found = {}
    for word, other in theirs.by_bytes.items():
        if (mine := ours.by_bytes.get(word)) is not None:
            found[other] = mine
    for name, other in theirs.marks.items():  # tags and ends by name, whichever of the two calls them special
        if (mine := ours.marks.get(name)) is not None:
            found[other] = mine
    same = sorted((i, other) for other, i in found.items() if i < sizes[0] and other < sizes[1])
    if not same:
        raise TokenizerMismatch("draft and target have no token in common.", "Use another draft model, or suffix.")
    others = [other for other in theirs.of if other not in found and other < sizes[1]]
    firsts = Reader(theirs, ours).firsts([theirs.of[other] for other in others])
    rest = [(i, other) for i, other in zip(firsts, others, strict=True) if i is not None and i < sizes[0]]
    pairs = torch.tensor(same + rest).T.contiguous()
    return Shared(pairs[0], pairs[1], len(same), *sizes)
