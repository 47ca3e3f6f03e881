"""A sequential G test: are these draws from that law? Looks at growing sample sizes, one false-alarm rate for all.

Every look tests each source on its own (a fault may show in one context alone) and all sources of a group together
(a fault that shows a little everywhere adds up). The false-alarm rate is split evenly over all the tests that could
be made, looks included (Bonferroni), so stopping at the first alarm, or never, keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from laconic.bench.certify import chisquare

LEAST_EXPECTED = 10.0
"""Cells that expect fewer draws are pooled: twice the usual five, because the tail is used as far out as 1e-5."""

Law = Mapping[Any, float]


@dataclass(frozen=True, slots=True)
class Table:
    """How often each cell came up, beside its probability."""

    law: Law
    counts: Mapping[Any, int]

    @property
    def total(self) -> int:
        """Draws."""
        return sum(self.counts.values())


class Source(Protocol):
    """Somewhere to draw from, and what should come."""

    @property
    def tables(self) -> Sequence[Table]:
        """Independent tables of all draws so far."""
        ...

    def draw_until(self, total: int) -> None:
        """Draw until ``total`` draws have been made altogether."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One G test. ``source`` is its index in the group, None for all of them together."""

    group: int
    source: int | None
    samples: int
    g: float
    freedom: int
    p: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """All tests of the last look made, the least p of any look, and the first test that fell below ``alpha``."""

    alpha: float
    looks: int
    tests: tuple[Finding, ...]
    least_p: float
    alarm: Finding | None

    def pooled(self, group: int) -> Finding:
        """The group's test over all its sources, or over its only one."""
        mine = [test for test in self.tests if test.group == group]
        return next((test for test in mine if test.source is None), mine[0])


def g_statistic(table: Table) -> tuple[float, int]:
    """G = 2 sum n ln(n / (N p)) with Williams' correction, and its degrees of freedom; (0, 0) if nothing can be told.

    Infinite where something came up that has no probability. Which cells are pooled depends on N and p alone,
    never on the counts. Source: Sokal and Rohlf, Biometry, chapter 17; Williams (1976) divides G by
    q = 1 + (sum 1/p - 1) / (6 N freedom), which takes the first-order bias of few draws out of it.
    """
    total = table.total
    if any(count and table.law.get(cell, 0.0) <= 0 for cell, count in table.counts.items()):
        return math.inf, 1
    cells = sorted((share, table.counts.get(cell, 0)) for cell, share in table.law.items() if share > 0)
    pooled_share, pooled_count = 0.0, 0
    while cells and (cells[0][0] * total < LEAST_EXPECTED or 0 < pooled_share * total < LEAST_EXPECTED):
        share, count = cells.pop(0)
        pooled_share, pooled_count = pooled_share + share, pooled_count + count
    if pooled_share > 0:
        cells.append((pooled_share, pooled_count))
    freedom = len(cells) - 1
    if freedom < 1:
        return 0.0, 0
    whole = sum(share for share, _ in cells)
    g = 2 * sum(count * math.log(count * whole / (total * share)) for share, count in cells if count)
    return max(g, 0.0) / (1 + (sum(whole / share for share, _ in cells) - 1) / (6 * total * freedom)), freedom


def finding(group: int, source: int | None, tables: Sequence[Table]) -> Finding:
    """The test over independent tables: their statistics and degrees of freedom add up."""
    parts = [g_statistic(table) for table in tables if table.total]
    g, freedom = sum(g for g, _ in parts), sum(freedom for _, freedom in parts)
    p = chisquare.tail(g, freedom) if freedom else 1.0
    return Finding(group, source, sum(table.total for table in tables), g, freedom, p)


def sizes(most: int, looks: int) -> list[int]:
    """Sample sizes that double up to ``most``: ``sizes(800, 4)`` is 100, 200, 400, 800."""
    return sorted({max(math.ceil(most / 2**back), 1) for back in range(looks)})


def sequential(
    groups: Sequence[Sequence[Source]],
    plan: Sequence[int],
    false_alarm: float,
    after: Callable[[int], object] = lambda total: None,
) -> Outcome:
    """Draw from every source up to each size of ``plan`` in turn, and test; stop at the first look with an alarm.

    The chance of an alarm where all draws follow their laws is at most ``false_alarm``. ``after`` is told the
    size that has just been tested.
    """
    alpha = false_alarm / (len(plan) * sum(len(group) + (len(group) > 1) for group in groups))
    least, made = 1.0, 0
    tests: list[Finding] = []
    for made, size in enumerate(plan, start=1):
        tests = []
        for at, group in enumerate(groups):
            for source in group:
                source.draw_until(size)
            tests += [finding(at, i, source.tables) for i, source in enumerate(group)]
            if len(group) > 1:
                tests.append(finding(at, None, [table for source in group for table in source.tables]))
        least = min([least, *(found.p for found in tests)])
        after(size)
        alarm = min((found for found in tests if found.p < alpha), key=lambda found: found.p, default=None)
        if alarm is not None:
            return Outcome(alpha, made, tuple(tests), least, alarm)
    return Outcome(alpha, made, tuple(tests), least, None)
