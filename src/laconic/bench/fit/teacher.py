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

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """Log-probabilities ``[..., kept]``."""
        logits = self._norm(states.to(self._dtype)).float() @ self._rows.T
        if self._cap:
            logits = torch.tanh(logits / self._cap) * self._cap
        told: Tensor = logits.log_softmax(-1)
        return told


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
