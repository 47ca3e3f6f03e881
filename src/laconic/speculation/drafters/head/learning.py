"""What a head learns from one batch of texts; the trainer and a head that learns while it drafts share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.models.native import bf16
from laconic.speculation.drafters.head.contract import DraftHead
from laconic.speculation.drafters.head.losses import Loss
from laconic.speculation.drafters.head.teacher import Teacher

Embed = Callable[[Tensor], Tensor]
"""From tokens ``[...]`` to the target's embeddings ``[..., width]``, float32."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of like length side by side: ``tokens [texts, length]``, ``features [texts, length - 1, layers, width]``.

    ``valid [texts, length]`` says where there is a token, ``written`` where one that the target wrote.
    """

    tokens: Tensor
    features: Tensor
    valid: Tensor
    written: Tensor


def narrow_products(device: torch.device) -> tuple[torch.autocast, bool]:
    """A context in which products are made in bfloat16 where the processor has instructions for that, and whether."""
    narrow = device.type != "cpu" or bf16.multiplies()
    return torch.autocast(device.type, torch.bfloat16, enabled=narrow), narrow


def heard(head: DraftHead, batch: Batch, embed: Embed) -> Tensor:
    """What ``head`` hears of the tokens of a batch but the first, ``[texts, length - 1, width]``; nothing of the last
    one where that is a layer's output.
    """
    shape = head.shape
    if not shape.early:
        found: Tensor = embed(batch.tokens[:, 1:])
        return found
    return F.pad(batch.features[:, 1:, shape.layers.index(shape.early - 1)], (0, 0, 0, 1))


def loss_over(
    head: DraftHead, batch: Batch, teacher: Teacher, embed: Embed, steps: int, decay: float, loss_of: Loss
) -> Tensor:
    """The mean over places and steps, later steps counting less."""
    told = teacher(batch.features[:, :, -1])  # [texts, length - 1, kept]: of the token after each
    total, weight = torch.zeros(()), 0.0
    for step, logits in enumerate(head.unrolled(heard(head, batch, embed), batch.features, steps)):
        wanted = batch.valid[:, 2 + step :]
        rows = loss_of(told[:, 1 + step :][wanted], logits[wanted].float())
        total = total + decay**step * rows.mean()
        weight += decay**step
    return total / weight


def descend(loss: Tensor, weights: Sequence[Tensor], optimiser: torch.optim.Optimizer) -> None:
    """One step down a loss, of bounded length."""
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(weights, 0.5)
    optimiser.step()
