"""Second audit: what the configuration samples has the distribution of the model's own next tokens.

Contexts come from the user's own texts. For each, the exact law of the next tokens is computed from the model's
logits, and the configuration continues the context under a fresh seed every time. A sequential G test compares.
A third of the requests have room for a draft of one token, a third for two, the rest for as long a draft as the
length policy likes, so that accepted tokens, tokens drawn after a refusal and bonus tokens are all among those tested.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from laconic.bench.certify import chisquare, gtest
from laconic.bench.certify.base import Verdict
from laconic.bench.certify.contexts import LEAST_ENTROPY, choose
from laconic.bench.certify.events import Cell, Events, events
from laconic.bench.certify.gtest import Outcome, Table
from laconic.bench.certify.proxies import PrefillOnce
from laconic.bench.certify.rounds import KINDS, Drawn, Kind, continuations
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.types import Sampling

DEPTH = 3
"""Tokens tested after a context."""
FREE = 8
"""Tokens by which the freest requests may go on; their drafts are as long as the policy likes, up to this."""
LEAST_OF_A_KIND = 20
"""Tested tokens of each kind without which nothing is certified."""
POWERLESS = 0.5
"""Where no bias smaller than this would have been noticed, nothing is certified."""
STATED = 0.05
"""Total-variation distance for which the power is stated."""
_BATCH, _LOOKS, _TRIES = 32, 4, 4
_STRATA = ((2, 2), (DEPTH, DEPTH), (DEPTH, DEPTH + FREE))
"""Tokens looked at, and the request's limit, which bounds the draft."""


