"""Two controllers that raise errors, and the plug-in that makes them known in every process of vLLM."""

from __future__ import annotations

from typing import Any, ClassVar

from laconic.policy import Card, knobs, registry
from laconic.thinking.base import Action, Continue, Controller, Probe, View


@knobs
class Faulty(Controller):
    """Raises an error after so many thinking tokens."""

    card = Card(paper="none", lossless=False)
    tokens: int = 20
    """Thinking tokens after which it raises."""

    def start(self, request: Any, text: Any) -> None:
        """Nothing to remember."""

    def limit(self, state: None) -> int:
        """Where it raises."""
        return self.tokens

    def decide(self, state: None, view: View) -> Action:
        """Raise."""
        if view.thinking >= self.tokens:
            raise RuntimeError("this controller is broken on purpose")
        return Continue()


@knobs
class FaultyProbe(Faulty):
    """The same of a controller that asks the model first."""

    card = Card(paper="none", lossless=False)

    asks: ClassVar[bool] = True

    def decide(self, state: None, view: View) -> Action:
        """Ask, then raise."""
        if view.belief is None and view.thinking >= self.tokens:
            return Probe("The answer is \\boxed{", "}")
        return super().decide(state, view)


def register() -> None:
    """Called by vLLM in each of its processes."""
    registry.register("think", "faulty", "faulty:Faulty")
    registry.register("think", "faulty-probe", "faulty:FaultyProbe")
