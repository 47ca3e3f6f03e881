"""The statistics of a promise: exact binomial tests, one after the other, from the safest setting to the boldest.

Learn then Test (Angelopoulos et al. 2021, arXiv 2110.01052) with fixed-sequence testing, as CALM (Schuster et al. 2022,
arXiv 2207.07061) uses it for early exits. Each setting has the null hypothesis that its harm is the limit or more. Its
p-value is the chance of no more harms than were seen if harm were just the limit. The tests go on while they reject and
stop at the first that does not. So the chance that any setting passes whose harm is not below the limit is at most
1 - confidence, however many settings there are and however they depend on each other: if one passes, the first such in
the order must have passed its own test. Any of those that pass may be taken, by whatever was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

MOST_SOUGHT = 1_000_000
"""Prompts up to which a number is looked for; beyond, a rate is too near the limit to be of any use."""
_NOTHING = 1e-17
"""A share of a sum that no longer changes it."""


def at_most(harms: int, n: int, rate: float) -> float:
    """The chance of at most ``harms`` of ``n`` independent prompts where each is harmed with probability ``rate``."""
    if harms >= n or rate <= 0:
        return 1.0
    if harms < 0 or rate >= 1:
        return 0.0
    odds = rate / (1 - rate)
    peak = min(harms, int((n + 1) * rate))  # the likeliest count, to begin where nothing underflows
    total = term = 1.0
    for k in range(peak, 0, -1):
        term *= k / ((n - k + 1) * odds)
        total += term
        if term < total * _NOTHING:
            break
    term = 1.0
    for k in range(peak + 1, harms + 1):
        term *= (n - k + 1) * odds / k
        total += term
        if term < total * _NOTHING:
            break
    log = math.lgamma(n + 1) - math.lgamma(peak + 1) - math.lgamma(n - peak + 1)
    return min(total * math.exp(log + peak * math.log(rate) + (n - peak) * math.log1p(-rate)), 1.0)


def upper(harms: int, n: int, confidence: float) -> float:
    """The one-sided upper bound of Clopper and Pearson: the rate at which so few harms have chance 1 - confidence.

    It is for one setting by itself. What several tests in a sequence promise together is the limit, not this.
    """
    if harms >= n:
        return 1.0
    low, high = harms / n, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(harms, n, middle) > 1 - confidence else (low, middle)
    return high


def passes(harms: int, n: int, limit: float, confidence: float) -> bool:
    """Whether so few harms of ``n`` reject that harm is ``limit`` or more; the same as ``upper(...) <= limit``."""
    return at_most(harms, n, limit) <= 1 - confidence


def fixed_sequence(
    settings: Iterable[T], harms: Callable[[T], int], n: int, limit: float, confidence: float
) -> list[T]:
    """The settings that pass, in their order, which must not depend on what ``harms`` counts. Those after the first
    that fails are not looked at.
    """
    passed: list[T] = []
    for setting in settings:
        if not passes(harms(setting), n, limit, confidence):
            break
        passed.append(setting)
    return passed


def allowed(n: int, limit: float, confidence: float) -> int:
    """The most harms of ``n`` prompts with which a setting passes; -1 where even none is too many."""
    harms = -1
    while harms + 1 < n and passes(harms + 1, n, limit, confidence):
        harms += 1
    return harms


def fewest(limit: float, confidence: float, harms: int = 0) -> int:
    """The fewest prompts among which so many harms pass: for none, log(1 - confidence) / log(1 - limit), rounded up."""
    low, high = harms, harms + 1
    while not passes(harms, high, limit, confidence):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(harms, middle, limit, confidence) else (middle, high)
    return high


def fewest_at(rate: float, limit: float, confidence: float) -> int | None:
    """The fewest prompts that pass if the share ``rate`` of them is harmed, which it is about every other time.

    None where the rate is the limit or more, and where it takes more than ``MOST_SOUGHT``.
    """
    if rate >= limit:
        return None
    # Harms that pass are a share of their prompts which rises towards the limit with their number.
    low, high = -1, 0
    while fewest(limit, confidence, high) * rate > high:
        if fewest(limit, confidence, high) > MOST_SOUGHT:
            return None
        low, high = high, 2 * high + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fewest(limit, confidence, middle) * rate <= middle else (middle, high)
    found = fewest(limit, confidence, high)
    return found if found <= MOST_SOUGHT else None
