"""Nested families: one knob of a method, its values from the safest to the boldest.

The order is settled before anything is measured. That bolder values end thoughts sooner, and harm more, is what makes
the tests of a sequence powerful; they are right without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.errors import InvalidKnob, UnknownKnob, UnknownMethod, did_you_mean
from laconic.policy import ordered, registry, split


@dataclass(frozen=True, slots=True)
class Family:
    """The knob that decides how bold a method is; its greater values are the bolder ones, or the ``smaller``.

    ``grid`` are the values that are tried where none are named; without any they are lengths, made by :func:`lengths`.
    """

    knob: str
    smaller: bool = False
    grid: tuple[float, ...] = ()


FAMILIES = {
    "settled": Family("price", False, (0.001, 0.002, 0.003, 0.004, 0.005, 0.0065, 0.008, 0.01, 0.013, 0.02)),
    "budget": Family("tokens", True),
    "soft-landing": Family("tokens", True),
    "answer-confidence": Family("threshold", True, (0.9999, 0.9995, 0.999, 0.998, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8)),
    "answer-agreement": Family("agree", True, (10, 8, 6, 5, 4, 3, 2)),
    "answer-entropy": Family("threshold", False, (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)),
    "closing-rank": Family("rank", False, (4, 8, 16, 20, 25, 30, 40, 60)),
    "confidence-probe": Family("threshold", True, (0.9, 0.5, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)),
    "entropy-slope": Family("low", False, (0.001, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)),
    "spec-exit": Family("confidence", True, (0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6)),
    "trimr": Family("agree", True, (6, 5, 4, 3, 2)),
}
_SHORTEST = 32
"""Tokens of the smallest budget in a grid that nobody named."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a family's knob, and the spec of the method with it."""

    label: str
    spec: str


def lengths(most: int) -> tuple[int, ...]:
    """Budgets for texts of ``most`` tokens: half of them, and on by the square root of two down to 32."""
    found = [round(most / 2 ** (1 + i / 2)) for i in range(64)]
    return tuple(tokens for tokens in found if tokens >= _SHORTEST)


def sequence(spec: str, most: int) -> list[Setting]:
    """The settings of a family, the safest first: ``settled``, ``settled:price=0.002/0.004,numbers=false``,
    ``budget:512/256``. ``most`` is the limit of new tokens.

    Raises UnknownMethod, UnknownKnob and InvalidKnob for what is no family, with what it might have meant.
    """
    name, _, rest = spec.strip().partition(":")
    if name not in FAMILIES:
        registry.get("think", name)  # a misspelt method is told what is near it
        raise UnknownMethod(f"'{name}' is no nested family.", did_you_mean(name, FAMILIES))
    family = FAMILIES[name]
    known = [knob.name for knob in ordered(registry.get("think", name))]
    values: list[str] = []
    others: list[str] = []
    for index, part in enumerate(split(rest)):
        knob, equals, value = part.partition("=")
        if not equals:
            if index >= len(known):
                raise UnknownKnob(f"'{name}' takes no value '{part}'.", did_you_mean(part, known))
            knob, value = known[index], part
        if knob.strip() == family.knob:
            values = value.split("/")
        else:
            others.append(f"{knob}={value}")
    grid = _sorted(name, family, values) if values else [f"{value:g}" for value in family.grid or lengths(most)]
    if not grid:
        raise InvalidKnob(f"'{name}': no setting fits a limit of {most} tokens.", "Name values, or raise --max-tokens.")
    labels = [f"{family.knob}={value}" for value in grid]
    return [Setting(label, registry.build("think", f"{name}:{','.join((label, *others))}").spec()) for label in labels]


def _sorted(name: str, family: Family, values: list[str]) -> list[str]:
    """Values as they were named, each once, the safest first."""
    found: dict[float, str] = {}
    for value in values:
        try:
            found.setdefault(float(value), value.strip())
        except ValueError:
            hint = f"Part them with '/': {name}:{family.knob}=1/2."
            raise InvalidKnob(f"'{name}', knob '{family.knob}': '{value}' is no number.", hint) from None
    return [found[value] for value in sorted(found, reverse=family.smaller)]
