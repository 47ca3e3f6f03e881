"""The search: the fastest lossless configuration, then the least thought that keeps the answers right."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from laconic.bench.measure import EngineVariant
from laconic.bench.stats import rotation
from laconic.bench.tasks import Item
from laconic.bench.tune import TOLERANCE
from laconic.bench.tune.halving import Ledger, halve
from laconic.bench.tune.space import Candidate, speculation, thinking
from laconic.engine import Engine, Methods
from laconic.errors import TaskError
from laconic.intervals import wilson
from laconic.types import Limits, Request, Sampling

SURE = 0.02
"""A candidate is dropped once its losses would be this unlikely if it lost no more than it wins."""
ENOUGH = 20
"""Problems that plain decoding must get right before its answers say anything about how much thought is needed."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a candidate did with one problem."""

    seconds: float
    thinking: int
    passes: int
    right: bool | None
    tokens: tuple[int, ...] = field(repr=False)


Told = Callable[[str, int, int], Any]
"""Told after each problem: the stage, problems answered in it, candidates left."""


class Tuner:
    """Searches configurations for one engine's models on given problems."""

    def __init__(
        self,
        engine: Engine,
        items: Sequence[Item],
        *,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
        tolerance: float = TOLERANCE,
        told: Told = lambda stage, done, left: None,
    ) -> None:
        if not items:
            raise TaskError("there are no problems to tune on.")
        self.engine, self.items, self.tolerance, self.told = engine, items, tolerance, told
        self.sampling, self.limits = sampling or Sampling(), limits or Limits()
        self.failures: dict[str, str] = {}
        self._variants: dict[str, EngineVariant] = {}

    def run(self, drafters: Sequence[str] | None = None, lengths: Sequence[str] | None = None) -> dict[str, Any]:
        """Both stages; the record says what was chosen, why, and what it cost to find out."""
        candidates = speculation(self.engine, drafters, lengths)
        ledger = self._halve(candidates)
        fastest = _fastest(ledger, len(self.items))
        base = next(c.methods for c in candidates if c.name == fastest)
        free = ledger.scores["plain"]
        second, reason = None, self._why_not(free)
        chosen = base
        if not reason:
            ways = thinking(base, [score.thinking for score in free])
            race, left = self._race(ways)
            best = self._best(race, left)
            chosen = next(c.methods for c in ways if c.name == best)
            second = self._thinking_record(ways, race, left, best)
        return {
            "format": "laconic-tune-1",
            "n": len(self.items),
            "speculation": _speculation_record(candidates, ledger, fastest),
            "thinking": second,
            "thinking_not_tuned": reason,
            "chosen": asdict(chosen),
            "failures": self.failures,
        }

    def ask(self, candidates: Sequence[Candidate], stage: str, at: int) -> dict[str, Score]:
        """Have candidates answer problem ``at``, back to back, in an order that rotates."""
        item = self.items[at]
        request = self.engine.request(item.question, sampling=self.sampling, limits=self.limits)
        found = {c.name: self._score(c, item, request) for c in rotation(candidates, at) if c.name not in self.failures}
        self.told(stage, at + 1, len(found))
        return found

    def _score(self, candidate: Candidate, item: Item, request: Request) -> Score:
        try:
            variant = self._variant(candidate, request)
            begun = time.perf_counter()
            result = variant.run([request], 1).results[0]
        except Exception as error:  # whatever a method may raise: it is out of the race, and said to be
            self.failures[candidate.name] = f"{type(error).__name__}: {error}"
            return Score(math.inf, 0, 0, None, ())
        seconds = time.perf_counter() - begun
        usage = result.usage
        return Score(seconds, usage.thinking, usage.target_passes, item.judge(result.answer), result.tokens)

    def _variant(self, candidate: Candidate, request: Request) -> EngineVariant:
        """The candidate's engine, warm: the first passes of a shape are slow."""
        if candidate.name not in self._variants:
            engine = Engine(self.engine.target, self.engine.text, candidate.methods, self.engine.draft_model)
            self._variants[candidate.name] = EngineVariant(candidate.name, engine)
            self._variants[candidate.name].run([request], 1)
        return self._variants[candidate.name]

    def _halve(self, candidates: Sequence[Candidate]) -> Ledger[Score]:
        by_name = {candidate.name: candidate for candidate in candidates}
        return halve(
            list(by_name),
            len(self.items),
            lambda names, at: self.ask([by_name[name] for name in names], "speculation", at),
            lambda scores: sorted(scores, key=lambda name: sum(score.seconds for score in scores[name])),
            keep=("plain",),
        )

    def _why_not(self, free: Sequence[Score]) -> str:
        """Why thinking cannot be tuned on these problems; empty if it can."""
        if not self.engine.text.format.thinks:
            return "the model has no thinking phase"
        if all(score.right is None for score in free):
            return "no problem has an answer to judge by"
        right = sum(score.right is True for score in free)
        needed = min(ENOUGH, len(free))
        if right < needed / 2 or right < 5:
            return f"plain decoding gets {right} of {len(free)} problems right, too few to see what thought is worth"
        if not any(score.thinking for score in free):
            return "the model did not think"
        return ""

    def _race(self, candidates: Sequence[Candidate]) -> tuple[Ledger[Score], list[str]]:
        """All problems, less those of candidates that have clearly lost right answers by then."""
        ledger: Ledger[Score] = Ledger({candidate.name: [] for candidate in candidates})
        left = list(candidates)
        for at in range(len(self.items)):
            for name, score in self.ask(left, "thinking", at).items():
                ledger.scores[name].append(score)
            free = ledger.scores[candidates[0].name]
            left = [c for c in left if c is candidates[0] or not _clearly_loses(ledger.scores[c.name], free)]
        ledger.rounds.append((len(self.items), tuple(c.name for c in left)))
        return ledger, [c.name for c in left if c.name not in self.failures]

    def _best(self, ledger: Ledger[Score], left: Sequence[str]) -> str:
        """The quickest of those that lose no more than the tolerance."""
        free = ledger.scores[next(iter(ledger.scores))]
        kept = [name for name in left if -_change(ledger.scores[name], free) <= self.tolerance * len(free)]
        return min(kept, key=lambda name: sum(score.seconds for score in ledger.scores[name]))

    def _thinking_record(
        self, candidates: Sequence[Candidate], ledger: Ledger[Score], left: Sequence[str], best: str
    ) -> dict[str, Any]:
        free = ledger.scores[candidates[0].name]
        rows = [
            _row(c.name, ledger.scores[c.name], free) | {"think": list(c.methods.think), "finished": c.name in left}
            for c in candidates
        ]
        for row in rows:
            row["front"] = row["finished"] and not any(_dominates(other, row) for other in rows if other["finished"])
        return {
            "best": best,
            "tolerance": self.tolerance,
            "candidates": rows,
            "cost": {"runs": ledger.runs, "exhaustive": len(candidates) * len(self.items)},
        }


