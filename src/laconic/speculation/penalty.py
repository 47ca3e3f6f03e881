"""The repetition penalty as a logit rule, so that drafts, trees and probes meet it as plain decoding does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


class _Place(Protocol):
    @property
    def tokens(self) -> Sequence[int]: ...


@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """Tokens that stand in the prompt or in the output already become less likely by this factor.

    Source: CTRL (Keskar et al. 2019), equation 3 with Transformers' treatment of negative logits: positive ones are
    divided by the penalty, negative ones multiplied. It looks at the whole text, so each node of a draft has a table of
    its own (where vLLM shared one, drafts changed the output: vllm#22987).
    """

    penalty: float

    def __call__(self, logits: torch.Tensor, place: _Place) -> torch.Tensor:
        """Logits ``[vocab]`` in float32."""
        changed = logits.to(torch.float32, copy=True)
        seen = torch.tensor(place.tokens, device=logits.device)
        values = changed[seen]
        changed[seen] = torch.where(values < 0, values * self.penalty, values / self.penalty)
        return changed
