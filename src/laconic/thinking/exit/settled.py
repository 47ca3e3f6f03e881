"""Stop thinking once more of it costs more than it can be expected to bring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.base import Belief
from laconic.thinking.exit.probed import Asked, Hopeless, Look, ProbedExit

_PRIOR = 2.0
"""Growth of the thought, as a logarithm, for which the prior counts: that doubt falls as the thought grows."""
_SHORT = 3000
"""Tokens; a thought shorter than this pays as if it had this length, so that short ones are not cut for pennies."""
_LEAST = 1e-4
"""Doubt below which models are not believed."""


@knobs
class Settled(ProbedExit):
    """At the end of a step, ask what the answer would be now; stop when thinking on is not worth its tokens.

    The **doubt** is one minus the probability of the answer, as far as it was looked at: a look ends where there is no
    hope any more that the thought may end here. What further thought may bring is at most this, and
    is estimated from how the doubt has fallen so far: per unit growth of the thought (by the factor e) it has lost
    ``r = (2 + ln(first doubt / doubt now)) / (2 + ln(tokens now / tokens at the first look))`` of its logarithm, where
    both 2 stand for a prior by which doubt is in inverse proportion to thought. So thinking on by that factor promises
    ``r * doubt``, and costs the price of as many tokens as have been thought. It stops where the promise is below the
    cost: when the answer is sure, and also when long thinking has not made it any surer.
    """

    card = Card(paper="laconic's own", lossless=False)

    price: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    """Accuracy (1 is one right answer) that a thousand thinking tokens must be expected to bring."""

    def settled(self, asked: Asked) -> str | None:
        """Weigh promise against cost at the last look."""
        look = asked.looks[-1]
        doubt = _doubt(look.belief)
        gain, cost = promise(asked.looks[0], doubt, look.thinking), self._cost(look.thinking)
        if gain >= cost:
            return None
        return (
            f"answer {look.belief.answer!r} is in doubt by {doubt:.3f}; thinking on promises {gain:.3f} for {cost:.3f}"
        )

    def hopeless(self, asked: Asked, thinking: int) -> Hopeless | None:
        """Whether an answer that begins with tokens so probable leaves too much doubt to stop, whatever follows."""
        first, cost = asked.looks[0] if asked.looks else None, self._cost(thinking)

        def hopeless(probs: Sequence[float]) -> bool:
            doubt = 1 - math.prod(probs)
            return (doubt if first is None else promise(first, doubt, thinking)) >= cost

        return hopeless

    def _cost(self, thinking: int) -> float:
        return self.price * max(thinking, _SHORT) / 1000


def promise(first: Look, doubt: float, thinking: int) -> float:
    """Doubt that thinking e times as long is expected to remove; it grows with ``doubt``."""
    fallen = max(math.log(max(1 - math.prod(first.belief.probs), _LEAST) / max(doubt, _LEAST)), 0.0)
    grown = math.log(max(thinking, 1) / max(first.thinking, 1))
    return (_PRIOR + fallen) / (_PRIOR + grown) * doubt


def _doubt(belief: Belief) -> float:
    return 1 - math.prod(belief.probs) if belief.complete else 1.0