@dataclass(slots=True)
class ContextSource:
    """One context at one temperature: its law, and what the configuration wrote after it so far."""

    engine: Engine
    context: tuple[int, ...]
    sampling: Sampling
    law: Events
    seeds: Iterator[int]
    kinds: Counter[Kind] = field(default_factory=Counter)
    made: int = 0
    _counts: dict[int, Counter[Cell]] = field(default_factory=lambda: {depth: Counter() for depth, _ in _STRATA})

    @property
    def tables(self) -> list[Table]:
        """One table for the texts of two tokens, one for those of three."""
        return [Table(self.law.law(depth), counts) for depth, counts in self._counts.items()]

    def draw_until(self, total: int) -> None:
        """Draw until there are ``total`` texts, the three kinds of room in turn."""
        wanted = [(total - i + 2) // 3 - (self.made - i + 2) // 3 for i in range(len(_STRATA))]
        for (depth, most), count in zip(_STRATA, wanted, strict=True):
            while count > 0:
                seeds = list(itertools.islice(self.seeds, min(count, _BATCH)))
                for text in continuations(self.engine, self.context, self.sampling, seeds, depth=depth, most=most):
                    self._counts[depth][self.law.cell(text.tokens, depth)] += 1
                    self.kinds.update(text.kinds)
                count -= len(seeds)
        self.made = max(self.made, total)


@dataclass(frozen=True, slots=True)
class TemperatureResult:
    """What was tested at one temperature. ``used`` differs from ``asked`` where the model was too sure at that."""

    asked: float
    used: float
    contexts: int
    entropies: tuple[float, ...]
    """Entropy of the tested events after each context, nats."""
    samples: int
    g: float
    freedom: int
    p: float
    power: float
    """Chance that a bias of STATED (total variation, in every context) would have been noticed."""
    detectable: float
    """Smallest such bias that is noticed with probability 0.9; 1 if none is."""
    kinds: dict[str, int]


@dataclass(frozen=True, slots=True)
class SampledAudit:
    """The outcome over all temperatures. ``alpha`` is the level of each single test."""

    verdict: Verdict
    reason: str
    false_alarm: float
    alpha: float
    looks: int
    least_p: float
    temperatures: tuple[TemperatureResult, ...]
    kinds: dict[str, int]


def audit(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    *,
    samplings: Sequence[Sampling] = (Sampling(0.6), Sampling(1.0)),
    contexts: int = 4,
    samples: int = 2048,
    keep: int = 16,
    false_alarm: float = 1e-3,
    seed: int = 0,
    after: Callable[[str], object] = lambda done: None,
) -> SampledAudit:
    """Test the engine's speculation (controllers take no part) after up to ``contexts`` places in its own texts.

    At most ``samples`` continuations for each place and temperature, fewer where a fault shows early. ``keep`` is
    the number of events at each position. Raises RequestError for settings that cannot be used.
    """
    if not prompts:
        raise RequestError("there are no prompts to certify on.", "Give at least one.")
    refuse(samplings, contexts, samples, keep, false_alarm)
    proxies = [PrefillOnce(model) for model in (engine.target, engine.draft_model) if model is not None]
    methods = replace(engine.methods, drafter=engine.plan.drafter)  # the object: it may hold a store of earlier texts
    quick = Engine(proxies[0], engine.text, methods, proxies[1] if len(proxies) > 1 else None)
    seeds = itertools.count(seed * 1_000_003 + 1)
    try:
        groups = []
        for sampling in samplings:
            groups.append(_group(quick, prompts, sampling, contexts, keep, seeds))
            after(f"sampled: {len(groups[-1][1])} contexts at temperature {groups[-1][0].temperature:g}")
        live = [(sampling, used, found) for sampling, (used, found) in zip(samplings, groups, strict=True) if found]
        if not live:
            reason = f"no place was found where the model is unsure (entropy {LEAST_ENTROPY} nats, at any temperature)"
            return SampledAudit("inconclusive", reason, false_alarm, 0.0, 0, 1.0, (), {})
        plan = gtest.sizes(samples, _LOOKS)
        outcome = gtest.sequential(
            [found for _, _, found in live], plan, false_alarm, lambda total: after(f"sampled: {total} of {samples}")
        )
    finally:
        for proxy in proxies:
            proxy.close()
    results = [_result(outcome, at, asked, used, found) for at, (asked, used, found) in enumerate(live)]
    kinds: dict[str, int] = {kind: sum(result.kinds[kind] for result in results) for kind in KINDS}
    missing = [sampling.temperature for sampling, (_, found) in zip(samplings, groups, strict=True) if not found]
    verdict, reason = _judge(outcome, results, kinds, missing, drafts=engine.plan.drafter.name != "none")
    return SampledAudit(
        verdict, reason, false_alarm, outcome.alpha, outcome.looks, outcome.least_p, tuple(results), kinds
    )


def refuse(samplings: Sequence[Sampling], contexts: int, samples: int, keep: int, false_alarm: float) -> None:
    """Raise RequestError for settings that cannot be used."""
    if not samplings:
        raise RequestError("there is no temperature to sample at.", "Give at least one above 0.")
    if any(sampling.greedy for sampling in samplings):
        raise RequestError("temperature 0 cannot be sampled.", "Greedy decoding has an audit of its own; leave it out.")
    if not 0 < false_alarm < 1:
        raise RequestError(f"the false-alarm rate must be in (0, 1), not {false_alarm}.", "0.001 is usual.")
    if contexts < 1 or samples < 1 or keep < 2:
        raise RequestError("contexts and samples must be >= 1, and events to keep >= 2.")


def _group(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    sampling: Sampling,
    contexts: int,
    keep: int,
    seeds: Iterator[int],
) -> tuple[Sampling, list[ContextSource]]:
    """The sampling to use and a source for each context that was found."""

    def attempt(tokens: tuple[int, ...], used: Sampling) -> list[Drawn]:
        return [
            text
            for depth, most in _STRATA
            for text in continuations(
                engine, tokens, used, list(itertools.islice(seeds, _TRIES)), depth=depth, most=most
            )
        ]

    used, places = choose(engine, prompts, sampling, contexts, seeds, attempt, DEPTH + FREE)
    sources = []
    for place in places:
        law = events(engine.target, place.tokens, used, engine.text.eos, keep=keep, depth=DEPTH)
        sources.append(ContextSource(engine, place.tokens, used, law, seeds))
    return used, sources


def _result(
    outcome: Outcome, at: int, asked: Sampling, used: Sampling, sources: Sequence[ContextSource]
) -> TemperatureResult:
    pooled = outcome.pooled(at)
    kinds: Counter[Kind] = Counter()
    for source in sources:
        kinds += source.kinds
    strength = detectable = 0.0
    if pooled.freedom:
        shift = chisquare.noncentrality(pooled.samples, STATED)
        strength = chisquare.power(pooled.freedom, outcome.alpha, shift)
        detectable = chisquare.detectable(pooled.freedom, outcome.alpha, pooled.samples)
    return TemperatureResult(
        asked.temperature,
        used.temperature,
        len(sources),
        tuple(source.law.entropy for source in sources),
        pooled.samples,
        pooled.g,
        pooled.freedom,
        pooled.p,
        strength,
        detectable if pooled.freedom else 1.0,
        {kind: kinds[kind] for kind in KINDS},
    )


def _judge(
    outcome: Outcome,
    results: Sequence[TemperatureResult],
    kinds: dict[str, int],
    missing: Sequence[float],
    *,
    drafts: bool,
) -> tuple[Verdict, str]:
    if outcome.alarm is not None:
        at = results[outcome.alarm.group]
        return "not exact", (
            f"at temperature {at.used:g} what is written does not follow the model's law: "
            f"p = {outcome.alarm.p:.1e} after {outcome.alarm.samples} samples"
        )
    if missing:
        return "inconclusive", f"no context with enough entropy at temperature {missing[0]:g}"
    rare = [kind for kind in KINDS[:3] if kinds[kind] < LEAST_OF_A_KIND]
    if drafts and rare:
        counts = ", ".join(f"{kinds[kind]} {kind}" for kind in rare)
        return (
            "inconclusive",
            f"too few of the tested tokens were of every kind ({counts}; {LEAST_OF_A_KIND} are needed)",
        )
    worst = max(result.detectable for result in results)
    if worst >= POWERLESS:
        return "inconclusive", "too few samples to notice even a gross bias; draw more"
    return "exact", f"no deviation; a bias of {worst:.3f} (total variation) would have been noticed with 90 % certainty"
