"""What other answers to the same question went on with behind the same tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from laconic.speculation.drafters.history import common_prefix

ORDERS = (8, 4, 3, 2)
"""Lengths of contexts by which places are found, longest first."""
_MOST = 64
"""Places remembered for a context, the latest."""
_DEPTH = 16
"""Tokens before a place that are compared at most."""

Place = tuple[int, int]
"""Number of an answer, and where in it a token stands."""


@dataclass(slots=True)
class Family:
    """Answers to one question while any of them is being written. ``places`` of tokens by the contexts before them."""

    answers: dict[int, list[int]] = field(default_factory=dict)
    alive: int = 0
    places: dict[tuple[int, ...], list[Place]] = field(default_factory=dict)

    def join(self) -> int:
        """A new answer; returns its number."""
        self.alive += 1
        number = len(self.answers)
        self.answers[number] = []
        return number

    def read(self, number: int, tokens: list[int]) -> None:
        """Bring an answer up to date. What was taken back is forgotten with the places in it."""
        known = self.answers[number]
        kept = common_prefix(tokens, known)
        if kept < len(known):
            for at in range(kept, len(known)):
                for context in _contexts(known, at):
                    if (number, at) in (found := self.places.get(context, [])):
                        found.remove((number, at))
            del known[kept:]
        for at in range(kept, len(tokens)):
            for context in _contexts(tokens, at):
                found = self.places.setdefault(context, [])
                found.append((number, at))
                del found[:-_MOST]
        known += tokens[kept:]

    def find(self, number: int) -> list[tuple[Place, int]]:
        """Places in other answers behind the longest context that this one ends in, each with the tokens that agree."""
        mine = self.answers[number]
        for order in ORDERS:
            found = self.places.get(tuple(mine[-order:]), ()) if order <= len(mine) else ()
            others = [place for place in found if place[0] != number]
            if others:
                return [(place, self._agree(mine, place, order)) for place in others]
        return []

    def _agree(self, mine: list[int], place: Place, known: int) -> int:
        """How many tokens before the place are those that ``mine`` ends in; ``known`` of them are."""
        other, at = self.answers[place[0]], place[1]
        most = min(len(mine), at, _DEPTH)
        while known < most and other[at - known - 1] == mine[-known - 1]:
            known += 1
        return known

    def token(self, place: Place) -> int | None:
        """What stands at a place; None at the end of an answer."""
        answer = self.answers[place[0]]
        return answer[place[1]] if place[1] < len(answer) else None


def _contexts(tokens: list[int], at: int) -> list[tuple[int, ...]]:
    """What stands before a token, by :data:`ORDERS`."""
    return [tuple(tokens[at - order : at]) for order in ORDERS if order <= at]
