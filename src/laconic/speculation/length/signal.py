"""Stopping where a signal of the drafter falls below a threshold: what SVIP, AdaEDL, Kangaroo and others share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field

from laconic.policy import knobs
from laconic.speculation.base import Context, Go, LengthPolicy, Node
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Watch:
    """State of one request: the ``threshold`` in force, and the ``product`` of estimates down this draft."""

    threshold: float
    product: float = 1.0


@knobs
class SignalStop(LengthPolicy):
    """Draft on while the estimated chance of acceptance is at least a threshold. Subclasses give the estimate.

    The first token below it is still drafted in a model's chain (see ``ending``).
    """

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Least estimate that is drafted on."""
    aggregate: Literal["last", "product"] = "last"
    """Whether a token is judged by its own estimate, or by the product of all down to it."""
    maximum: Annotated[int, Field(ge=1)] = 16
    """Most tokens drafted per round, however sure the drafter is."""

    def estimate(self, node: Node) -> float:
        """Estimated chance, in [0, 1], that the token at ``node`` is accepted."""
        raise NotImplementedError

    def start(self, context: Context, pace: Pace) -> Watch:
        """Begin with ``threshold``."""
        return Watch(self.threshold)

    def budget(self, state: Watch) -> int:
        """Always ``maximum``; ``go_on`` ends most drafts sooner."""
        state.product = 1.0
        return self.maximum

    def go_on(self, state: Watch, node: Node) -> Go:
        """Compare the estimate, alone or along the path, with the threshold."""
        estimate = self.estimate(node)
        if self.aggregate == "product":
            if node.path is not None:
                estimate *= node.path
            else:
                state.product = estimate = estimate * (1.0 if node.depth == 0 else state.product)
        return Go.ON if estimate >= state.threshold else ending(node)


def ending(node: Node) -> Go:
    """What becomes of the first token that is too doubtful, below which nothing is drafted.

    In a chain of a model's the token is kept, as in the authors' code: its draft pass has been paid for. Left out are
    tokens that no pass was paid for, and those of a tree, where one at the end of each branch would fill the draft.
    """
    return Go.LAST if node.probs is not None and node.path is None else Go.STOP


def entropy(probs: torch.Tensor) -> float:
    """Shannon entropy of a distribution ``[vocab]``, in nats."""
    return float(torch.special.entr(probs).sum())


def pinsker(probs: torch.Tensor, scale: float) -> float:
    """Lower bound of the acceptance of a token drawn from ``probs``, the divergence taken as ``2 scale`` entropies.

    Pinsker's inequality: acceptance is ``1 - TV >= 1 - sqrt(KL / 2)``.
    """
    return 1 - math.sqrt(scale * entropy(probs))
