"""What a target would say behind each state of its last layer: the distribution that a draft head is taught."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from laconic.errors import UnmetNeed
from laconic.models.parts import last_norm, output_rows
from laconic.models.wrapper import innermost


class Teacher:
    """The target's last norm and its output head over the kept tokens, from ``[..., width]`` of its last layer.

    Log-probabilities are over these tokens alone.
    """

    def __init__(self, target: Any, kept: Tensor) -> None:
        target = innermost(target)
        norm = last_norm(target)
        if norm is None:
            raise UnmetNeed("the last norm of this model was not found, so nothing can be learned from its states.")
        self.norm = norm.weight
        self._norm = norm
        self._rows = output_rows(target, kept).float()
        self._cap = getattr(target.config, "final_logit_softcapping", None)
        # Granite divides its logits, Cohere multiplies them.
        self._scale = (getattr(target.config, "logit_scale", None) or 1.0) / (
            getattr(target.config, "logits_scaling", None) or 1.0
        )
        self._dtype = norm.weight.dtype
        self.width = len(kept)

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """Log-probabilities ``[..., kept]``, where the states are."""
        here = states.to(self._rows.device, self._dtype)
        logits = (self._norm(here).float() @ self._rows.T).float() * self._scale  # in training products are narrow
        if self._cap:
            logits = torch.tanh(logits / self._cap) * self._cap
        told: Tensor = logits.log_softmax(-1).to(states.device)
        return told
