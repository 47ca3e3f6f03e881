"""Arbitrage: a trained router says whether the large model would write a better step than the small one has."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, TypeAdapter, ValidationError

from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.errors import HeadError
from laconic.policy import Card, Needs, knobs

FEATURES = ("mean", "least", "unlikely", "tokens", "step")
"""What the router goes by, of the large model's probabilities of a drafted step's tokens: their mean logarithm, that
of the least, the share below one half; and the logarithms of how many tokens and which step."""


@dataclass(frozen=True)
class Router:
    """A logistic regression over :data:`FEATURES`, and what it was trained on."""

    weights: tuple[float, ...]
    bias: float
    large: str
    """Fingerprint of the large model."""
    small: str
    measures: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def __call__(self, features: Sequence[float]) -> float:
        """The chance that the large model's step would be better."""
        logit = self.bias + sum(w * x for w, x in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-max(min(logit, 500.0), -500.0)))

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps({"features": FEATURES, **asdict(self)}, indent=1) + "\n", encoding="utf-8")


def load(path: str) -> Router:
    """A router that was written. Raises HeadError for a file that is none."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if (
            not isinstance(found, dict)
            or tuple(found.pop("features", ())) != FEATURES
            or len(found["weights"]) != len(FEATURES)
        ):
            raise HeadError(f"'{path}' goes by other features.", "Train it again: laconic fit arbitrage OUT.")
        return TypeAdapter(Router).validate_python(found)
    except OSError as error:
        raise HeadError(f"no router at '{path}': {error.strerror}.", "Train one: laconic fit arbitrage OUT.") from None
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise HeadError(f"'{path}' is no router: {error}.", "Train one: laconic fit arbitrage OUT.") from None


def features(chances: Sequence[float], step: int) -> list[float]:
    """What the router goes by; ``chances`` are the large model's of a step's tokens, ``step`` counts from 0."""
    logs = [math.log(max(chance, 1e-30)) for chance in chances] or [0.0]
    unlikely = sum(chance < 0.5 for chance in chances) / len(logs)
    return [sum(logs) / len(logs), min(logs), unlikely, math.log(len(logs)), math.log1p(step)]


@knobs
class Arbitrage(Collaboration):
    """The small model's step stands unless the large one can be expected to write a better one.

    Source: Arbitrage: Efficient Reasoning via Advantage-Aware Speculation (Maheswaran et al. 2025): not how good a step
    is decides, but how much better the large model's would be; where that would be as bad, nothing is won by writing
    it. The authors' router is a small model of its own, trained on pairs of steps; here it is a logistic regression on
    how likely the large model finds the drafted step, which it reads anyway. ``laconic fit arbitrage`` trains it, on
    steps that both have written in the same places, scored by a judge.
    """

    card = Card(paper="Arbitrage", lossless=False, catalogue=(45,))
    needs = Needs(thinking=True)
    hints: ClassVar[dict[str, str]] = {"router": "Train one: laconic fit arbitrage OUT; then arbitrage:OUT."}
    files = frozenset({"router"})

    router: str
    """File that ``laconic fit arbitrage`` wrote for these two models."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Chance of a better step at which the large model writes it."""

    @cached_property
    def _router(self) -> Router:
        return load(self.router)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError for a router of other models than the large and the small one."""
        pairs = ((target, self._router.large, "large"), (draft_model, self._router.small, "small"))
        for model, mine, role in pairs:
            known = getattr(model, "fingerprint", None)
            if known is not None and known() != mine:
                raise HeadError(
                    f"'{self.router}' was trained with another {role} model.", "Train it again: laconic fit arbitrage."
                )

    def turn(self, state: Any, thought: Thought) -> Turn:
        """The large model behind a refusal."""
        return Turn("large" if thought.written and thought.written[-1].refused else "small")

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """By the router."""
        score = self._router(features(looks.chances(), len(thought.pieces)))
        return Verdict(score < self.threshold, score)
