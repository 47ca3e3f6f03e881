"""Self-Braking Tuning: redundant thought is cut off, and a sentence says why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, field
from typing import Annotated, ClassVar

from pydantic import Field

from laconic.policy import Card, Family, knobs
from laconic.thinking.statements import CUES
from laconic.training.traces.base import EachTrace, Example, Row, Sufficiency, Tools, stated
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.sufficient import enough, rounds
from laconic.training.traces.trace import Problem, Trace

_MARKERS = [re.compile(pattern) for pattern in CUES.values()]
_WEIGHT = 0.1
"""Of the share of markers in the score; the rest is that of what follows the first solution. The authors' value."""


def score(first: float, whole: float, markers: int, tokens: int) -> float:
    """How much of a thought is overthinking: ``0.9 (1 - first / whole) + 0.1 markers / tokens``."""
    return (1 - _WEIGHT) * (1 - first / whole) + _WEIGHT * markers / tokens


def markers(text: str, renderer: Renderer) -> list[tuple[int, int]]:
    """The tokens before the end of each marker of reflection in a text, and the tokens of the marker, in order."""
    found = sorted((match for marker in _MARKERS for match in marker.finditer(text)), key=lambda match: match.end())
    return [(renderer.tokens(text[: match.end()]), renderer.tokens(match.group())) for match in found]


@knobs
class SelfBraking(EachTrace):
    """What both of the paper's rules share."""

    parts: ClassVar[Mapping[str, Family]] = {"sufficiency": "sufficiency"}

    _: KW_ONLY
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Score above which a thought is cut; the authors' example."""
    sufficiency: Sufficiency = field(default_factory=stated)
    """Says after which steps the answer is right."""

    def braked(self, trace: Trace, thought: str, brake: str) -> Example:
        """The trace with its thought cut and the brake behind it."""
        return Example(trace, f"{thought} {brake}".strip(), trace.reply, note={"braked": True})


@knobs
class SBTExact(SelfBraking):
    """Right traces whose overthinking score is above ``threshold``, cut behind the round after the first solution.

    Self-Braking Tuning, SBT-E, after the authors' public code: with ``n`` of ``N`` steps up to the first right
    answer, and ``m`` of the thought's ``T`` tokens in markers of reflection, the score is ``0.9 (1 - n / N) + 0.1 m /
    T``. A thought above it keeps its first solution and one round of reflection, and ends in a braking sentence;
    others stay as they are. Not as the authors do: a round ends where the next step turns back on the thought
    (theirs: where a large model finds the second solution), markers are whole words of laconic's list, the wording of
    the brake is ours, and there is no masked tail behind it, which rows of text cannot mask. Trap in that code: it
    loses the closing tag of what it cuts.
    """

    card = Card(paper="Self-Braking Tuning (SBT-E)", lossless=False, catalogue=(205,))

    brake: str = "The same answer has come up more than once, so it is time to stop thinking."
    """The sentence that ends a thought that was cut."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One row: cut, or whole."""
        first, texts = enough(problem, trace, self.sufficiency, tools, stays=False), trace.steps.texts
        marked = sum(size for _, size in markers(trace.thought, tools.renderer))
        over = score(first, len(texts), marked, max(tools.renderer.tokens(trace.thought), 1))
        end = rounds(texts, first, 1)
        if over <= self.threshold or end == len(texts):
            yield Example(trace, trace.thought, trace.reply, note={"braked": False})
        else:
            yield self.braked(trace, trace.steps.upto(end), self.brake)


@knobs
class SBTDynamic(SelfBraking):
    """Right traces, cut at the token at which the overthinking score reaches ``threshold``.

    Self-Braking Tuning, SBT-D, after the authors' public code: the score of ``sbt-exact`` is taken of the thought so
    far, token by token behind the first solution, ``n`` and ``N`` counted in tokens. Where it reaches the threshold
    the thought ends, in the middle of a step if need be, with a braking sentence. The authors let it go on for
    another 0.05 whose loss is masked; that part is left out. A thought that never reaches it stays as it is.
    """

    card = Card(paper="Self-Braking Tuning (SBT-D)", lossless=False, catalogue=(205,))

    brake: str = "This is getting longer than it needs to be; the answer is already there."
    """The sentence that ends a thought that was cut."""

    def row(self, problem: Problem, trace: Trace, tools: Tools) -> Iterator[Row]:
        """One row: cut, or whole."""
        renderer = tools.renderer
        first = renderer.tokens(trace.steps.upto(enough(problem, trace, self.sufficiency, tools, stays=False)))
        ids, marked = renderer.text.encode(trace.thought), markers(trace.thought, renderer)
        for tokens in range(first + 1, len(ids)):
            so_far = sum(size for end, size in marked if end <= tokens)
            if score(first, tokens, so_far, tokens) >= self.threshold:
                kept = renderer.text.decode(ids[:tokens]).rstrip("\ufffd")
                yield self.braked(trace, kept.rstrip(), self.brake)
                return
        yield Example(trace, trace.thought, trace.reply, note={"braked": False})
