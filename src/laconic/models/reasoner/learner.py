"""A network in training: its optimizers, its running mean, and gradients shared between processes."""

import copy
from typing import Any

import torch
from torch import distributed


class Learner:
    """A network with its optimizers and the running mean of its weights."""

    def __init__(self, network: Any, rate: float) -> None:
        self.network, self.mean = network, copy.deepcopy(network).requires_grad_(False)
        hidden = [p for n, p in network.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        known = {id(p) for p in hidden}
        rest = [p for p in network.parameters() if id(p) not in known]
        self.hidden = hidden
        self.optimizers = [
            torch.optim.Muon(_share(hidden, rank()), lr=rate, weight_decay=0.01),
            torch.optim.AdamW(rest, lr=rate / 6, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.rates = [rate, rate / 6]

    def logits(self, tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        """Float32 logits at the positions `where` ([batch, length] of bool): [positions, vocabulary]."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = self.network.model(input_ids=tokens, use_cache=False).last_hidden_state
            return self.network.lm_head(hidden[where]).float()  # type: ignore[no-any-return]

    def step(self, loss: torch.Tensor, factor: float, count: int) -> None:
        """One update, with the learning rates times `factor`; `count` updates were made before."""
        loss.backward()  # type: ignore[no-untyped-call]
        add_up([p.grad for p in self.network.parameters() if p.grad is not None])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        self.network.zero_grad()
        _exchange(self.hidden)
        with torch.no_grad():
            pace = max(1 / (count + 1), 0.005)
            for mean, new in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(new, pace)


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def _share(matrices: list[torch.Tensor], owner: int) -> list[torch.Tensor]:
    """The matrices that one process updates: Muon is dear, so each does its part."""
    return matrices[owner :: distributed.get_world_size()] if distributed.is_initialized() else matrices


@torch.no_grad()
def _exchange(matrices: list[torch.Tensor]) -> None:
    """Give every process the matrices that the others have updated."""
    for owner in range(distributed.get_world_size() if distributed.is_initialized() else 0):
        mine = _share(matrices, owner)
        flat = torch.cat([matrix.flatten() for matrix in mine])
        distributed.broadcast(flat, owner)
        for matrix, part in zip(mine, torch.split(flat, [matrix.numel() for matrix in mine]), strict=True):
            matrix.copy_(part.view_as(matrix))


def add_up(gradients: list[torch.Tensor]) -> None:
    """Replace gradients by their mean over all processes."""
    if distributed.is_initialized():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat / distributed.get_world_size(), [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def agree(value: float) -> float:
    """The same number in all processes: that of the first."""
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared)
