"""What a target would say behind each state of its last layer: the distribution that a draft head is taught."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from laconic.bench.fit.shards import Texts
from laconic.errors import UnmetNeed
from laconic.models.base import LanguageModel, chain
from laconic.models.parts import last_norm, output_rows

_AGREES = 0.9
"""Share of greedy tokens that the teacher must name itself."""
_CHECKED = 256
"""Tokens of the text that the check reads."""


class Teacher:
    """The target's last norm and its output head over the kept tokens, from ``[..., width]`` of its last layer.

    Log-probabilities are over these tokens alone.
    """

    def __init__(self, target: Any, kept: Tensor) -> None:
        norm = last_norm(target)
        if norm is None:
            raise UnmetNeed("the last norm of this model was not found, so nothing can be learned from its states.")
        self.norm = norm.weight
        self._norm = norm
        self._rows = output_rows(target, kept).float()
        self._cap = getattr(target.config, "final_logit_softcapping", None)
        self._dtype = norm.weight.dtype
        self.width = len(kept)

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """Log-probabilities ``[..., kept]``."""
        logits = (self._norm(states.to(self._dtype)).float() @ self._rows.T).float()  # in training products are narrow
        if self._cap:
            logits = torch.tanh(logits / self._cap) * self._cap
        told: Tensor = logits.log_softmax(-1)
        return told


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
