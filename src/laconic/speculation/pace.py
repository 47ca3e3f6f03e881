"""What a round costs here, learned from the rounds themselves: all that a length policy must know of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import add

_MEMORY = 0.98
"""Weight that a round keeps with each later one; about fifty rounds count."""
_NODES_PER_PASS = 32.0
"""Nodes that are guessed to cost as much as the pass itself, until passes of several widths have been seen."""
_BELIEF = 64.0
"""Weight of that guess, in nodes squared: as much as four passes that lie four nodes from the mean."""
_OUTLIER = 3.0
"""Longest time that is believed, in expected times; other programs interrupt."""
_REACHED = 0.7
"""Share of probes that are thought to be asked ahead rightly, before any have been."""


@dataclass(slots=True)
class Line:
    """A straight line of seconds over nodes through recent passes, by weighted least squares."""

    weight: float = 0.0
    nodes: float = 0.0
    """Weighted mean of nodes."""
    seconds: float = 0.0
    """Weighted mean of seconds."""
    spread: float = 0.0
    """Weighted sum of squared deviations of nodes."""
    product: float = 0.0
    """Weighted sum of products of deviations."""

    def add(self, nodes: float, seconds: float) -> None:
        """Count one pass."""
        if self.weight > 4:
            seconds = min(seconds, _OUTLIER * self.at(nodes))
        self.weight, self.spread, self.product = (
            _MEMORY * self.weight + 1,
            _MEMORY * self.spread,
            _MEMORY * self.product,
        )
        step = nodes - self.nodes
        self.nodes += step / self.weight
        self.spread += step * (nodes - self.nodes)
        self.seconds += (seconds - self.seconds) / self.weight
        self.product += step * (seconds - self.seconds)

    @property
    def slope(self) -> float:
        """Seconds per node; never negative."""
        guess = self.seconds / (self.nodes + _NODES_PER_PASS)
        return max(0.0, (self.product + _BELIEF * guess) / (self.spread + _BELIEF))

    def at(self, nodes: float, slope: float | None = None) -> float:
        """Seconds of a pass over ``nodes``, by this line or another slope through its mean.

        A node never costs more in a wide pass than alone, so a pass over half the nodes takes at least half the time.
        """
        slope = self.slope if slope is None else slope
        return max(self.seconds + slope * (nodes - self.nodes), self.seconds * min(nodes / self.nodes, 1.0))

    def __add__(self, other: Line) -> Line:
        """The line through the passes of both."""
        weight = self.weight + other.weight
        share = other.weight / weight
        far, late = other.nodes - self.nodes, other.seconds - self.seconds
        between = self.weight * share * far
        return Line(
            weight,
            self.nodes + share * far,
            self.seconds + share * late,
            self.spread + other.spread + between * far,
            self.product + other.product + between * late,
        )


@dataclass(slots=True)
class Curve:
    """Seconds of a pass over its nodes: a line for each doubling of nodes, since the cost of one more is not the same
    everywhere (a second node may cost more than ten after it, and past some width arithmetic takes over)."""

    lines: dict[int, Line] = field(default_factory=dict)
    _slopes: dict[int, float] = field(default_factory=dict)

    def add(self, nodes: int, seconds: float) -> None:
        """Count one pass."""
        self.lines.setdefault(nodes.bit_length(), Line()).add(nodes, seconds)
        self._slopes.clear()

    def knows(self, nodes: int) -> bool:
        """Whether passes of about this width have been seen."""
        line = self.lines.get(nodes.bit_length())
        return line is not None and line.weight > 1

    def slope(self, nodes: float) -> float:
        """Seconds that one more node adds to a pass over ``nodes``: that of passes of about this width."""
        width = int(nodes).bit_length()
        if width not in self._slopes:
            self._slopes[width] = self._near(width).slope
        return self._slopes[width]

    def at(self, nodes: float) -> float:
        """Seconds of a pass over ``nodes``."""
        width = int(nodes).bit_length()
        line = self.lines.get(width) or self._near(width)
        return line.at(nodes, self.slope(nodes))

    def _near(self, width: int) -> Line:
        """The passes of this width, half of it and double it; if there were none, the nearest ones."""
        far = min(abs(width - known) for known in self.lines)
        return reduce(add, (line for known, line in self.lines.items() if abs(width - known) <= max(far, 1)))


@dataclass(slots=True)
class Pace:
    """Costs of recent rounds, in seconds. The loop writes it; policies read it.

    It outlives requests: an engine keeps one for all its loops, since costs are those of models and machine.
    """

    rounds: int = 0
    passes: Curve = field(default_factory=Curve)
    """Target passes by nodes, padding included where the model computes it too."""
    seconds: float = 0.0
    """Decayed sum of whole rounds."""
    tokens: float = 0.0
    """Decayed sum of what they wrote."""
    last: float = 0.0
    """Seconds of the last round."""
    draft_seconds: float = 0.0
    draft_passes: float = 0.0
    width: float = 8.0
    """Nodes that a request which writes has lately put into a pass."""
    stays: float = 0.5
    """Share of probes lately after which the thought went on."""
    whole: float = 0.7
    """Share of probes lately that did not end with the first token of the answer."""
    reached: float = _REACHED
    """Share of probes lately, of those asked ahead, whose check point came with the same pass."""

    def wrote(self, nodes: float) -> None:
        """A request put so many nodes into a pass to write on."""
        self.width += (nodes - self.width) * (1 - _MEMORY)

    def decided(self, *, goes_on: bool) -> None:
        """A probe was answered, and the thought goes on or ends."""
        self.stays += (goes_on - self.stays) * (1 - _MEMORY)

    def looked(self, *, whole: bool) -> None:
        """A probe was answered, with more than its first token or not."""
        self.whole += (whole - self.whole) * (1 - _MEMORY)

    def asked_ahead(self, *, reached: bool) -> None:
        """The draft held up to the check point of a probe that was asked ahead, or did not."""
        self.reached += (reached - self.reached) * (1 - _MEMORY)

    def forget_ahead(self) -> None:
        """A probe was not asked ahead: what is not tried any more is forgotten in time, and so tried again."""
        self.reached += (_REACHED - self.reached) * (1 - _MEMORY)

    def record(
        self, *, nodes: int, tokens: int, draft_passes: int, draft: float, score: float, rest: float, given: int = 0
    ) -> None:
        """One round: nodes scored and tokens written over all requests, and its seconds by phase.

        ``given`` of the nodes are prompts: what they cost is no cost of writing.
        """
        self.rounds += 1
        if self.rounds == 1:
            return  # the first pass of a process also sets up what later ones reuse
        self.passes.add(nodes, score)
        if tokens:
            prompts = max(self.passes.at(nodes) - self.passes.at(nodes - given), 0.0) if given else 0.0
            self.last = draft + max(score - prompts, 0.0) + rest
            self.seconds = _MEMORY * self.seconds + self.last
            self.tokens = _MEMORY * self.tokens + tokens
        if draft_passes:
            self.draft_seconds = _MEMORY * self.draft_seconds + draft
            self.draft_passes = _MEMORY * self.draft_passes + draft_passes

    @property
    def known(self) -> bool:
        """Whether anything has been measured yet."""
        return self.tokens > 0

    @property
    def token(self) -> float:
        """Seconds that a written token has cost of late: what one more token a round is worth."""
        return self.seconds / self.tokens

    def writes_beside(self, others: int, probe: int) -> bool:
        """Whether a request shall write on in the pass that carries its probe of so many nodes, beside ``others``.

        What it writes is lost if the thought ends at the probe. Together both cost one wide pass; apart, the probe's,
        and if the thought goes on another one. Where a pass costs about the same whatever its width, together is as
        good as free; where every node is paid for, it depends on how often thoughts go on.
        """
        if not self.known:
            return True
        here, alone, writing, both = self._costs(others, probe)
        return both <= alone + self.stays * (writing - here)

    def asks_ahead(self, others: int, probe: int) -> bool:
        """Whether a probe of so many nodes shall ride before the end of its step has been verified.

        Where the draft is refused before that, it was scored for nothing. Where the draft holds, there is no need to
        wait for the probe, or to write on in vain beside it.
        """
        if not self.known:
            return True
        here, alone, writing, both = self._costs(others, probe)
        later = min(alone - here, both - writing + (1 - self.stays) * (writing - here))
        return both - writing <= self.reached * later

    def spares(self, nodes: int, chance: float) -> bool:
        """Whether so many nodes more, drafted and scored, cost less than a pass that they spare with that chance."""
        each = self.draft_pass + self.node(self.width) if self.known else 0.0
        return not self.known or nodes * each < chance * self.target_pass(nodes)

    def _costs(self, others: int, probe: int) -> tuple[float, float, float, float]:
        """Seconds of a pass with ``others`` that write; the same with a probe, with one more that writes, with both."""
        width = others * self.width
        here = self.target_pass(width) if others else 0.0
        nodes = (width + probe, width + self.width, width + self.width + probe)
        alone, writing, both = map(self.target_pass, nodes)
        return here, alone, writing, both

    def node(self, nodes: float) -> float:
        """Seconds that one more node adds to a target pass over ``nodes``."""
        return self.passes.slope(nodes)

    def target_pass(self, nodes: float) -> float:
        """Seconds of a target pass over ``nodes``."""
        return self.passes.at(nodes)

    @property
    def draft_pass(self) -> float:
        """Seconds of one pass of the draft model; 0 where drafts come without one."""
        return self.draft_seconds / self.draft_passes if self.draft_passes else 0.0
