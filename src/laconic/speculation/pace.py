"""What a round costs here, learned from the rounds themselves: all that a length policy must know of the machine."""

from __future__ import annotations

from dataclasses import dataclass, field

_MEMORY = 0.98
"""Weight that a round keeps with each later one; about fifty rounds count."""
_NODES_PER_PASS = 32.0
"""Nodes that are guessed to cost as much as the pass itself, until passes of several widths have been seen."""
_BELIEF = 64.0
"""Weight of that guess, in nodes squared: as much as four passes that lie four nodes from the mean."""
_OUTLIER = 3.0
"""Longest time that is believed, in expected times; other programs interrupt."""


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
        self.product += step * (seconds - self.seconds)
        self.seconds += (seconds - self.seconds) / self.weight

    @property
    def slope(self) -> float:
        """Seconds per node; never negative."""
        guess = self.seconds / (self.nodes + _NODES_PER_PASS)
        return max(0.0, (self.product + _BELIEF * guess) / (self.spread + _BELIEF))

    def at(self, nodes: float) -> float:
        """Seconds of a pass over ``nodes``."""
        return max(self.seconds + self.slope * (nodes - self.nodes), 0.0)


@dataclass(slots=True)
class Pace:
    """Costs of recent rounds, in seconds. The loop writes it; policies read it.

    It outlives requests: an engine keeps one for all its loops, since costs are those of models and machine.
    """

    rounds: int = 0
    passes: Line = field(default_factory=Line)
    """Target passes by nodes, padding included where the model computes it too."""
    seconds: float = 0.0
    """Decayed sum of whole rounds."""
    tokens: float = 0.0
    """Decayed sum of what they wrote."""
    draft_seconds: float = 0.0
    draft_passes: float = 0.0

    def record(self, *, nodes: int, tokens: int, draft_passes: int, draft: float, score: float, rest: float) -> None:
        """One round: nodes scored and tokens written over all requests, and its seconds by phase."""
        self.rounds += 1
        if self.rounds == 1:
            return  # the first pass of a process also sets up what later ones reuse
        self.passes.add(nodes, score)
        if tokens:
            self.seconds = _MEMORY * self.seconds + draft + score + rest
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

    @property
    def node(self) -> float:
        """Seconds that one more node adds to a target pass."""
        return self.passes.slope

    @property
    def draft_pass(self) -> float:
        """Seconds of one pass of the draft model; 0 where drafts come without one."""
        return self.draft_seconds / self.draft_passes if self.draft_passes else 0.0
