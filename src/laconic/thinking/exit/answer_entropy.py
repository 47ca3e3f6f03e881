"""Stop thinking once the model's uncertainty after the closing tag has come to rest."""

from __future__ import annotations

from operator import mul
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.exit.probed import Asked, ProbedExit


@knobs
class AnswerEntropy(ProbedExit):
    """At the end of a step, look at the entropy of the answer's first token; stop when it no longer changes.

    EAT (entropy after the closing tag): the thought is over when an exponentially weighted variance of that entropy
    falls below a threshold, which also ends thoughts that will never become sure. A probe is one token long. The paper
    looks at the first token behind the tag (``text=``, empty) or behind an opening of the answer, and tunes its
    constants to each model; those here are for short thoughts.
    """

    card = Card(
        paper="EAT: Entropy After </Think> for reasoning model early exiting", arxiv="2509.26522", lossless=False
    )
    most = 1

    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """Stop when the running variance, in squared nats, is below this."""
    weight: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """What each look takes off the weight of those before it."""
    looks: Annotated[int, Field(ge=2)] = 3
    """Looks before the first decision."""

    def settled(self, asked: Asked) -> str | None:
        """The variance over all looks so far, recent ones weighing more."""
        values = [look.belief.entropies[0] for look in asked.looks]
        if len(values) < self.looks:
            return None
        weights = [(1 - self.weight) ** age for age in reversed(range(len(values)))]
        mean = sum(map(mul, weights, values)) / sum(weights)
        variance = sum(weight * (value - mean) ** 2 for weight, value in zip(weights, values, strict=True)) / sum(
            weights
        )
        return f"the answer's entropy varies by {variance:.2g}" if variance < self.threshold else None
