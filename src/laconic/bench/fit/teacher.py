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
_APART = 0.1
"""Total variation distance, on average, by which its distributions may be others than the target's."""
_CHECKED = 256
"""Tokens of the text that the check reads."""


def known_parts(teacher: Teacher, target: LanguageModel, kept: Tensor, texts: Texts) -> float:
    """How often the teacher's likeliest token is the target's (:func:`agreement`).

    Raises UnmetNeed where what it says is not what the target says.
    """
    agrees, apart = agreement(teacher, target, kept, texts)
    if agrees < _AGREES or apart > _APART:
        raise UnmetNeed(
            f"what this model says could not be made of its last layer: {agrees:.0%} of its own greedy tokens, and its "
            f"distributions are {apart:.2f} away.",
            "Only models whose output is a norm and a linear head behind the last layer can teach a drafter.",
        )
    return agrees


def agreement(teacher: Teacher, target: LanguageModel, kept: Tensor, texts: Texts) -> tuple[float, float]:
    """How often the teacher's likeliest token is the target's own, where that is kept, and how far their distributions
    over the kept tokens are apart on average: a check of the teacher's parts.

    The target reads one text anew.
    """
    tokens, features = texts.one(0)
    tokens, told = tokens[:_CHECKED], teacher(features[: _CHECKED - 1, -1])
    with closing(target.open()) as slot:
        own = target.score([chain(tokens[:-1])], [slot]).of(0).float().cpu()
    known = torch.isin(own.argmax(-1), kept)
    same = kept[told.argmax(-1)] == own.argmax(-1)
    apart = 0.5 * (told.exp() - own[:, kept].softmax(-1)).abs().sum(-1)
    return float(same[known].float().mean()), float(apart.mean())
