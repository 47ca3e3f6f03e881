"""What a pass, or a whole measured result, would take on named hardware.

A pass takes as long as the slower of two things, plus a fixed cost (the roofline of Williams, Waterman and Patterson,
2009): bringing the weights and the cache from memory, and multiplying.

    seconds = max(bytes / (bandwidth * share), operations / (compute * share)) + overhead

This is a prediction, not a measurement: kernels, servers and batches differ, and the shares below are assumptions that
one may set. Ratios between two configurations depend on them far less than the times do.
"""

from __future__ import annotations

from dataclasses import dataclass

from laconic.bench.cost.anatomy import Anatomy
from laconic.bench.cost.hardware import Hardware
from laconic.errors import RequestError
from laconic.types import Usage


@dataclass(frozen=True, slots=True)
class Knobs:
    """What is assumed of the program that would run there.

    ``bandwidth`` and ``compute`` are the shares of the peaks that it reaches (for hardware whose rates were measured,
    the whole of them); ``per_layer`` seconds a layer for starting kernels from a captured graph, ``per_pass`` for
    sampling and bookkeeping between passes. ``weight_bytes`` and ``cache_bytes`` are bytes a number: 2 for bf16. At
    one byte or less for weights, 8-bit arithmetic is used where there is such.
    """

    bandwidth: float = 0.75
    compute: float = 0.6
    per_layer: float = 5e-6
    per_pass: float = 3e-4
    weight_bytes: float = 2.0
    cache_bytes: float = 2.0

    def __post_init__(self) -> None:
        if not (0 < self.bandwidth <= 1 and 0 < self.compute <= 1):
            raise RequestError("shares of bandwidth and compute must be above 0 and at most 1.")
        if min(self.per_layer, self.per_pass) < 0 or min(self.weight_bytes, self.cache_bytes) <= 0:
            raise RequestError("costs must not be negative, and a number takes more than 0 bytes.")


DEFAULT = Knobs()


@dataclass(frozen=True, slots=True)
class PassTime:
    """A predicted pass, in seconds; ``fits`` is False where weights and cache exceed the memory of one device."""

    memory: float
    compute: float
    overhead: float
    fits: bool

    @property
    def seconds(self) -> float:
        """The whole pass."""
        return max(self.memory, self.compute) + self.overhead

    @property
    def bound(self) -> str:
        """What the pass waits for."""
        return "memory" if self.memory >= self.compute else "compute"


def pass_time(
    model: Anatomy, device: Hardware, tokens: float, context: float, requests: int = 1, knobs: Knobs = DEFAULT
) -> PassTime:
    """One pass over ``tokens`` tokens in total, ``requests`` requests having ``context`` committed tokens each."""
    if tokens < requests or requests < 1 or context < 0:
        raise RequestError(f"a pass of {tokens} tokens for {requests} requests after {context} tokens makes no sense.")
    layers = len(model.windows)
    read = requests * model.keys(context) + tokens * layers  # the new tokens' entries are written, and read
    moved = model.touched(tokens) * knobs.weight_bytes + read * model.cache_width * knobs.cache_bytes
    share = (1.0, 1.0) if device.reached else (knobs.bandwidth, knobs.compute)
    rate = device.fp8 if device.fp8 is not None and knobs.weight_bytes <= 1 else device.bf16
    return PassTime(
        moved / (device.bandwidth * share[0]),
        model.flops(tokens, context) / (rate * share[1]),
        layers * knobs.per_layer + knobs.per_pass,
        model.parameters * knobs.weight_bytes + read * model.cache_width * knobs.cache_bytes <= device.memory,
    )


def relative(model: Anatomy, device: Hardware, tokens: float, context: float, knobs: Knobs = DEFAULT) -> float:
    """Time of a pass in passes over a single token."""
    one = pass_time(model, device, 1, context, knobs=knobs).seconds
    return pass_time(model, device, tokens, context, knobs=knobs).seconds / one


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a measured result would take there, in seconds by phase; ``fits`` as in PassTime, both models together."""

    hardware: str
    prefill: float
    target: float
    draft: float
    generated: int
    fits: bool

    @property
    def seconds(self) -> float:
        """Everything together."""
        return self.prefill + self.target + self.draft

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens over all of it."""
        return self.generated / self.seconds if self.seconds else 0.0


def predict(
    usage: Usage,
    target: Anatomy,
    device: Hardware,
    *,
    draft: Anatomy | None = None,
    requests: int = 1,
    batch: int = 1,
    knobs: Knobs = DEFAULT,
) -> Prediction:
    """The time of a counted result there, passes for passes; ``usage`` may be the sum over ``requests`` requests.

    The passes that were counted are taken as they are, each with the mean number of tokens: one that is pending, and
    what was injected, drafted and probed. Contexts are means too: a prompt and half of what followed. Pass time is
    convex in its tokens, so passes of uneven size take a little longer than this. In a batch every request counts a
    shared pass, so ``batch`` requests of one size are put side by side. What drafts without a model is taken as free.
    Raises RequestError for draft passes without a draft model.
    """
    if requests < 1 or batch < 1:
        raise RequestError("a result has at least one request, and a batch too.")
    if usage.draft_passes and draft is None:
        raise RequestError("the result used a draft model.", "Name its config too.")
    context = (usage.prompt + usage.generated / 2) / requests
    scored = usage.target_passes + usage.injected + usage.drafted + usage.probed
    decode, fits = _passes(target, device, usage.target_passes, scored, context, batch, knobs)
    drafting, drafts_fit = 0.0, True
    prefill = _passes(target, device, usage.prefill_passes, usage.prompt, usage.prompt / requests / 2, 1, knobs)[0]
    if draft is not None and usage.draft_passes:
        proposed = max(usage.drafted, usage.draft_passes)
        drafting, drafts_fit = _passes(draft, device, usage.draft_passes, proposed, context, batch, knobs)
        prefill += _passes(draft, device, usage.prefill_passes, usage.prompt, usage.prompt / requests / 2, 1, knobs)[0]
        fits &= (target.parameters + draft.parameters) * knobs.weight_bytes <= device.memory
    return Prediction(device.name, prefill, decode, drafting, usage.generated, fits and drafts_fit)


def _passes(
    model: Anatomy, device: Hardware, passes: int, tokens: float, context: float, batch: int, knobs: Knobs
) -> tuple[float, bool]:
    """Seconds of ``passes`` equal passes that share ``tokens``, each done for ``batch`` requests at once."""
    if not passes:
        return 0.0, True
    one = pass_time(model, device, batch * max(tokens / passes, 1), context, batch, knobs)
    return passes / batch * one.seconds, one.fits
