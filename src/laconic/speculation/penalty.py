"""Penalties and biases of sampling as logit rules, so that drafts, trees and probes meet them as plain decoding does.

Each looks at the whole text, so each node of a draft has a table of its own (where vLLM shared one, drafts changed the
output: vllm#22987).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch

from laconic.models.prefix import common_prefix

if TYPE_CHECKING:
    from laconic.types import Sampling


_LARGEST = 1e20
"""No penalty makes a logit larger: beyond float32 two tokens would be infinitely likely, and neither could be drawn."""


class _Place(Protocol):
    @property
    def tokens(self) -> Sequence[int]: ...


class _Counts:
    """How often each token stands in a text. Texts are asked about one after another, and mostly differ at their ends.

    What was counted of the last one is kept, since nodes of a draft ask anew about all that was written.
    """

    __slots__ = ("_counts", "_tokens")

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._counts: Counter[int] = Counter()

    def of(self, tokens: Sequence[int]) -> Counter[int]:
        """The counts, to be read at once."""
        same = common_prefix(list(tokens), self._tokens)
        self._counts.subtract(self._tokens[same:])
        for token in self._tokens[same:]:
            if not self._counts[token]:
                del self._counts[token]
        self._counts.update(tokens[same:])
        self._tokens[same:] = tokens[same:]
        return self._counts


@dataclass(frozen=True)
class LogitBias:
    """A number added to the logits of some tokens; -100 or less all but rules them out.

    Source: the OpenAI API (``logit_bias``).
    """

    biases: tuple[tuple[int, float], ...]

    def __call__(self, logits: torch.Tensor, place: _Place) -> torch.Tensor:
        """Logits ``[vocab]`` in float32; ids beyond the vocabulary are nobody's."""
        changed = logits.to(torch.float32, copy=True)
        tokens, biases = self._tensors
        known = tokens < len(changed)
        return changed.index_add_(0, tokens[known].to(logits.device), biases[known].to(logits.device))

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([t for t, _ in self.biases]), torch.tensor([float(b) for _, b in self.biases])


@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """Tokens that stand in the prompt or in the output already become less likely by this factor.

    Source: CTRL (Keskar et al. 2019), equation 3 with Transformers' treatment of negative logits: positive ones are
    divided by the penalty, negative ones multiplied.
    """

    penalty: float
    _counts: _Counts = field(default_factory=_Counts, repr=False, compare=False)

    def __call__(self, logits: torch.Tensor, place: _Place) -> torch.Tensor:
        """Logits ``[vocab]`` in float32."""
        changed = logits.to(torch.float32, copy=True)
        seen = torch.tensor(list(self._counts.of(place.tokens)), device=logits.device)
        values = changed[seen]
        changed[seen] = torch.where(values < 0, values * self.penalty, values / self.penalty).clamp(-_LARGEST, _LARGEST)
        return changed


@dataclass(frozen=True, slots=True)
class CountPenalty:
    """What is taken off the logits of tokens that the output holds: ``presence`` once, ``frequency`` for each time.

    Source: the OpenAI API (``presence_penalty``, ``frequency_penalty``). As in vLLM, the prompt does not count.
    """

    presence: float
    frequency: float
    start: int
    """Tokens of the prompt."""
    _counts: _Counts = field(default_factory=_Counts, repr=False, compare=False)

    def __call__(self, logits: torch.Tensor, place: _Place) -> torch.Tensor | None:
        """Logits ``[vocab]`` in float32; None before there is any output."""
        written = place.tokens[self.start :]
        if not written:
            return None
        times_of = self._counts.of(written)
        seen = torch.tensor(list(times_of), device=logits.device)
        times = torch.tensor(list(times_of.values()), device=logits.device)
        changed = logits.to(torch.float32, copy=True)
        changed[seen] -= self.presence + self.frequency * times
        return changed


def sampling_rules(
    sampling: Sampling, prompt: int
) -> list[Callable[[torch.Tensor, _Place], torch.Tensor | None]]:  # fmt: skip
    """The rules that a request's sampling asks for, in the order in which vLLM applies them; ``prompt`` in tokens.

    They come before those of controllers, as they are the model's own.
    """
    rules: list[Callable[[torch.Tensor, _Place], torch.Tensor | None]] = []
    if sampling.logit_bias:
        rules.append(LogitBias(sampling.logit_bias))
    if sampling.repetition_penalty != 1:
        rules.append(RepetitionPenalty(sampling.repetition_penalty))
    if sampling.presence_penalty or sampling.frequency_penalty:
        rules.append(CountPenalty(sampling.presence_penalty, sampling.frequency_penalty, prompt))
    return rules
