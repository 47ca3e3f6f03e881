"""A probe on its way: the branch that rides on scoring passes until the model's answer is known.

The branch is the probe's text followed by the expected answer, rooted at a check point of the thought. Its logits
say at each position what the model itself would write: where that agrees with the guess, the next position is known
from the same pass; where it does not, the model's token replaces the guess and the branch rides again. So the belief
is the model's greedy answer whatever the guess was, and a good guess only saves passes.
"""

from __future__ import annotations

import torch

from laconic.models.text import Text
from laconic.thinking.base import Belief, Probe


class Ride:
    """One probe's progress. ``branch`` is scored, ``read`` takes the logits of its nodes."""

    def __init__(self, probe: Probe, text: Text) -> None:
        self._text = text
        self._probe = probe
        assert text.markup is not None, "thinking controllers need a thinking phase"
        self._opening = text.encode(f"{text.markup.close}\n\n{probe.text}")
        self._guess = text.encode(probe.guess + probe.stop)[: probe.max_tokens] if probe.guess else []
        self._answer: list[int] = []
        self._probs: list[float] = []
        self._entropies: list[float] = []
        self._depth = 0
        self._done = False
        self._complete = False
        self.passes = 0

    @property
    def branch(self) -> list[int]:
        """Tokens to score in the next pass."""
        return self._opening + self._answer + self._guess[len(self._answer) :]

    def read(self, logits: torch.Tensor) -> None:
        """Take ``logits [len(branch), vocab]`` of one pass."""
        self.passes += 1
        known = len(self._answer)
        rows = logits[len(self._opening) - 1 + known :].float()
        log_probs = rows.log_softmax(-1)
        top, best = log_probs.max(-1)
        entropies = -(log_probs.exp() * log_probs).nan_to_num(0.0).sum(-1)
        found = zip(best.tolist(), top.exp().tolist(), entropies.tolist(), strict=True)
        for at, (token, prob, entropy) in enumerate(found, start=known):
            self._answer.append(token)
            self._probs.append(prob)
            self._entropies.append(entropy)
            self._complete = self._ends(token)
            self._done = self._complete or len(self._answer) >= self._probe.max_tokens
            if self._done or at >= len(self._guess) or self._guess[at] != token:
                return

    def _ends(self, token: int) -> bool:
        piece, stop = self._text.piece(token), self._probe.stop
        if stop == "}":
            self._depth += piece.count("{") - piece.count("}")
            return self._depth < 0 or token in self._text.eos
        return stop in piece or token in self._text.eos

    def belief(self) -> Belief | None:
        """The answer and its probabilities, once they are all known."""
        if not self._done:
            return None
        written, stop = self._text.decode(self._answer), self._probe.stop
        answer = written[: written.rfind(stop)] if self._complete and stop in written else written
        return Belief(answer.strip(), tuple(self._probs), tuple(self._entropies), self._complete, self.passes)