def _fastest(ledger: Ledger[Score], problems: int) -> str:
    done = [name for name, scores in ledger.scores.items() if len(scores) == problems]
    return min(done, key=lambda name: sum(score.seconds for score in ledger.scores[name]))


def _speculation_record(candidates: Sequence[Candidate], ledger: Ledger[Score], fastest: str) -> dict[str, Any]:
    plain = ledger.scores["plain"]
    return {
        "best": fastest,
        "candidates": [
            _row(c.name, ledger.scores[c.name], plain)
            | {"drafter": c.methods.drafter, "length": c.methods.length, "shape": c.methods.shape}
            for c in candidates
        ],
        "rounds": [{"problems": size, "left": list(names)} for size, names in ledger.rounds],
        "cost": {"runs": ledger.runs, "exhaustive": len(candidates) * len(plain)},
    }


def _row(name: str, scores: Sequence[Score], reference: Sequence[Score]) -> dict[str, Any]:
    """A candidate on the problems that it answered, beside the reference on the same."""
    same = reference[: len(scores)]
    judged = [score.right for score in scores if score.right is not None]
    seconds = sum(score.seconds for score in same)
    return {
        "name": name,
        "n": len(scores),
        "time": sum(score.seconds for score in scores) / seconds if seconds else None,
        "thinking_tokens": sum(score.thinking for score in scores) / max(1, len(scores)),
        "target_passes": sum(score.passes for score in scores) / max(1, len(scores)),
        "accuracy": sum(judged) / len(judged) if judged else None,
        "accuracy_ci": wilson(sum(judged), len(judged)) if judged else None,
        "lost": sum(a.right is False and b.right is True for a, b in zip(scores, same, strict=True)),
        "won": sum(a.right is True and b.right is False for a, b in zip(scores, same, strict=True)),
        "identical": sum(a.tokens == b.tokens for a, b in zip(scores, same, strict=True)),
    }


def _change(scores: Sequence[Score], free: Sequence[Score]) -> int:
    """Right answers won less those lost."""
    row = _row("", scores, free)
    return int(row["won"] - row["lost"])


def _clearly_loses(scores: Sequence[Score], free: Sequence[Score]) -> bool:
    """A one-sided sign test on the problems where only one of the two was right."""
    row = _row("", scores, free)
    lost, won = row["lost"], row["won"]
    n = lost + won
    tail = sum(math.comb(n, k) for k in range(lost, n + 1)) / 2**n if n else 1.0
    return lost > won and tail < SURE


def _dominates(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether ``one`` is at least as right and at least as short, and better in one of them."""
    a, b = (one["accuracy"], -one["thinking_tokens"]), (other["accuracy"], -other["thinking_tokens"])
    return a != b and a[0] >= b[0] and a[1] >= b[1]


def as_methods(chosen: dict[str, Any]) -> Methods:
    """Methods from a record's ``chosen``."""
    return Methods(**{**chosen, "think": tuple(chosen["think"])})
