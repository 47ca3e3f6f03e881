"""What heads are trained on: inputs and labels, taken from texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from laconic.bench.fit.texts import Text, states
from laconic.models.base import LanguageModel, ShowsHidden


@dataclass(frozen=True, slots=True)
class Examples:
    """``inputs [n, width]``, ``labels [n]``, the drafter's own word on each (``said [n]``), and how many texts."""

    inputs: Tensor
    labels: Tensor
    said: Tensor
    texts: int

    def __len__(self) -> int:
        return len(self.labels)


def acceptance(
    draft: LanguageModel, texts: Sequence[Text], mixing: float, seed: int, state: Literal["at", "before"] = "at"
) -> Examples:
    """One example a guessed token: the draft model's state at it, or before it, and whether the target wrote it.

    Token mixing as in SpecDec++: the draft model reads a text of which ``mixing`` of the tokens, chosen at random, are
    the target's and the others its own guesses, each made after the target's text. The former are read and not judged.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs: list[Tensor] = []
    labels: list[float] = []
    said: list[float] = []
    for text in texts:
        theirs = (torch.rand(len(text.tokens), generator=generator) < mixing).tolist()
        mixed = [token if keep else guess for token, guess, keep in zip(text.tokens, text.guesses, theirs, strict=True)]
        # The state *at* token t is the one before token t + 1; the last token is never read.
        judged = [t for t, keep in enumerate(theirs[:-1]) if not keep]
        inputs.append(states(draft, text.prompt, mixed)[[t + (state == "at") for t in judged]])
        labels += [float(text.hits[t]) for t in judged]
        said += [text.said[t] for t in judged]
    return Examples(torch.cat(inputs), torch.tensor(labels), torch.tensor(said), len(texts))


def lengths(target: LanguageModel, texts: Sequence[Text], most: int) -> Examples:
    """One example a written token: the target's state before it, its embedding, and how many guesses after it hold.

    That is the number of tokens, ``most`` at most, that a round beginning there would have had accepted. ``said`` is
    the draft model's confidence in the first of them.
    """
    shown = cast(ShowsHidden, target)
    inputs: list[Tensor] = []
    labels: list[float] = []
    said: list[float] = []
    for text in texts:
        runs = accepted(text.hits, most)
        embedded = torch.stack([shown.embedding(token).float().cpu() for token in text.tokens[:-1]])
        inputs.append(torch.cat([states(target, text.prompt, text.tokens)[:-1], embedded], dim=1))
        labels += map(float, runs[1:])
        said += text.said[1:]
    return Examples(torch.cat(inputs), torch.tensor(labels), torch.tensor(said), len(texts))


def accepted(hits: Sequence[bool], most: int) -> list[int]:
    """How many guesses hold in a row from each place on, ``most`` at most.

    >>> accepted([True, True, False, True], 20)
    [2, 1, 0, 1]
    """
    runs, run = [], 0
    for hit in reversed(hits):
        run = min(run + 1, most) if hit else 0
        runs.append(run)
    return runs[::-1]
