"""Third audit: after drafts, refusals and rollbacks, the cache is that of a fresh prefill.

After every round, a few probe tokens are scored behind the live slot and behind a new one that was prefilled with
the same committed tokens. The probes are random, so that attention spreads over all the entries. Greedy and sampled
requests run in one batch each, whose rows move when one of them leaves half-way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from laconic.bench.certify.base import Verdict, dtype_of, tolerance
from laconic.bench.certify.proxies import Proxy
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.loop import Loop
from laconic.models.base import Forgets, LanguageModel, Slot, chain
from laconic.types import Request, Sampling

PROBES = 4
"""Probe tokens at each point."""


@dataclass(slots=True)
class CacheCheck:
    """Points compared in one model's cache. ``worst`` is the largest difference of two logits over its tolerance."""

    points: int = 0
    after_refusal: int = 0
    """Points right after a round that had refused drafted tokens."""
    broken: int = 0
    other_argmax: int = 0
    """Probe rows whose likeliest token differs by more than rounding."""
    worst: float = 0.0
    difference: float = 0.0
    """Largest difference of two logits."""
    first: str | None = None
    """Where it first broke."""


@dataclass(frozen=True, slots=True)
class RollbackAudit:
    """Both caches. A wrong draft cache costs acceptance, not exactness, and is a warning only."""

    verdict: Verdict
    reason: str
    target: CacheCheck
    draft: CacheCheck | None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Compare:
    """Compares slots of one model with fresh ones and keeps count."""

    model: LanguageModel
    seed: int
    check: CacheCheck = field(default_factory=CacheCheck)

    def __call__(self, slot: Slot, tokens: Sequence[int], where: str, *, refused: bool) -> None:
        """``slot`` should hold ``tokens`` and nothing else."""
        check = self.check
        rng = random.Random(self.seed * 1_000_003 + check.points)  # other probes at every point
        room = self.model.context - len(tokens)
        if room < 1 or not tokens:
            return
        probe = chain([rng.randrange(self.model.vocab_size) for _ in range(min(PROBES, room))])
        live = self.model.score([probe], [slot]).of(0).float().clone()
        fresh = self.model.open()
        try:
            if isinstance(self.model, Forgets) and (keeper := self.model.holds(slot)) is not None:
                again = keeper.fork()  # what a kv policy has left of the text is what it leaves of it now
                again.restart()
                self.model.hold(fresh, again)
            self.model.prefill(fresh, tokens)
            raw = self.model.score([probe], [fresh]).of(0)
            should, excused = raw.float(), tolerance(raw, dtype_of(self.model))
        finally:
            fresh.close()
        difference = float((live - should).abs().max())
        top, mine = should.max(-1), live.argmax(-1)
        lost = top.values - should.gather(-1, mine[:, None])[:, 0]
        check.points += 1
        check.after_refusal += refused
        check.other_argmax += int((lost > excused).sum())
        check.difference = max(check.difference, difference)
        check.worst = max(check.worst, difference / excused)
        if difference > excused or slot.length != len(tokens):
            check.broken += 1
            check.first = check.first or f"{where}: logits differ by {difference:.3g}, rounding excuses {excused:.3g}"


def audit(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    *,
    samplings: Sequence[Sampling] = (Sampling(), Sampling(1.0)),
    rounds: int = 24,
    seed: int = 0,
    after: Callable[[str], object] = lambda done: None,
) -> RollbackAudit:
    """Run the configuration, controllers included, for ``rounds`` passes under each sampling and compare after each.

    The draft model's cache is checked by what its slots were told to hold, for any drafter that uses the model that
    the engine lends it. Raises RequestError without prompts.
    """
    if not prompts:
        raise RequestError("there are no prompts to certify on.", "Give at least one.")
    target = _Compare(engine.target, seed)
    proxy = Proxy(engine.draft_model) if engine.draft_model is not None else None
    draft = _Compare(engine.draft_model, seed) if engine.draft_model is not None else None
    for sampling in samplings:
        loop = Loop(engine.target, engine.text, engine.plan, proxy)
        try:
            names = {}
            for i, prompt in enumerate(prompts):
                names[id(loop.add(Request(prompt, replace(sampling, seed=seed + i))))] = i + 1
            for turn in range(rounds):
                if turn == rounds // 2 and len(loop.active) > 1:
                    loop.cancel(loop.active[0])  # the last row of the cache moves into its place
                before = [(s, s.usage.drafted - s.usage.accepted) for s in loop.active]
                loop.step()
                refused = {id(s): s.usage.drafted - s.usage.accepted > old for s, old in before}
                for s in loop.active:
                    where = f"prompt {names[id(s)]}, round {turn + 1}, temperature {sampling.temperature:g}"
                    target(s.slot, s.tokens[: s.slot.length], where, refused=refused[id(s)])
                for slot in list(proxy.slots) if proxy and draft else ():
                    assert draft is not None
                    draft(slot.inner, slot.tokens, f"round {turn + 1}", refused=any(refused.values()))
        finally:
            for s in list(loop.active):
                loop.cancel(s)
        after(f"rollback: temperature {sampling.temperature:g}")
    return _judge(engine, target.check, draft.check if draft else None)


def _judge(engine: Engine, target: CacheCheck, draft: CacheCheck | None) -> RollbackAudit:
    warnings = []
    if draft is not None and draft.broken:
        warnings.append(
            f"the draft model's cache is wrong at {draft.broken} of {draft.points} points ({draft.first}): "
            "the output stays right, but fewer drafts are accepted than could be"
        )
    used = draft if draft is not None and draft.points else None
    if target.broken:
        reason = f"the cache differs from a fresh prefill at {target.broken} of {target.points} points ({target.first})"
        return RollbackAudit("not exact", reason, target, used, tuple(warnings))
    if not target.points:
        return RollbackAudit("inconclusive", "every request ended in its first round", target, used, tuple(warnings))
    if engine.plan.drafter.name != "none" and not target.after_refusal:
        return RollbackAudit("inconclusive", "no drafted token was refused", target, used, tuple(warnings))
    reason = f"all {target.points} points agree, {target.after_refusal} of them right after a refusal"
    return RollbackAudit("exact", reason, target, used, tuple(warnings))
