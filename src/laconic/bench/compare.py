"""Plain decoding and a configuration of laconic on the same problems: variants, order, record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch

from laconic.bench import record as numbers
from laconic.bench.cost import Hardware, predicted
from laconic.bench.measure import EngineVariant, Measured, Trial, Variant, measure
from laconic.bench.oracle import bounds
from laconic.bench.peers.hf import Checkpoint, TransformersGenerate
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.engine import Engine, Methods
from laconic.errors import MethodError, RequestError
from laconic.models.causal_lm import CausalLM
from laconic.models.devices import AUTO
from laconic.types import Limits, Request, Sampling

LABELS = {
    "transformers": "transformers generate",
    "baseline": "plain decoding",
    "speculation": "speculation alone",
    "control": "control alone",
    "laconic": "laconic",
}
PLAIN: dict[str, Any] = {"drafter": "none", "length": "constant", "shape": "chain", "verifier": "match"}
"""Fields of Methods that make plain decoding of any configuration; its controllers are another matter."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is compared, apart from the problems.

    ``peer`` adds ``transformers`` generate (batch 1 only); ``oracle`` adds, after the measuring, what a clairvoyant
    would have saved. ``dtype`` is that of the weights, the peer's too; None is what suits model and device, which are
    those of Engine.load. ``hardware`` is where the counted passes are predicted to take how long.
    """

    methods: Methods
    model: str = "bundled"
    draft: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    batch: int = 1
    peer: bool = True
    oracle: bool = True
    dtype: torch.dtype | None = None
    device: str = AUTO
    hardware: tuple[Hardware, ...] = ()
    spoken: Mapping[str, Any] = field(default_factory=dict)
    """How the model is spoken to: ``format``, ``system``, ``keywords``, as Engine.load takes them."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Models loaded and variants made, ready to :meth:`run`. Build it with :func:`prepare`."""

    setup: Setup
    engine: Engine
    variants: list[Variant]
    exact: list[tuple[str, str]]
    """Pairs of variants that must write the same tokens under greedy decoding."""

    def run(self, items: Sequence[Item], after: Callable[[list[Trial], int], Any] = lambda *_: None) -> dict[str, Any]:
        """Measure and return the record. Raises TaskError if no problem was answered by every variant."""
        measured = measure(self.variants, items, self.request, batch=self.setup.batch, after=after)
        measured.require()
        return self._record(measured)

    def request(self, question: str) -> Request:
        """A question as every variant is asked it."""
        return self.engine.request(question, sampling=self.setup.sampling, limits=self.setup.limits)

    def _oracle(self, trials: Sequence[Trial], alone: str | None) -> dict[str, Any]:
        """Bounds of both lengths, and how much of them was reached; None where a bound does not apply."""
        setup = self.setup
        found: dict[str, Any] = {"thought": None, "length": None}
        if self.engine.plan.controllers:
            found["thought"] = bounds.thought(self.engine, trials, self.request, "laconic", "baseline")
        if alone is not None and setup.sampling.greedy and setup.batch == 1:
            found["length"] = bounds.length(self.engine, trials, self.request, alone, "baseline")
        return found

    def _predicted(self, trials: Sequence[Trial], names: Sequence[str]) -> dict[str, Any] | None:
        """What the passes of our own variants would take on named hardware; None where none is named."""
        if not self.setup.hardware:
            return None
        configs = [getattr(model, "config", None) for model in (self.engine.target, self.engine.draft_model)]
        usages = {name: numbers.total(trials, name) for name in names if name != "transformers"}
        return predicted(usages, len(trials), self.setup.batch, configs[0], configs[1], self.setup.hardware)

    def _record(self, measured: Measured) -> dict[str, Any]:
        trials, setup = measured.trials, self.setup
        names = [variant.name for variant in self.variants]
        blocks = {name: numbers.summary(trials, name) for name in names}
        alone = next((pair[0] for pair in self.exact if pair[1] == "baseline"), None)
        sameness = numbers.all_identical(trials, self.exact)
        # Draws are tied to positions, so that many lossless methods give plain decoding's very samples.
        holds = setup.sampling.greedy or sameness["identical"] == len(trials)
        compared = "transformers" in names and setup.sampling.greedy
        others = [name for name in names if name != "laconic"]
        by_kind = {
            kind: {name: numbers.summary([t for t in trials if t.item.kind == kind], name) for name in names}
            for kind in dict.fromkeys(trial.item.kind for trial in trials)
        }
        return {
            "format": "laconic-compare-1",
            "baseline": blocks["baseline"],
            "laconic": blocks["laconic"],
            "ratio": numbers.ratio(trials, "laconic", "baseline"),
            "exact": sameness if holds else None,
            "sampled": None if holds else sameness | {"note": _SAMPLED},
            "transformers": blocks.get("transformers"),
            "speculation": blocks[alone] if alone else None,
            "control": blocks.get("control"),
            "ratios": {name: numbers.ratio(trials, "laconic", name) for name in others},
            "paired": numbers.paired(trials, "laconic", "baseline"),
            "agreement": numbers.identical(trials, "transformers", "baseline") if compared else None,
            "oracle": self._oracle(trials, alone) if setup.oracle and not measured.interrupted else None,
            "predicted": self._predicted(trials, names),
            "overhead": numbers.overhead(trials, "laconic"),
            "learned": {
                variant.name: reports
                for variant in self.variants
                if isinstance(variant, EngineVariant) and (reports := variant.reports())
            },
            "by_kind": by_kind,
            "example": numbers.example(trials, "laconic", "baseline"),
            "items": numbers.rows(trials, names),
            "failures": [asdict(failure) for failure in measured.failures],
            "interrupted": measured.interrupted,
            "setup": self.described(names),
            "provenance": provenance(),
        }

    def described(self, names: Sequence[str]) -> dict[str, Any]:
        """The configuration, ready for JSON."""
        plan, setup = self.engine.plan, self.setup
        return {
            "model": setup.model,
            "draft": setup.draft or ("bundled" if self.engine.draft_model is not None else None),
            "drafter": plan.drafter.spec(),
            "length": plan.length.spec(),
            "shape": plan.shape.spec(),
            "verifier": plan.verifier.spec(),
            "think": [controller.spec() for controller in plan.controllers],
            "probes": plan.probes,
            "lossless": self.engine.lossless,
            "sampling": asdict(setup.sampling),
            "dtype": str(setup.dtype).removeprefix("torch."),
            "device": setup.device,
            "max_new_tokens": setup.limits.max_new_tokens,
            "batch": setup.batch,
            "variants": {name: LABELS[name] for name in names},
        }


