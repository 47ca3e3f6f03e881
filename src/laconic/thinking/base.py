"""Contract of thinking control: a controller looks at the thought at step boundaries and says what to do.

The loop asks every controller, in the order given, at each *check point*: the end of a step, or the moment a
controller's own ``limit`` is reached. The first action other than Continue wins. A Probe is answered by the model
(as a branch of a later verification pass, or in a pass of its own), after which ``decide`` is called again for the
same check point with ``view.belief`` set. What was written meanwhile is taken back if the decision is to conclude,
so that the outcome depends on the thought up to the check point and on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.policy import Policy
from laconic.types import Request


@dataclass(frozen=True, slots=True)
class Continue:
    """Think on."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Close the thought: ``text``, then the model's closing tag. The model writes the answer.

    ``expected`` is what the controller thinks the model will write first; a draft, never forced.
    """

    reason: str
    text: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Inject:
    """Write ``text`` into the thought and think on."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask what the model would answer if the thought ended here.

    The loop closes the thought with the model's own tag and adds ``text``, which opens the answer. The model's greedy
    continuation is followed until it writes ``stop`` (a closing brace counts once braces are balanced) or
    ``max_tokens`` tokens. ``guess`` is the expected answer: it changes the cost, never the belief. ``hopeless`` says of
    the probabilities of the answer's first tokens whether any more of it could matter; where not, the probe ends there,
    and its belief is not ``complete``.
    """

    text: str
    stop: str
    guess: str = ""
    max_tokens: int = 24
    hopeless: Callable[[Sequence[float]], bool] | None = None


Action = Continue | Conclude | Inject | Probe


@dataclass(frozen=True, slots=True)
class Belief:
    """What a probe found: the greedy answer and the probability of each of its tokens.

    ``complete`` is False when ``max_tokens``, or no hope, came before the stop string. ``passes`` are those it rode on.
    """

    answer: str
    probs: tuple[float, ...]
    entropies: tuple[float, ...]
    complete: bool
    passes: int

    def confidence(self) -> float:
        """Geometric mean of the token probabilities, as in DEER; 0 for an empty answer."""
        if not self.probs:
            return 0.0
        return math.exp(sum(math.log(max(p, 1e-30)) for p in self.probs) / len(self.probs))


@dataclass(frozen=True, slots=True)
class View:
    """A request's thought at a check point.

    ``thinking`` counts thinking tokens so far (model-written), ``steps`` holds the text of finished steps,
    ``boundary`` says whether this point ends a step, ``belief`` is the answer to the Probe asked at this very point.
    """

    thinking: int
    steps: Sequence[str]
    boundary: bool
    belief: Belief | None = None


class Controller(Policy):
    """Decides, at check points of the thought, whether and how it goes on."""

    def start(self, request: Request) -> Any:
        """State of one request. Raises RequestError if the request leaves no room for this controller."""
        raise NotImplementedError

    def limit(self, state: Any) -> int | None:
        """Thinking tokens after which ``decide`` must be called even inside a step; None for never."""
        return None

    def decide(self, state: Any, view: View) -> Action:
        """What to do at this check point."""
        raise NotImplementedError
