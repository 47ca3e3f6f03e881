"""What ``laconic simulate`` is given, put together: a recording, costs, the sizes of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laconic.bench.simulate import calibration, costs
from laconic.bench.simulate.calibrate import calibrate
from laconic.bench.simulate.host import NOTHING, HostCost
from laconic.bench.simulate.memory import Memory, Size
from laconic.bench.simulate.record import record
from laconic.bench.simulate.recording import Recording, read, write
from laconic.bench.simulate.run import PLAIN, policy
from laconic.engine import Engine
from laconic.errors import RequestError, did_you_mean

from . import options

_MEASURED = ("measured", "bundled")
_CALIBRATION_TEXTS = 16


def specs(text: str) -> tuple[str, ...]:
    """A comma list of policies; a piece ``knob=value`` belongs to the spec before it. Raises MethodError subclasses.

    >>> specs("none,svip:threshold=0.5,maximum=32,constant:4")
    ('none', 'svip:threshold=0.5,maximum=32', 'constant:4')
    """
    found: list[str] = []
    for piece in (piece.strip() for piece in text.split(",")):
        if found and "=" in piece and ":" not in piece.partition("=")[0]:
            found[-1] += f",{piece}"
        elif piece:
            found.append(piece)
    if not found:
        raise RequestError("--policies names none.", "E.g. --policies none,constant:4,marginal.")
    for spec in found:
        policy(spec)
    return tuple(dict.fromkeys(found))


def factors(text: str) -> tuple[float, ...]:
    """A comma list of numbers. Raises RequestError."""
    try:
        found = tuple(float(piece) for piece in text.split(",") if piece.strip())
    except ValueError:
        found = ()
    if not found:
        raise RequestError(f"--speedup '{text}' is no list of numbers.", "E.g. --speedup 1,10,100.")
    return found


@dataclass(slots=True)
class Parts:
    """What was said on the command line; ``prepare`` fills in the rest."""

    source: Path | None
    into: Path | None
    tasks: str | None
    texts: int
    model: str | None
    draft_model: str | None
    dtype: str | None
    max_tokens: int
    seed: int
    cost: str
    draft_cost: str | None
    own: str | None
    fresh: bool
    threads: int | None
    spoken: dict[str, Any]
    recording: Recording = field(init=False)
    target: costs.PassCost = field(init=False)
    draft: costs.PassCost | None = field(init=False, default=None)
    host: HostCost = NOTHING
    recorded: bool = False
    _engine: Engine | None = None

    def prepare(self, policies: Sequence[str], say: Callable[[str], Any]) -> None:
        """Read or make the recording, find or measure the costs. Raises LaconicError subclasses."""
        self._check(policies)
        if self.source is not None:
            self.recording = read(self.source)
            header = self.recording.header
            self.model, self.draft_model = (
                self.model or header.get("model"),
                self.draft_model or header.get("draft_model"),
            )
            self.dtype = self.dtype or header.get("dtype")
        if self.source is None:
            self._record(say)
        self.target = self._cost(self.cost, say, draft=False)
        if self.draft_cost is not None:
            self.draft = self._cost(self.draft_cost, say, draft=True)
        if self.own == "measured":
            self.host = self._calibrated(say).host

    def _check(self, policies: Sequence[str]) -> None:
        """Fill in what was not said; refuse what cannot be done before any work. Raises RequestError."""
        measured = self.cost in _MEASURED
        if self.source is not None and self.into is not None:
            raise RequestError("--recording reads a recording and --record makes one.", "Give one of them.")
        self.own = self.own or ("measured" if measured else "none")
        if self.own not in ("measured", "none"):
            raise RequestError(f"--host '{self.own}' is not known.", did_you_mean(self.own, ("measured", "none")))
        if self.draft_cost is None and measured:
            self.draft_cost = "measured"
        if self.draft_cost is None and any(spec != PLAIN for spec in policies):
            raise RequestError(
                "drafts need the cost of a draft model's passes.",
                "Give --draft-cost roofline:HARDWARE:CONFIG, or a file of laconic cost --json.",
            )

    def _cost(self, spec: str, say: Callable[[str], Any], *, draft: bool) -> costs.PassCost:
        if spec.startswith("roofline:"):
            return costs.of_roofline(spec.removeprefix("roofline:"))
        if spec not in _MEASURED:
            return costs.of_file(spec)
        found = self._calibrated(say)
        made = found.draft if draft else found.target
        assert made is not None
        return made

    def engine(self) -> Engine:
        """The models, loaded on first use."""
        if self._engine is None:
            model = self.model or "bundled"
            draft = self.draft_model or ("bundled-draft" if model == "bundled" else None)
            if draft is None:
                raise RequestError("drafts need a draft model.", "Name one with --draft-model.")
            options.settle(self.threads, model)
            self._engine = Engine.load(
                model, draft=draft, dtype=options.named_dtype(self.dtype), drafter="none", **self.spoken
            )
            self.model, self.draft_model = model, draft
        return self._engine

    def _record(self, say: Callable[[str], Any]) -> None:
        from laconic.bench.tasks import draw, load
        from laconic.types import Limits

        items = draw(load(self.tasks), self.texts, self.seed)
        engine = self.engine()
        say(f"recording {len(items)} texts")
        requests = [engine.request(item.question, limits=Limits(self.max_tokens, answer_room=0)) for item in items]
        header = {"model": self.model, "draft_model": self.draft_model, "dtype": self.dtype, "tasks": self.tasks}
        self.recording = record(
            engine, requests, header=header, after=lambda done: say(f"recorded {done} of {len(items)} texts")
        )
        if self.into is not None:
            write(self.recording, self.into)
            self.recorded = True
        if self.recording.header["interrupted"]:
            raise KeyboardInterrupt

    def _calibrated(self, say: Callable[[str], Any]) -> calibration.Calibration:
        engine = self.engine()
        requests = [engine.request(f"What is {37 + i} * {48 - i} + {i}?") for i in range(_CALIBRATION_TEXTS)]

        def make() -> calibration.Calibration:
            return calibrate(engine, requests, after=lambda text: say(f"measuring rounds: {text}"))

        found = calibration.kept(engine, make, fresh=self.fresh, say=say)
        self.fresh = False
        return found

    @property
    def ties(self) -> bool:
        """Whether passes that decide ties count: where the measured engine makes them, not under 16-bit rooflines."""
        return not self.cost.startswith("roofline:")

    def memory(self) -> Memory:
        """The models' sizes: from the rooflines' configs, or from the models themselves."""
        return Memory(self._size(self.target, draft=False), self._size(self.draft, draft=True) if self.draft else None)

    def _size(self, cost: costs.PassCost, *, draft: bool) -> Size:
        from laconic.bench.cost import Anatomy

        if isinstance(cost, costs.Roofline):
            knobs, anatomy = cost.knobs, cost.anatomy
            return Size.of(anatomy, cost.vocab_size, weight_bytes=knobs.weight_bytes, cache_bytes=knobs.cache_bytes)
        engine = self.engine()
        model: Any = engine.draft_model if draft else engine.target
        size = model.model.dtype.itemsize
        anatomy = Anatomy.of(model.model.config)
        return Size.of(anatomy, model.vocab_size, weight_bytes=size, cache_bytes=size, logit_bytes=size)

    def about(self) -> dict[str, Any]:
        """For the record's setup."""
        return {"model": self.model, "draft_model": self.draft_model, "dtype": self.dtype, "cost": self.cost,
                "draft_cost": self.draft_cost or "none", "own_work": self.own}  # fmt: skip