_SAMPLED = (
    "Sampled outputs of lossless methods have the same distribution as plain decoding, not the same tokens; "
    "the count of identical ones says nothing about quality."
)


def prepare(setup: Setup) -> Bench:
    """Load what a comparison needs. Raises RequestError, ModelError or MethodError before any work.

    Variants: ``baseline`` (our loop, no draft, no control), ``speculation`` (the chosen drafter without control),
    ``control`` (the chosen control without draft, each probe in its own pass), ``laconic`` (all of it) and the
    peer. Those that would repeat another are left out.
    """
    if setup.batch < 1:
        raise RequestError(f"batch must be >= 1, not {setup.batch}.")
    plan = setup.methods.plan()
    drafts, controls = plan.drafter.name != "none", bool(plan.controllers)
    if not drafts and not controls:
        raise MethodError("this configuration is plain decoding itself.", "Choose a --drafter or an --exit.")
    given: dict[str, Any] = {"draft": setup.draft, "dtype": setup.dtype, "device": setup.device, **setup.spoken}
    engine = Engine.load(setup.model, **given, **setup.methods.fields())
    lm = cast(CausalLM, engine.target)
    setup = replace(setup, dtype=lm.dtype, device=str(lm.device))  # peers get the same
    engines = {"baseline": engine.using(**PLAIN, think=())}
    exact: list[tuple[str, str]] = []
    if drafts and controls:
        engines["speculation"] = engine.using(think=())
    if controls:
        engines["control"] = engine.using(**PLAIN, probes="separate")
        exact.append(("laconic", "control"))
    if drafts:
        exact.insert(0, ("speculation" if controls else "laconic", "baseline"))
    engines["laconic"] = engine
    variants: list[Variant] = [EngineVariant(name, made) for name, made in engines.items()]
    if setup.peer and setup.batch == 1:
        checkpoint = Checkpoint(setup.model, lm.dtype, lm.device)
        variants.insert(0, TransformersGenerate(checkpoint, engine.text, lm.context))
    return Bench(setup, engine, variants, exact)
