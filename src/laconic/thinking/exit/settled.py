"""Stop thinking once more of it costs more than it can be expected to bring."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Annotated

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Belief, View
from laconic.thinking.exit.probed import Asked, Hopeless, Look, ProbedExit
from laconic.thinking.exit.worth import cost
from laconic.types import Request

_PRIOR = 2.0
"""Growth of the thought, as a logarithm, for which the prior counts: that doubt falls as the thought grows."""
_SUREST = 1e-4
"""Doubt of the answer below which models are not believed."""
_FEWEST_SLIPS = 1e-3
"""The same for the numbers, which are many."""
_NUMBER = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Tokens with digits in a text: how many, and the probability of them all."""

    count: int = 0
    sure: float = 1.0


NONE = Numbers()


@dataclass(frozen=True, slots=True)
class Seen(Look):
    """A look, and the numbers in the thought by then."""

    numbers: Numbers = NONE


@dataclass(slots=True)
class Read(Asked):
    """State of one request: its looks, and the numbers among its first ``read`` tokens."""

    text: Text | None = None
    read: int = 0
    numbers: Numbers = NONE


@knobs
class Settled(ProbedExit):
    """At the end of a step, ask what the answer would be now; stop when thinking on is not worth its tokens.

    A model is surest of its answer right after it has made a slip: the answer follows from what is written, and only a
    later check tells. But it was less sure when it wrote the wrong number. Neither of the two finds as many wrong
    answers alone as both together, and both claim to be surer than they are. So they are pooled and tempered: the
    odds of a wrong answer are the cube root of the odds against the answer that a probe finds, times the probability
    that not all numbers written so far are what was meant. Each number counts as a toss of a coin at most: the latter
    is at least ``2 ** -count``, though never more than the root of the former for want of numbers. So in a thought
    without numbers the odds are the square root of those against the answer, where it is likelier right than wrong. Nor
    is it less than the cube of the probability that the answer is another: sure numbers alone settle nothing. The
    **doubt** is the probability with these odds. A probe ends where there is no hope any more that the thought may end
    here; what it found by then counts.

    What further thought may bring is at most the doubt, and is estimated from how the doubt has fallen so far: per unit
    growth of the thought (by the factor e) it has lost ``r = (2 + ln(first doubt / doubt now)) / (2 + ln(tokens now /
    tokens at the first look))`` of its logarithm, where both 2 stand for a prior by which doubt is in inverse
    proportion to thought. So thinking on by that factor promises ``r * doubt``, and costs the price of as many tokens
    as have been thought, or of 10,000 if these are fewer. It stops where the promise is below the cost: when the answer
    is sure, and also when long thinking has not made it any surer.
    """

    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True, probabilities=True, chances=True)

    price: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.0065
    """Accuracy (1 is one right answer) that a thousand thinking tokens must be expected to bring."""
    numbers: bool = True
    """Mind how sure the model was of the numbers that it wrote. Without, doubt is about the answer alone."""

    def start(self, request: Request, text: Text) -> Read:
        """Nothing known yet."""
        return Read(next=self.tokens or None, text=text)

    def look(self, asked: Asked, view: View, belief: Belief) -> Seen:
        """The answer, and the numbers up to here."""
        assert isinstance(asked, Read)
        asked.numbers, asked.read = self._numbers(asked, view), len(view.chances)
        return Seen(view.thinking, belief, asked.numbers)

    def settled(self, asked: Asked) -> str | None:
        """Weigh promise against cost at the last look."""
        answer = asked.looks[-1].belief.answer
        left, gain, price = self.weighed(asked)
        if gain >= price:
            return None
        return f"answer {answer!r} is in doubt by {left:.3f}; thinking on promises {gain:.3f} for {price:.3f}"

    def weighed(self, asked: Asked) -> tuple[float, float, float]:
        """At the last look: the doubt that is left, what thinking on promises, and what it must promise."""
        look = asked.looks[-1]
        left = _left(look) if look.belief.complete else 1.0
        return left, _promised(asked, left, look.thinking), self.cost(look.thinking)

    def hopeless(self, asked: Asked, view: View) -> Hopeless:
        """Whether an answer that begins with tokens so probable leaves too much doubt to stop, whatever follows."""
        assert isinstance(asked, Read)
        numbers, price = self._numbers(asked, view), self.cost(view.thinking)
        return lambda probs: _promised(asked, doubt(probs, numbers), view.thinking) >= price

    def _numbers(self, asked: Read, view: View) -> Numbers:
        """All numbers in the thought. Those only drafted pass for certain: then a probe is never given up too early."""
        if not self.numbers or asked.text is None:
            return NONE
        count, sure = asked.numbers.count, asked.numbers.sure
        known = chain(view.chances[asked.read :], repeat(1.0))
        for token, chance in zip(view.written[asked.read :], known, strict=False):
            if _NUMBER.search(asked.text.piece(token)):
                count, sure = count + 1, sure * chance
        return Numbers(count, sure)

    def cost(self, thinking: int) -> float:
        """Accuracy that so many more thinking tokens must be expected to bring."""
        return cost(self.price, thinking)


def doubt(answer: Sequence[float], numbers: Numbers = NONE) -> float:
    """How likely an answer is to be wrong whose tokens have these probabilities, after these numbers.

    It falls, if anything, with every probability.
    """
    wrong = max(1 - math.prod(answer), _SUREST)
    if wrong >= 1:
        return 1.0
    odds = wrong / (1 - wrong)
    unwritten = min(0.5**numbers.count, math.sqrt(odds))
    odds = math.cbrt(odds * max(1 - numbers.sure, unwritten, wrong**3, _FEWEST_SLIPS))
    return odds / (1 + odds)


def promise(first: float, left: float, growth: float) -> float:
    """Doubt that thinking e times as long is expected to remove; it grows with the doubt that is ``left``.

    Doubt was ``first`` when the thought had 1 / ``growth`` of its present length.
    """
    fallen = max(math.log(first / left), 0.0)
    return (_PRIOR + fallen) / (_PRIOR + math.log(growth)) * left


def _promised(asked: Asked, left: float, thinking: int) -> float:
    """What thinking on promises where so much doubt is left."""
    if not asked.looks:
        return left
    first = asked.looks[0]
    return promise(_left(first), left, max(thinking, 1) / max(first.thinking, 1))


def _left(look: Look) -> float:
    assert isinstance(look, Seen)
    return doubt(look.belief.probs, look.numbers)
