"""A probe on its way: the branch that rides on scoring passes until the model's answer is known.

The branch is the probe's text followed by the expected answer, rooted at a check point of the thought. Its logits
say at each position what the model itself would write: where that agrees with the guess, the next position is known
from the same pass; where it does not, the model's token replaces the guess and the branch rides again, with a new
guess if the drafter has one. So the belief is the model's greedy answer whatever the guess was, and a good guess only
saves passes.

A branch that closes the thought is also what the request itself would write, were the thought to end there. Where that
is decided, the loop takes it over as a draft that has been scored already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from laconic.models.largest import first_largest
from laconic.models.text import Text
from laconic.thinking.base import Belief, Probe, Watched, given_up


class Ride:
    """One probe's progress. ``branch`` is scored, ``read`` takes the logits of its nodes.

    ``last`` is the token before the check point. A probe that adds nothing to the thought scores it once more.
    """

    def __init__(self, probe: Probe, text: Text, last: int) -> None:
        self._text = text
        self.probe = probe
        self._opening = opening(probe, text)
        self.back = 0 if self._opening else 1
        """Tokens before the check point with which the branch begins."""
        self._opening = self._opening or [last]
        self._watch = text.phrase(probe.watch)[0] if probe.watch else None
        self._watched: Watched | None = None
        self._hidden: torch.Tensor | None = None
        self._guess = text.encode(probe.opens + probe.guess + probe.stop)[: probe.max_tokens] if probe.guess else []
        self._answer: list[int] = []
        self._probs: list[float] = []
        self._entropies: list[float] = []
        self._depth = -len(probe.opens)
        self._done = False
        self._complete = False
        self.passes = 0

    @property
    def branch(self) -> list[int]:
        """Tokens to score in the next pass."""
        return self._opening + self._answer + self._guess[len(self._answer) :]

    @property
    def known(self) -> list[int]:
        """The branch as far as it is no guess."""
        return self._opening + self._answer

    @property
    def room(self) -> int:
        """Tokens that may follow what is known; 0 where all is known, and a guess would be in vain."""
        return 0 if self._done else self.probe.max_tokens - len(self._answer)

    @property
    def begun(self) -> bool:
        """Whether something of the answer is known."""
        return bool(self._answer)

    def ends(self, beyond: int = 0) -> Callable[[int], bool]:
        """A test that says of each further token in turn whether a guess should end with it.

        It ends with the answer; or, for a guess at what would be written if the thought ended here, with the end of the
        text, or ``beyond`` tokens after the answer.
        """
        depth, left = self._depth, -1

        def end(token: int) -> bool:
            nonlocal depth, left
            if left < 0:
                depth, over = self._after(token, depth)
                left = beyond if over else -1
            else:
                left -= 1
            return left == 0 or (left > 0 and token in self._text.eos)

        return end

    def suppose(self, tokens: Sequence[int]) -> None:
        """Guess that ``tokens`` are the rest of the answer, and maybe what comes after it."""
        if tokens:
            self._guess = [*self._answer, *tokens]

    def forget(self) -> None:
        """Ask without a guess."""
        self._guess = []

    def become(self, probe: Probe) -> None:
        """The same question, whose ``hopeless`` may end it earlier than was known when it was asked ahead."""
        self.probe = probe
        size = given_up(self._probs[:-1] if self._complete else self._probs, probe.hopeless)
        if size is not None:
            for found in (self._answer, self._probs, self._entropies):
                del found[size:]
            self._done, self._complete = True, False

    def read(self, logits: torch.Tensor, hidden: torch.Tensor | None = None) -> None:
        """Take ``logits [len(branch), vocab]`` and hidden states ``[len(branch), width]`` of one pass."""
        self.passes += 1
        known = len(self._answer)
        if known == 0:
            first = len(self._opening) - 1
            self._watched = watched(logits[first], self._watch)
            self._hidden = None if hidden is None else hidden[first].clone()
        rows = logits[len(self._opening) - 1 + known :]
        rows = rows[: self._reach(rows, known)].float()
        log_probs = rows.log_softmax(-1)
        top, best = log_probs.max(-1)
        entropies = -(log_probs.exp() * log_probs).nan_to_num(0.0).sum(-1)
        found = zip(best.tolist(), top.exp().tolist(), entropies.tolist(), strict=True)
        for at, (token, prob, entropy) in enumerate(found, start=known):
            self._answer.append(token)
            self._probs.append(prob)
            self._entropies.append(entropy)
            self._depth, self._complete = self._after(token, self._depth)
            hopeless = self.probe.hopeless is not None and self.probe.hopeless(self._probs)
            self._done = self._complete or hopeless or len(self._answer) >= self.probe.max_tokens
            if self._done or at >= len(self._guess) or self._guess[at] != token:
                return

    def _reach(self, rows: torch.Tensor, known: int) -> int:
        """How many rows count: as far as the guess agrees with what they say, and one more."""
        guess = self._guess[known : known + len(rows) - 1]
        said = first_largest(rows[: len(guess)]).tolist() if guess else []
        return 1 + next((at for at, (a, b) in enumerate(zip(guess, said, strict=True)) if a != b), len(guess))

    def _after(self, token: int, depth: int) -> tuple[int, bool]:
        """Open braces after ``token``, and whether the answer ends with it."""
        piece, stop = self._text.piece(token), self.probe.stop
        if stop == "}":
            depth += piece.count("{") - piece.count("}")
            return depth, (depth < 0 and not piece.isspace()) or token in self._text.eos
        return depth, stop in piece or token in self._text.eos

    def belief(self) -> Belief | None:
        """The answer and its probabilities, once they are all known."""
        if not self._done:
            return None
        return Belief(
            self.probe.bare(self._text.decode(self._answer), self._complete),
            tuple(self._probs),
            tuple(self._entropies),
            self._complete,
            self.passes,
            self._watched,
            self._hidden,
        )


def opening(probe: Probe, text: Text) -> list[int]:
    """What a probe writes after the check point."""
    if not probe.close:
        return text.phrase(probe.text)
    return text.phrase(f"{text.format.ending}{probe.text}")


def bounded(probe: Probe, text: Text, point: int, context: int) -> Probe | None:
    """The probe asked behind ``point`` tokens, its answer as long as the model's context lets it; None for no room."""
    room = context - point - len(opening(probe, text))
    if room < 1:
        return None
    return probe if probe.max_tokens <= room else replace(probe, max_tokens=room)


def watched(logits: torch.Tensor, token: int | None) -> Watched | None:
    """How likely ``token`` is under ``logits [vocab]``."""
    if token is None:
        return None
    row = logits.float()
    return Watched(float(row.softmax(-1)[token]), int((row > row[token]).sum()))
