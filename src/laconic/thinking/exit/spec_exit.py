"""Stop thinking once trained heads on the hidden state say that the answer is settled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Belief
from laconic.thinking.exit.probed import Asked, QuietExit
from laconic.thinking.exit.signals import Signals, Trained, load
from laconic.types import Request


@dataclass(slots=True)
class _Read(Asked):
    smooth: Signals | None = None
    """The signals as smoothed over all looks so far."""


@knobs
class SpecExit(QuietExit):
    """At the end of a step, let trained heads read the model's state; stop when all three say that it is time.

    SpecExit: heads predict the model's confidence in its answer, the share of the thought that is done, and the tokens
    that are left. Each is smoothed exponentially over the looks, and the thought ends at a step where confidence is
    above 0.8, progress above 0.3 and fewer than 200 tokens are left, the published thresholds. The published heads sit
    on the drafting head's state (EAGLE, MTP), known at every token, and smooth with a weight of 0.1; here they read the
    target's own last state, at ends of steps (or every ``tokens``), so that any drafter will do. Ends of steps are
    few, hence a larger ``alpha``. Nothing is asked of the model but to score its last token once more.
    ``laconic fit spec-exit`` trains the heads.
    """

    card = Card(
        paper="SpecExit: Accelerating Large Reasoning Model via Speculative Exit", catalogue=(53,), lossless=False
    )
    needs = Needs(thinking=True, probabilities=True, target_hidden=True)
    hints = {"head": "Train one: laconic fit spec-exit OUT; then spec-exit:head=OUT."}  # noqa: RUF012

    files = frozenset({"head"})

    head: str
    """Folder that ``laconic fit spec-exit`` wrote."""
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Stop when the smoothed chance of the answer being settled is above this,"""
    progress: Annotated[float, Field(ge=0, le=1)] = 0.3
    """and more than this share of the thought is done,"""
    remaining: Annotated[float, Field(gt=0)] = 200.0
    """and fewer tokens than this are left of it."""
    alpha: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Weight of the newest look in the smoothed signals; 1 does not smooth."""

    @cached_property
    def _trained(self) -> Trained:
        return load(self.head)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the head was trained on this target."""
        self._trained.suits(target)

    def start(self, request: Request, text: Text) -> _Read:
        """Nothing seen yet."""
        return _Read(next=self.tokens or None)

    def settled(self, asked: Asked) -> str | None:
        """Smooth the newest signals in, and compare with the thresholds."""
        assert isinstance(asked, _Read)
        now = asked.smooth = self._smoothed(asked.smooth, asked.looks[-1].belief)
        if now.confidence <= self.confidence or now.progress <= self.progress or now.remaining >= self.remaining:
            return None
        return f"confidence {now.confidence:.2f}, progress {now.progress:.2f}, about {now.remaining:.0f} tokens left"

    def _smoothed(self, before: Signals | None, belief: Belief) -> Signals:
        assert belief.hidden is not None, "the engine keeps hidden states for those that need them"
        found = self._trained(belief.hidden)
        if before is None:
            return found
        return Signals(*(old + self.alpha * (new - old) for old, new in zip(before, found, strict=True)))
