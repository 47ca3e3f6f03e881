"""What is searched: combinations of registered methods that fit together, found by their needs and not by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.engine import Engine, Methods
from laconic.errors import UnmetNeed
from laconic.policy import registry
from laconic.speculation.base import Drafter

CONSTANTS = (2, 4, 8, 16)
"""Fixed draft lengths tried for every drafter."""
TREE_NODES = 16
"""Size of the trees tried where a drafter can grow them."""
PRICES = (0.001, 0.002, 0.004, 0.0065, 0.01, 0.015)
"""Of a thousand thinking tokens, for ``settled``."""
EXITS = (
    *("answer-confidence:0.8", "answer-confidence:0.95", "answer-confidence:0.99"),
    *("answer-confidence:0.95,product", "answer-confidence:0.99,product", "answer-agreement:3", "trimr:2"),
)
"""Exits tried beside it, by their papers' settings and stricter ones."""
BUDGETS = (0.5, 0.75, 0.9)
"""Quantiles of the lengths of free thoughts."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration and its name in tables."""

    name: str
    methods: Methods


def speculation(
    engine: Engine, drafters: Sequence[str] | None = None, lengths: Sequence[str] | None = None
) -> list[Candidate]:
    """Every lossless way to draft that this engine can run, plain decoding first; no thinking control.

    ``drafters`` and ``lengths`` are spec strings in place of everything registered.
    """
    plain = Methods(drafter="none", length="constant", shape="chain", verifier="match")
    found = [Candidate("plain", plain)]
    ready = [name for name in registry.names("drafter") if not registry.get("drafter", name).required()]
    for drafter in drafters or ready:
        # A drafter that decides lengths and shapes itself is tried once.
        ways = _ways(lengths) if not _decides(drafter) else [("constant", "chain")]
        for length, shape in ways:
            methods = replace(plain, drafter=drafter, length=length, shape=shape, verifier="match")
            if drafter == "none" or not _runs(engine, methods):
                continue
            way = "" if _decides(drafter) else f", {length}" + (f", {shape}" if shape != "chain" else "")
            found.append(Candidate(drafter + way, methods))
    return found


def _decides(drafter: str) -> bool:
    return bool(cast(Drafter, registry.build("drafter", drafter)).choices)


def _ways(lengths: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """Lengths with the chain, and one size with each other shape."""
    # What must be given a knob, e.g. a trained head, is tried only where somebody names it.
    others = [n for n in registry.names("length") if n != "constant" and not registry.get("length", n).required()]
    for length in lengths or [*(f"constant:{tokens}" for tokens in CONSTANTS), *others]:
        yield length, "chain"
    for shape in registry.names("shape"):
        if shape != "chain" and lengths is None:
            yield f"constant:{TREE_NODES}", shape


def _runs(engine: Engine, methods: Methods) -> bool:
    """Whether the engine can run it, and it changes no output."""
    try:
        return Engine(engine.target, engine.text, methods, engine.draft_model).lossless
    except UnmetNeed:
        return False


def thinking(base: Methods, lengths: Sequence[int]) -> list[Candidate]:
    """Ways to think less on top of ``base``; thinking freely comes first. ``lengths``: thinking tokens when free."""
    ordered = sorted(lengths)
    budgets = [max(1, ordered[int(share * (len(ordered) - 1))]) for share in BUDGETS if ordered]
    specs = [*(f"settled:{price}" for price in PRICES), *EXITS, *(f"budget:{budget}" for budget in budgets)]
    return [
        Candidate("free thinking", replace(base, think=())),
        *(Candidate(spec, replace(base, think=(spec,))) for spec in dict.fromkeys(specs)),
    ]
