"""A suffix automaton that grows with a text: all its substrings, in at most two states a token."""

from __future__ import annotations


class Automaton:
    """The smallest automaton of all substrings of a text (Blumer et al. 1985); amortised constant time a token.

    A state stands for the substrings that end at the same places: the longest of them has ``_lengths`` tokens, and
    ``_ends`` is where they end first. The link of a state leads to the longest of its suffixes that ends elsewhere too.
    """

    __slots__ = ("_ends", "_last", "_lengths", "_links", "_moves", "size")

    def __init__(self) -> None:
        self.size = 0
        """Tokens so far."""
        self._moves: list[dict[int, int]] = [{}]
        self._links = [-1]
        self._lengths = [0]
        self._ends = [0]
        self._last = 0

    def add(self, token: int) -> None:
        """Append a token."""
        self.size += 1
        new = self._state({}, 0, self._lengths[self._last] + 1, self.size)
        at = self._last
        self._last = new
        while at >= 0 and token not in self._moves[at]:
            self._moves[at][token] = new
            at = self._links[at]
        if at < 0:
            return
        after = self._moves[at][token]
        if self._lengths[after] > self._lengths[at] + 1:  # only some of its substrings end here now: split them off
            whole = after
            after = self._state(self._moves[whole].copy(), self._links[whole], self._lengths[at] + 1, self._ends[whole])
            self._links[whole] = after
            while at >= 0 and self._moves[at].get(token) == whole:
                self._moves[at][token] = after
                at = self._links[at]
        self._links[new] = after

    def _state(self, moves: dict[int, int], link: int, length: int, end: int) -> int:
        self._moves.append(moves)
        self._links.append(link)
        self._lengths.append(length)
        self._ends.append(end)
        return len(self._ends) - 1

    @property
    def repeated(self) -> tuple[int, int]:
        """Length of the longest end of the text that stands in it before, and where it ended first; both 0 for none."""
        before = self._links[self._last]
        return (self._lengths[before], self._ends[before]) if before > 0 else (0, 0)
