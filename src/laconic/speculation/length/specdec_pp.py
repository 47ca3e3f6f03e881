"""Stop drafting where a trained head thinks that the draft has probably gone wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field

from laconic.errors import UnmetNeed
from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Go, LengthPolicy, Node
from laconic.speculation.heads import Trained, load, probability, train
from laconic.speculation.pace import Pace


@dataclass(slots=True)
class Chances:
    """State of one request: the chance that all tokens of this draft are accepted."""

    product: float = 1.0


@knobs
class SpecDecPP(LengthPolicy):
    """Draft on while the chance that some token of the draft is refused, by a trained head, is within a threshold.

    Source: "SpecDec++: Boosting Speculative Decoding via Adaptive Candidate Lengths", which proves that the best rule
    is a threshold on ``1 - prod_i P(token i is accepted | those before it are)``. A head on the draft model's last
    hidden state at each drafted token (residual SiLU layers, one logit) gives these chances; ``laconic fit specdec++``
    trains it by weighted cross entropy. The state at a token has seen the token, which is therefore verified whatever
    the head thinks of it: what the head decides is whether there is another one, so nothing is biased.

    A head trained with ``laconic fit specdec++ --state before`` tells a token's fate from the state before it instead,
    which is there one draft pass sooner: the token that makes a refusal too likely is then left out, unseen. This is
    not the paper's, and spares the pass over a token that the head gives up.

    As the authors weigh refusals (6 to 1), the head thinks worse of tokens than they deserve; the threshold is set for
    that. In the authors' code all residual layers are one and the same; here each has weights of its own, and inputs
    are brought to mean 0 and deviation 1 first. In a tree, where questions of several branches come mixed, the product
    is taken to be the smaller of the head's word on the token above and the drafter's probability of the path.
    """

    card = Card(paper="SpecDec++", lossless=True, catalogue=(2,), arxiv="2405.19715")
    needs = Needs(draft_model=True, draft_hidden=True)
    hints = {"head": train("specdec++")}  # noqa: RUF012

    files = frozenset({"head"})

    head: str
    """Folder that ``laconic fit specdec++`` wrote."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Largest bearable chance that some token of the draft is refused (the paper's h)."""
    maximum: Annotated[int, Field(ge=1)] = 20
    """Most tokens drafted per round, however sure the head is."""

    @cached_property
    def _trained(self) -> Trained:
        return load(self.head, "specdec++")

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the head was trained on this draft model."""
        self._trained.suits("specdec++", draft_model)

    def start(self, context: Context, pace: Pace) -> Chances:
        """Nothing drafted yet."""
        return Chances()

    def budget(self, state: Chances) -> int:
        """Always ``maximum``; ``go_on`` ends most drafts sooner."""
        return self.maximum

    def go_on(self, state: Chances, node: Node) -> Go:
        """Judge the token above, or that at ``node``: with it no refusal must be too likely yet."""
        before = self._trained.about.state == "before"
        if node.depth == 0:
            state.product = 1.0
            if not before:
                return Go.ON  # what is above has been committed
        if node.hidden is None:
            raise UnmetNeed("'specdec++' looks at the draft model's hidden states, which are not known here.")
        chance = self.chance(node.hidden)
        if node.path is None:
            state.product *= chance
        else:
            state.product = chance * node.path if before else min(chance, node.path)
        return Go.ON if 1 - state.product <= self.threshold else Go.STOP

    def chance(self, hidden: torch.Tensor) -> float:
        """The head's chance that the token which the state ``hidden [width]`` tells of is accepted."""
        return probability(self._trained(hidden))
