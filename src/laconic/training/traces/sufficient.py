"""Where a thought was enough: the one cut that self-braking, first solutions, DTO and ConCISE share."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.errors import TraceError
from laconic.thinking.scores.cues import reflects
from laconic.training.traces.base import Sufficiency, Tools
from laconic.training.traces.trace import Problem, Trace


def first_sufficient_step(
    problem: Problem, trace: Trace, probe: Sufficiency, tools: Tools, *, stays: bool
) -> int | None:
    """After how many steps the thought's answer is right for the first time; None where it never is.

    With ``stays`` it must be right after every later step too.
    """
    return first(probe.right(problem, trace, tools), stays=stays)


def first(right: Sequence[bool], *, stays: bool) -> int | None:
    """The place of the first True, counted from 1; with ``stays`` of the first that no False follows.

    >>> first([False, True, False, True, True], stays=False), first([False, True, False, True, True], stays=True)
    (2, 4)
    """
    if stays:
        lasting = next((at for at, it in enumerate(reversed(right)) if not it), len(right))
        return len(right) - lasting + 1 if lasting else None
    return right.index(True) + 1 if True in right else None


def enough(problem: Problem, trace: Trace, probe: Sufficiency, tools: Tools, *, stays: bool) -> int:
    """:func:`first_sufficient_step`. Raises TraceError where there is none."""
    found = first_sufficient_step(problem, trace, probe, tools, stays=stays)
    if found is None:
        raise TraceError("its thought never comes to the right answer")
    return found


def turns(texts: Sequence[str], start: int) -> list[int]:
    """The steps from ``start`` on that begin by turning back on the thought; last the number of all steps."""
    return [*(at for at in range(start, len(texts)) if reflects(texts[at])), len(texts)]


def rounds(texts: Sequence[str], enough: int, more: int) -> int:
    """Steps up to the end of ``more`` rounds of reflection behind the first ``enough``.

    A round begins with a step that turns back on the thought and goes on to the next such step.

    >>> rounds(["So 4.", "Wait, check.", "2 + 2 = 4.", "Hmm, once more."], 1, 1)
    3
    """
    ends = turns(texts, enough)
    return ends[min(more, len(ends) - 1)] if more else enough
