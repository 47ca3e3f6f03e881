"""How much to believe each of several guesses at the next token; learned while decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from laconic.speculation.drafters.few import NOTHING, Floats, Ints
from laconic.speculation.drafters.ngrams import Mask

_RATE = 0.02
"""Weight of each further token; about fifty count."""
_STRANGE = 1e-3
"""Chance of a token as a source that knows nothing of it would put it."""


@dataclass(frozen=True, slots=True)
class Guesses:
    """What several sources say comes next at n nodes: levels of an n-gram store, and single tokens from elsewhere.

    ``known [n, levels]``; ``tokens`` and ``shares [n, levels, k]``, each level's shares adding up to 1; ``singles
    [n, s]`` are ``NOTHING`` where a source is silent.
    """

    known: Mask
    tokens: Ints
    shares: Floats
    singles: Ints


class Mixture:
    """Shares of tokens as a mixture of what sources say. A level speaks twice: its shares, and its first token alone.

    The weights add up to 1 with that of a token that nobody names. They hang on which sources speak, and follow the
    tokens that are taken by online expectation maximisation: a source gains by the chance that it gave them.
    """

    def __init__(self, levels: int, singles: int, weights: Mapping[int, Sequence[float]] | None = None) -> None:
        self._levels, self._singles = levels, singles
        self._bits = 1 << np.arange(levels + singles)
        self._weights: dict[int, Floats] = {case: np.array(each) for case, each in (weights or {}).items()}

    @property
    def weights(self) -> dict[int, list[float]]:
        """What has been learned, to begin another one with: by which sources speak, as the bits of a number."""
        return {case: each.tolist() for case, each in self._weights.items()}

    def _cases(self, guesses: Guesses) -> list[int]:
        """Which sources speak at each node, as the bits of a number."""
        speaks = np.concatenate((guesses.known, guesses.singles != NOTHING), 1)
        cases: list[int] = (speaks @ self._bits).tolist()
        return cases

    def _of(self, case: int) -> Floats:
        """The weights ``[2 levels + singles + 1]`` where these sources speak: equal at first, 0 for the others."""
        found = self._weights.get(case)
        if found is None:
            speaks = [bool(case >> i & 1) for i in range(self._levels + self._singles)]
            mask = np.array([*speaks[: self._levels], *speaks, True])
            found = self._weights[case] = mask / mask.sum()
        return found

    def combine(self, guesses: Guesses) -> tuple[Ints, Floats]:
        """All tokens that are named and their shares, ``[n, levels * k + singles]``; some are there several times."""
        weights, levels = np.stack([self._of(case) for case in self._cases(guesses)]), self._levels
        said = guesses.shares * weights[:, :levels, None]
        said[:, :, 0] += weights[:, levels : 2 * levels]
        count = len(weights)
        tokens = np.concatenate((guesses.tokens.reshape(count, -1), guesses.singles), 1)
        return tokens, np.concatenate((said.reshape(count, -1), weights[:, 2 * levels : -1]), 1)

    def learn(self, guesses: Guesses, taken: Ints) -> None:
        """Move the weights towards the sources that named the tokens ``taken [n]``."""
        hit = guesses.tokens == taken[:, None, None]
        single = guesses.singles == taken[:, None]
        strange = np.full((len(taken), 1), _STRANGE)
        chances = np.concatenate(((guesses.shares * hit).sum(-1), hit[:, :, 0], single, strange), 1)
        for case, chance in zip(self._cases(guesses), chances, strict=True):
            weights = self._of(case)
            gained = weights * chance
            self._weights[case] = (1 - _RATE) * weights + _RATE * gained / gained.sum()
