"""What a target would say behind each state of its last layer: the distribution that a draft head is taught."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from laconic.errors import UnmetNeed
from laconic.models.largest import largest
from laconic.models.native import bf16
from laconic.models.parts import last_norm, output_rows
from laconic.models.wrapper import innermost


class Teacher:
    """The target's last norm and its output head over the kept tokens, from ``[..., width]`` of its last layer.

    Log-probabilities are over these tokens alone. With ``narrow`` products are made in bfloat16 where the model is in
    that and the processor has instructions for it: as the model makes them itself.
    """

    def __init__(self, target: Any, kept: Tensor, *, narrow: bool = False) -> None:
        target = innermost(target)
        norm = last_norm(target)
        if norm is None:
            raise UnmetNeed("the last norm of this model was not found, so nothing can be learned from its states.")
        self.norm = norm.weight
        self._norm = norm
        rows = output_rows(target, kept)
        narrow = narrow and rows.dtype == torch.bfloat16 and (rows.device.type != "cpu" or bf16.multiplies())
        self._rows = rows if narrow else rows.float()
        self._cap = getattr(target.config, "final_logit_softcapping", None)
        # Granite divides its logits, Cohere multiplies them.
        self._scale = (getattr(target.config, "logit_scale", None) or 1.0) / (
            getattr(target.config, "logits_scaling", None) or 1.0
        )
        self._dtype = norm.weight.dtype

    @torch.no_grad()
    def __call__(self, states: Tensor) -> Tensor:
        """Log-probabilities ``[..., kept]``, where the states are."""
        told: Tensor = self._logits(states).log_softmax(-1).to(states.device)
        return told

    @torch.no_grad()
    def likeliest(self, states: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Of the ``k`` likeliest tokens their log-probabilities and places among the kept ones, ``[rows, k]``."""
        logits = self._logits(states)
        values, places = largest(logits, k)
        return values - logits.logsumexp(-1, keepdim=True), places

    def _logits(self, states: Tensor) -> Tensor:
        here = self._norm(states.to(self._rows.device, self._dtype)).to(self._rows.dtype)
        logits: Tensor = (here @ self._rows.T).float() * self._scale  # in training products are narrow, too
        if self._cap:
            logits = torch.tanh(logits / self._cap) * self._cap
        return logits
