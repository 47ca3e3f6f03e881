"""A probe as a completion of its own: the shared prefix, the probe's text, and a few greedy tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from laconic.errors import NoLogprobs
from laconic.models.replies import Named, Said
from laconic.models.text import Text
from laconic.probe import opening
from laconic.remote.writer import Writes, Written
from laconic.thinking.base import Belief, Probe, Watched
from laconic.types import Sampling

_GREEDY = Sampling()


async def believe(
    writer: Writes, probe: Probe, before: Sequence[int], logprobs: int | None, method: str
) -> tuple[Belief, int]:
    """What the model would answer after ``before``, and how many tokens were read and written to know it.

    With ``logprobs`` None no probabilities are asked for, and the belief has none. Otherwise they are the server's, and
    entropies are lower bounds (:meth:`Said.entropy`). Raises NoLogprobs where ``method`` should get some and does not.
    """
    reading = _Reading(probe, writer.text)
    prefix = [*before, *opening(probe, writer.text)]
    guess = writer.text.encode(f"{probe.opens}{probe.guess}{probe.stop}") if probe.guess else []
    passes = 0
    while not reading.done:
        # Where the answer has braces of its own, the server stops at the first one that closes, and is asked on.
        written = await writer.write(
            [*prefix, *reading.tokens],
            most=probe.max_tokens - len(reading.pieces),
            sampling=_GREEDY,
            stop=(probe.stop,),
            logprobs=logprobs,
            guess=guess if not reading.tokens else (),
        )
        passes += 1
        if logprobs is not None and written.said is None:
            raise no_logprobs(method)
        reading.read(written)
    return reading.belief(passes), len(prefix) - len(before) + len(reading.pieces)


def no_logprobs(method: str) -> NoLogprobs:
    """What to raise where ``method`` should get probabilities and the server gives none."""
    return NoLogprobs(
        f"'{method}' looks at probabilities, which the server does not give.",
        "Start it so that it gives logprobs, or use a method that needs none (answer-agreement, budget).",
    )


class _Reading:
    """The answer so far. It ends where a probe in laconic's own loop does (:class:`laconic.probe.Ride`)."""

    def __init__(self, probe: Probe, text: Text) -> None:
        self._probe = probe
        self._text = text
        self._depth = -len(probe.opens)
        self._complete = False
        self._watched: Watched | None = None
        self._ends = set(map(text.piece, text.eos))
        self._probs: list[float] = []
        self._entropies: list[float] = []
        self._ours = True
        self.tokens: list[int] = []
        self.pieces: list[str] = []
        self.done = False

    def read(self, written: Written) -> None:
        """Read on, up to the answer's end."""
        said = written.said or ()
        if said and not self.pieces and self._probe.watch:
            self._watched = watched(said[0], self._text.encode(self._probe.watch)[0], self._text)
        read = 0
        for piece in written.pieces:
            self.pieces.append(piece)
            if read < len(said):
                self._probs.append(math.exp(said[read].logprob))
                self._entropies.append(said[read].entropy())
            read += 1
            self._complete = self._over(piece)
            hopeless = bool(said) and self._probe.hopeless is not None and self._probe.hopeless(self._probs)
            self.done = self._complete or hopeless or len(self.pieces) >= self._probe.max_tokens
            if self.done:
                break
        same = len(written.tokens) == len(written.pieces)
        self._ours = self._ours and same
        self.tokens += written.tokens[:read] if same else written.tokens
        if not self.done:
            self._complete = bool(written.tokens) and written.tokens[-1] in self._text.eos
            self.done = self._complete or written.cut or not written.tokens

    def belief(self, passes: int) -> Belief:
        """What was found."""
        written = self._text.decode(self.tokens) if self._ours else "".join(self.pieces)
        answer = self._probe.bare(written, self._complete)
        return Belief(answer, tuple(self._probs), tuple(self._entropies), self._complete, passes, self._watched)

    def _over(self, piece: str) -> bool:
        if self._probe.stop == "}":
            self._depth += piece.count("{") - piece.count("}")
            return (self._depth < 0 and not piece.isspace()) or piece in self._ends
        return self._probe.stop in piece or piece in self._ends


def watched(said: Said, token: int, text: Text) -> Watched:
    """How likely ``token`` was in the place of another. One that is not among the likeliest counts as impossible."""
    name: Named = token if isinstance(said.token, int) else text.piece(token)
    if name not in said.top:
        return Watched(0.0, len(said.top))
    mine = said.top[name]
    return Watched(math.exp(mine), sum(other > mine for other in said.top.values()))
