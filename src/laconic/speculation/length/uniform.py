"""One draft length for a whole batch: what it is expected to write, and which length writes most a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from laconic.speculation.pace import Pace

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Draft lengths that are compared, tokens."""
_TRIED = (1, 2, 4, 8)
"""Those that are tried, so that what passes of their width cost is known."""
_TRIES = 2
"""Rounds in which each of them is tried."""
_SELDOM = 8
"""Rounds from one comparison to the next."""
_RETRY = 64
"""Rounds without drafts after which one token is tried again."""


@dataclass(slots=True)
class Acceptance:
    """Decayed sums of tokens accepted and tokens tested; their ratio is the rate of acceptance."""

    accepted: float
    tested: float

    def add(self, drafted: int, accepted: int, memory: float) -> None:
        """Count a round: accepted tokens were tested, and the first refused one. What was before weighs ``memory``."""
        self.accepted = memory * self.accepted + accepted
        self.tested = memory * self.tested + min(accepted + 1, drafted)

    @property
    def rate(self) -> float:
        """Chance that a tested token stands."""
        return self.accepted / self.tested


def expected(rate: float, length: int) -> float:
    """Tokens written by a round that drafts ``length``, each of which holds with the chance ``rate``."""
    rate = min(rate, 0.999)
    return float((1 - rate ** (length + 1)) / (1 - rate))


def best_length(pace: Pace, requests: int, lengths: Iterable[int], written: Callable[[int], float]) -> int:
    """Which of ``lengths``, drafted for every request, has the most tokens a second; the shortest of equals.

    ``written`` are the tokens that all requests write in a round of each length. A round takes as many draft passes as
    the length, and one target pass over all nodes.
    """
    return max(
        lengths,
        key=lambda length: written(length) / (pace.target_pass(requests * (1 + length)) + length * pace.draft_pass),
    )


@dataclass(slots=True)
class Uniform:
    """The best length for a batch whose requests all draft alike, found anew every few rounds."""

    tries: Counter[int] = field(default_factory=Counter)
    """Rounds in which a width of passes was tried."""
    when: tuple[int, int] = (0, 0)
    """Requests, and eighth rounds, at which ``best`` was found."""
    best: int = 0
    silent: int = 0
    """Rounds since a draft."""

    def length(self, pace: Pace, requests: int, rate: float) -> int:
        """The length for the coming round, ``rate`` being the chance that a token stands."""
        for length in _TRIED:
            nodes = requests * (1 + length)
            if not pace.passes.knows(nodes) and self.tries[nodes.bit_length()] < _TRIES:
                self.tries[nodes.bit_length()] += 1
                return length
        when = requests, pace.rounds // _SELDOM
        if self.when != when:
            self.when = when
            self.best = best_length(pace, requests, (0, *LENGTHS), lambda length: requests * expected(rate, length))
        self.silent = 0 if self.best else self.silent + 1
        return self.best or int(self.silent % _RETRY == 0)
