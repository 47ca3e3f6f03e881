"""``laconic fit arbitrage``: steps that two models write in the same places, and a router that tells which to take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from laconic.bench.fit.learn import auc
from laconic.bench.tasks import Item
from laconic.collaboration import Pair
from laconic.collaboration.arbitrage import FEATURES, Router, features
from laconic.collaboration.base import Collaboration, Looks, Piece, Thought, Turn, Verdict
from laconic.errors import TaskError
from laconic.judges.base import Judge
from laconic.policy import Card, Needs
from laconic.types import Limits, Sampling

_FEWEST = 20
"""Pairs of steps without which nothing can be learned."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A step of both models in one place."""

    problem: int
    features: tuple[float, ...]
    better: bool
    """Whether the judge gives the large model's more."""


@dataclass(frozen=True)
class _Watching(Collaboration):
    """Has both write every step, goes on with either by the throw of a coin, and remembers."""

    judge: Judge
    margin: float
    seen: list[_Seen] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    """Numbers of the problems so far."""
    name = "arbitrage"
    card = Card(paper="laconic's own", lossless=False)
    needs = Needs(thinking=True)

    def turn(self, state: Any, thought: Thought) -> Turn:
        """Both, a step."""
        return Turn("small", ahead=1)

    def stands(self, state: Any, thought: Thought, piece: Piece, looks: Looks) -> Verdict:
        """Judge both."""
        told = features(looks.chances(), len(thought.pieces))
        gain = looks.judged(self.judge, instead=True) - looks.judged(self.judge)
        self.seen.append(_Seen(self.turns[-1], tuple(told), gain > self.margin))
        coin = np.random.default_rng([self.turns[-1], len(thought.written)])
        return Verdict(bool(coin.random() < 0.5))


def fit(
    pair: Pair,
    items: Sequence[Item],
    judge: Judge,
    sampling: Sampling,
    limits: Limits,
    *,
    margin: float = 0.0,
    held_out: float = 0.2,
    after: Callable[[str], Any] = lambda said: None,
    about: dict[str, Any] | None = None,
) -> Router:
    """Have both models write the steps of ``items``, and train the router; the last ``held_out`` of them are its test.

    ``margin`` is by how much more the judge must give. Raises TaskError where too few steps differ.
    """
    begun = time.perf_counter()
    watching = _Watching(judge, margin)
    for number, item in enumerate(items):
        watching.turns.append(number)
        pair.answer(item.question, watching, sampling=sampling, limits=limits)
        after(f"{number + 1} of {len(items)} problems, {len(watching.seen)} steps")
    cut = len(items) * (1 - held_out)
    training = [seen for seen in watching.seen if seen.problem < cut]
    test = [seen for seen in watching.seen if seen.problem >= cut]
    if len(training) < _FEWEST or len({seen.better for seen in training}) < 2:
        raise TaskError(
            f"of {len(training)} steps the large model's was better {sum(s.better for s in training)} times: nothing "
            "can be learned from that.",
            "Raise --n, or name a judge that tells steps apart (--judge).",
        )
    weights, bias = learn(training)
    told = {
        **(about or {}),
        "problems": len(items),
        "steps": len(training),
        "better": sum(seen.better for seen in training) / len(training),
        "seconds": time.perf_counter() - begun,
    }
    made = Router(weights, bias, _known(pair.large), _known(pair.small), {}, told)
    said = torch.tensor([made(seen.features) for seen in test])
    labels = torch.tensor([float(seen.better) for seen in test])
    alone = torch.tensor([-seen.features[0] for seen in test])
    measures = {"steps": float(len(test))}
    if len(set(labels.tolist())) == 2:
        measures |= {"auc": auc(said, labels), "auc_by_mean": auc(alone, labels)}
    return Router(weights, bias, made.large, made.small, measures, told)


def learn(seen: Sequence[_Seen]) -> tuple[tuple[float, ...], float]:
    """Weights and bias of a logistic regression over the features as they are; a little decay keeps it finite."""
    x = torch.tensor([each.features for each in seen], dtype=torch.float64)
    y = torch.tensor([float(each.better) for each in seen], dtype=torch.float64)
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-9)
    scaled = (x - mean) / deviation
    w = torch.zeros(len(FEATURES) + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        out = F.binary_cross_entropy_with_logits(scaled @ w[:-1] + w[-1], y) + 1e-3 * w[:-1].square().sum()
        out.backward()  # type: ignore[no-untyped-call]
        return out

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    found = w.detach()
    weights = found[:-1] / deviation
    return tuple(float(each) for each in weights), float(found[-1] - (weights * mean).sum())


def _known(engine: Any) -> str:
    """A model's fingerprint; empty for one behind a server."""
    known = getattr(engine.target, "fingerprint", None)
    return known() if known is not None else ""
