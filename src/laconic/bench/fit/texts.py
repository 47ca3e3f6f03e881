"""Texts that the target wrote, what the draft model would have guessed at each place, and hidden states along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from laconic.bench.along import read
from laconic.engine import Engine
from laconic.models.base import LanguageModel
from laconic.speculation.base import Context
from laconic.speculation.drafters.writing import LogitsRow, widened
from laconic.speculation.draws import Draws
from laconic.types import Request


@dataclass(frozen=True, slots=True)
class Text:
    """One written text and the draft model's guesses at it: ``guesses[t]`` where the target wrote ``tokens[t]``.

    Where the request samples, a guess is at the very draw of the target, as ``Drafting.FORESEE`` says. ``said[t]`` is
    the draft model's own confidence in its guess.
    """

    prompt: tuple[int, ...]
    tokens: list[int]
    guesses: list[int]
    said: list[float]

    @property
    def hits(self) -> list[bool]:
        """Whether each guess is what the target wrote, i.e. would have been accepted by ``match``."""
        return [guess == token for guess, token in zip(self.guesses, self.tokens, strict=True)]


def write(
    engine: Engine,
    draft: LanguageModel,
    requests: Sequence[Request],
    *,
    batch: int = 16,
    after: Callable[[int], Any] = lambda done: None,
) -> list[Text]:
    """Let ``engine``'s target answer ``requests``, ``batch`` at once, and the ``draft`` model guess along them.

    ``after`` is told how many texts are done. What does not fit into the draft model's context is left out.
    """
    writer = engine.using(drafter="draft-model", length="marginal", shape="chain", verifier="match", think=())
    found: list[Text] = []
    for start in range(0, len(requests), batch):
        part = requests[start : start + batch]
        for request, result in zip(part, writer.run(part, batch=batch), strict=True):
            tokens = list(result.tokens)[: max(draft.context - len(request.prompt), 0)]
            if tokens:
                found.append(guessed(draft, request, tokens, engine.target.vocab_size))
            after(len(found))
    return found


@torch.inference_mode()
def guessed(draft: LanguageModel, request: Request, tokens: list[int], vocab_size: int) -> Text:
    """What ``draft`` would have guessed along ``tokens``, written by a target of ``vocab_size`` logits."""
    context = Context(request, list(request.prompt), Draws(request.sampling.seed), len(request.prompt))
    guesses: list[int] = []
    said: list[float] = []
    with closing(draft.open()) as slot:
        for made in read(draft, slot, request.prompt, tokens):
            scores = widened(made, vocab_size)
            for logits, best in zip(scores.of(0), scores.best(0), strict=True):
                place = None if request.sampling.greedy else len(request.prompt) + len(guesses)
                row = LogitsRow(logits, best, context, place, None)
                guesses.append(row.best)
                said.append(row.confidence)
    return Text(request.prompt, tokens, guesses, said)


@torch.inference_mode()
def states(model: LanguageModel, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Hidden states ``[tokens, width]`` of ``model``, which must keep them: row t is the one before ``tokens[t]``."""
    with closing(model.open()) as slot:
        parts = [scores.hidden_of(0) for scores in read(model, slot, prompt, tokens)]
    return torch.cat([part.float().cpu() for part in parts if part is not None])
