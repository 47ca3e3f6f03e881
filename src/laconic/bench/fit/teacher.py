"""Whether what a head is taught by says what the target says."""

from __future__ import annotations

from contextlib import closing

import torch
from torch import Tensor

from laconic.bench.fit.shards import Texts
from laconic.errors import UnmetNeed
from laconic.models.base import LanguageModel, chain
from laconic.speculation.drafters.head.teacher import Teacher

_AGREES = 0.9
"""Share of greedy tokens that the teacher must name itself."""
_CHECKED = 256
"""Tokens of the text that the check reads."""


def known_parts(teacher: Teacher, target: LanguageModel, kept: Tensor, texts: Texts) -> float:
    """How far the teacher :func:`agrees <agreement>`. Raises UnmetNeed where it is not what the target says."""
    agrees = agreement(teacher, target, kept, texts)
    if agrees < _AGREES:
        raise UnmetNeed(
            f"what this model says could not be made of its last layer: {agrees:.0%} of its own greedy tokens.",
            "Only models whose output is a norm and a linear head behind the last layer can teach a drafter.",
        )
    return agrees


def agreement(teacher: Teacher, target: LanguageModel, kept: Tensor, texts: Texts) -> float:
    """How often the teacher's likeliest token is the target's own, where that is kept: a check of the teacher's parts.

    The target reads one text anew.
    """
    tokens, features = texts.one(0)
    tokens, said = tokens[:_CHECKED], kept[teacher(features[: _CHECKED - 1, -1]).argmax(-1)]
    with closing(target.open()) as slot:
        scores = target.score([chain(tokens[:-1])], [slot])
        own = scores.of(0).argmax(-1)
    known = torch.isin(own, kept)
    return float((said == own)[known].float().mean())
