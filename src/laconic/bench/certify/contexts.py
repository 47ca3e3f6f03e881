"""Where to test sampling: places in the user's own texts where the model is unsure and drafts happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from laconic.bench.certify.base import fresh_rows
from laconic.bench.certify.rounds import Drawn, follow
from laconic.engine import Engine
from laconic.speculation.draws import warp
from laconic.types import Limits, Request, Sampling

LEAST_ENTROPY = 0.3
"""Nats. Below it the next token is all but certain, and a test of its law has no power."""
LEAST_WHERE_REFUSED = 0.05
"""The same where a draft was refused in a text already: rules that draft only where the draft model is sure draft at no
other places, and what they may get wrong shows where the two models disagree."""
HOTTEST = 8.0
"""Temperature beyond which no place is looked for."""
_TEXTS, _WRITTEN, _EARLIEST, _PLACES = 8, 64, 4, 4

Try = Callable[[tuple[int, ...], Sampling], list[Drawn]]
"""A few continuations of a context, to see what its drafts do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A context, as token ids, and the entropy of the token after it."""

    tokens: tuple[int, ...]
    entropy: float
    prompt: int
    refused: bool
    """Whether a drafted token was refused here when the text was written."""


def choose(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    sampling: Sampling,
    count: int,
    seeds: Iterator[int],
    attempt: Try,
    reserve: int,
) -> tuple[Sampling, list[Place]]:
    """Up to ``count`` contexts, and the sampling they are tested with; none if the model is never unsure.

    The configuration itself writes a few texts. In each, places where it refused a drafted token come first (there
    draft and model disagree), then those of highest entropy. All are tried, and the best are those at which
    drafted tokens are both accepted and refused, at most two in one text. Where no place reaches LEAST_ENTROPY the
    temperature is raised by half, as often as needed. ``reserve`` tokens must fit after a context.
    """
    texts = _write(engine, prompts[:_TEXTS], sampling, seeds, reserve)
    rows = [fresh_rows(engine.target, text.tokens, len(text.tokens) - text.start) for text in texts]
    while True:
        found = [place for i, text in enumerate(texts) for place in _places(i, text, rows[i], sampling)]
        if found or sampling.temperature * 1.5 > HOTTEST:
            break
        sampling = replace(sampling, temperature=sampling.temperature * 1.5)
    ranked = sorted(found, key=lambda place: _worth(place, attempt(place.tokens, sampling)), reverse=True)
    chosen: list[Place] = []
    used: Counter[int] = Counter()
    for place in ranked:
        if len(chosen) < count and used[place.prompt] < 2:
            chosen.append(place)
            used[place.prompt] += 1
    return sampling, chosen


@dataclass(frozen=True, slots=True)
class _Text:
    """Prompt and written tokens. Contexts end at token ``start`` or later; ``refused`` are those to be preferred."""

    tokens: tuple[int, ...]
    start: int
    refused: frozenset[int]


def _write(
    engine: Engine, prompts: Sequence[tuple[int, ...]], sampling: Sampling, seeds: Iterator[int], reserve: int
) -> list[_Text]:
    room = engine.target.context - reserve
    requests = [
        Request(prompt, replace(sampling, seed=next(seeds)), Limits(min(_WRITTEN, room - len(prompt))))
        for prompt in prompts
        if len(prompt) + _EARLIEST < room
    ]
    texts = []
    for request, drawn in zip(requests, follow(engine, requests, _WRITTEN), strict=True):
        written = drawn.tokens[:-1] if drawn.tokens[-1] in engine.text.eos else drawn.tokens
        tokens, length = (*request.prompt, *written), len(request.prompt)
        refused = frozenset(length + i - 1 for i, kind in enumerate(drawn.kinds) if kind == "after refusal")
        texts.append(_Text(tokens, min(length + _EARLIEST, len(tokens)) - 1, refused))
    return texts


def _places(i: int, text: _Text, rows: torch.Tensor, sampling: Sampling) -> list[Place]:
    """The most promising places in one text; row j is the one after its token start + j."""
    entropies = torch.special.entr(warp(rows, sampling)).sum(-1).tolist()
    unsure = [(text.start + j in text.refused, entropy, j) for j, entropy in enumerate(entropies)]
    good = [place for place in unsure if place[1] >= (LEAST_WHERE_REFUSED if place[0] else LEAST_ENTROPY)]
    best = sorted(good, reverse=True)[:_PLACES]
    return [Place(text.tokens[: text.start + j + 1], entropy, i, refused) for refused, entropy, j in best]


def _worth(place: Place, drawn: Sequence[Drawn]) -> tuple[int, int, float]:
    """Kinds of tokens seen, then how often the rarest came, then entropy."""
    seen = Counter(kind for text in drawn for kind in text.kinds)
    seen["after refusal"] += place.refused
    kinds = [seen[kind] for kind in ("accepted", "after refusal", "bonus")]
    return sum(n > 0 for n in kinds), min(kinds), place.entropy
