"""All scores of a trace at once."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from laconic.thinking.scores.cues import reflections
from laconic.thinking.scores.graph import failed_step_fraction
from laconic.thinking.scores.redundancy import loops, near_duplicates, repeated_share, words
from laconic.thinking.scores.surprise import first_token_surprisal, high_windows
from laconic.thinking.scores.trace import Trace

NGRAM = 8
"""Tokens (or words) that must repeat."""
HIGH = 0.5
"""Nats above which the entropy of a window is called high; a choice of ours."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one trace. None where the trace does not say enough: no tokens, no probabilities, no steps."""

    length: int
    """Tokens, or words where no tokens are known."""
    steps: int
    failed_steps: float
    """Share of steps in branches that were given up."""
    reflections: int
    """Steps that turn back on the thought."""
    reflection_rate: float
    repeated: float
    """Share of n-grams that came before."""
    near_duplicates: float
    """Share of steps that are nearly an earlier one."""
    loops: int
    """Steps that occur three times or more."""
    surprisal: float | None = None
    """Mean negative log-probability of a token, in nats."""
    entropy: float | None = None
    """Mean entropy of a token's distribution, in nats."""
    high_entropy: float | None = None
    """Share of tokens at which a window of high entropy begins."""
    first_token: float | None = None
    """Mean surprisal of the steps' first tokens, in nats; the first step's, which begins the thought, is left out."""


def score(trace: Trace) -> Scored:
    """All scores that the trace says enough for."""
    tokens: Sequence[Hashable] = trace.tokens or words(trace.text)
    turned, rate = reflections(trace.steps)
    first = first_token_surprisal(trace.logprobs, trace.starts)[1:] if trace.logprobs else []
    return Scored(
        length=trace.length or len(tokens),
        steps=len(trace.steps),
        failed_steps=failed_step_fraction(trace.steps),
        reflections=turned,
        reflection_rate=rate,
        repeated=repeated_share(tokens, NGRAM),
        near_duplicates=near_duplicates(trace.steps),
        loops=loops(trace.steps),
        surprisal=-statistics.fmean(trace.logprobs) if trace.logprobs else None,
        entropy=statistics.fmean(trace.entropies) if trace.entropies else None,
        high_entropy=len(high_windows(trace.entropies, HIGH)) / len(trace.entropies) if trace.entropies else None,
        first_token=statistics.fmean(first) if first else None,
    )
