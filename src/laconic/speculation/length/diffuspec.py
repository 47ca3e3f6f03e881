"""Draft as much as the drafter lately had to say, and more where that was accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pydantic
from pydantic import Field

from laconic.policy import Card, knobs
from laconic.speculation.base import Context, LengthPolicy, TokenTree, Verdict
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Reach:
    """State of one request: moving averages of what was produced and accepted, and the ``tokens`` to draft next."""

    context: Context
    tokens: int
    produced: float
    accepted: float


@knobs
class DiffuSpec(LengthPolicy):
    """The length that drafts lately had, plus ``increase`` while acceptance keeps up with it.

    Source: the adaptive draft length (ADL) controller of DiffuSpec. A draft's length is what the drafter produced, up
    to an end token: ``G`` is a moving average of it with weight ``memory`` on the past, ``A`` one of accepted tokens.
    Next come ``G + increase`` tokens if ``A >= G``, else ``G``, within ``minimum`` and ``maximum``.

    That is made for a diffusion model, which fills a whole block in one pass and ends many blocks early. A drafter that
    fills every budget with no end token in it leaves ``G`` at the budget, and the formula has no way down; and one
    refusal keeps ``A`` below ``G`` for ever. So here, unless ``strict``, an accepted length counts the target's own
    token too (a draft one token too long has kept up), and where acceptance lags the length falls to ``A``. The paper's
    constants (20 to 30 tokens, increase 10, memory 0.5, by a public reimplementation) suit a drafter to which a long
    block costs no more than a short one; the other defaults here are smaller, since most drafters write token by
    token. For a tree the length is its depth.
    """

    card = Card(
        paper="DiffuSpec: Unlocking Diffusion Language Models for Speculative Decoding",
        lossless=True,
        catalogue=(134,),
        arxiv="2510.02358",
    )

    start_tokens: Annotated[int, Field(ge=1)] = 5
    """Tokens drafted in the first round."""
    increase: Annotated[int, Field(ge=0)] = 2
    """Tokens added while acceptance keeps up (the paper's delta)."""
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Weight that a round keeps with each later one (the paper's 1 - rho)."""
    minimum: Annotated[int, Field(ge=1)] = 1
    """Fewest tokens drafted."""
    maximum: Annotated[int, Field(ge=1)] = 16
    """Most tokens drafted."""
    strict: bool = False
    """The paper's formula to the letter."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> DiffuSpec:
        if not self.minimum <= self.start_tokens <= self.maximum:
            raise ValueError("minimum <= start_tokens <= maximum must hold")
        return self

    def start(self, context: Context, pace: Pace) -> Reach:
        """Begin with ``start_tokens``, as if drafts of that length had just been accepted."""
        return Reach(context, self.start_tokens, float(self.start_tokens), float(self.start_tokens))

    def budget(self, state: Reach) -> int:
        """The adapted length."""
        return state.tokens

    def observe(self, state: Reach, verdict: Verdict, seconds: float) -> None:
        """Update both averages, and with them the length."""
        produced, accepted = self._produced(state.context, verdict.tree), verdict.accepted + (not self.strict)
        state.produced += (1 - self.memory) * (produced - state.produced)
        state.accepted += (1 - self.memory) * (accepted - state.accepted)
        if state.accepted >= state.produced:
            length = state.produced + self.increase
        else:
            length = state.produced if self.strict else state.accepted
        state.tokens = min(max(round(length), self.minimum), self.maximum)

    @staticmethod
    def _produced(context: Context, tree: TokenTree) -> int:
        """Length of the longest path above an end token."""
        depths: list[int] = []
        for token, parent in zip(tree.tokens, tree.parents, strict=True):
            above = depths[parent] if parent >= 0 else 0
            depths.append(above + (token not in context.ends))
        return max(depths, default=0)
