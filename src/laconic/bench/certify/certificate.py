"""The certificate: three audits of one configuration, joined into a record that shows whether it was edited."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from laconic.bench.certify import greedy, rollback, sampled
from laconic.bench.certify.base import dtype_of, joined
from laconic.bench.certify.identity import identify
from laconic.bench.provenance import provenance
from laconic.engine import Engine, Prompt
from laconic.errors import RequestError
from laconic.types import Limits, Sampling

FORMAT = "laconic-certificate-1"


@dataclass(frozen=True, slots=True)
class Settings:
    """How thoroughly to certify. Raises RequestError for values that cannot be used."""

    samplings: tuple[Sampling, ...] = (Sampling(0.6), Sampling(1.0))
    max_new_tokens: int = 160
    references: int = 2
    batch: int = 4
    contexts: int = 4
    samples: int = 2048
    keep: int = 16
    false_alarm: float = 1e-3
    rounds: int = 24
    cached: int = 6
    """Prompts of the rollback audit."""
    seed: int = 0

    def __post_init__(self) -> None:
        sampled.refuse(self.samplings, self.contexts, self.samples, self.keep, self.false_alarm)
        if self.rounds < 1 or self.cached < 1:
            raise RequestError("the rollback audit needs at least one round and one prompt.")
        if self.references < 0:
            raise RequestError(f"the number of reference prompts must be >= 0, not {self.references}.")
        if self.batch < 1:
            raise RequestError(f"batch must be >= 1, not {self.batch}.")
        Limits(self.max_new_tokens)


def certify(
    engine: Engine,
    prompts: Sequence[Prompt],
    settings: Settings | None = None,
    *,
    model: str | None = None,
    draft: str | None = None,
    after: Callable[[str], object] = lambda done: None,
) -> dict[str, Any]:
    """Audit the engine's configuration on ``prompts`` (questions or chats) and return the certificate.

    ``model`` and ``draft`` name the checkpoints that the engine was loaded from, to be hashed. ``after`` is told
    what has just been done. Raises RequestError without prompts, or for one that cannot be served.
    """
    settings = settings or Settings()
    if not prompts:
        raise RequestError("there are no prompts to certify on.", "Give at least one.")
    tokens = [engine.request(prompt).prompt for prompt in prompts]
    one = greedy.audit(
        engine,
        tokens,
        limits=Limits(settings.max_new_tokens),
        references=settings.references,
        batch=settings.batch,
        after=after,
    )
    three = rollback.audit(
        engine,
        tokens[: settings.cached],
        samplings=(Sampling(), *settings.samplings),
        rounds=settings.rounds,
        seed=settings.seed,
        after=after,
    )
    two = sampled.audit(
        engine,
        tokens,
        samplings=settings.samplings,
        contexts=settings.contexts,
        samples=settings.samples,
        keep=settings.keep,
        false_alarm=settings.false_alarm,
        seed=settings.seed,
        after=after,
    )
    record = {
        "format": FORMAT,
        "verdict": joined([one.verdict, two.verdict, three.verdict]),
        "subject": _subject(engine, model, draft),
        "settings": asdict(settings) | {"prompts": len(tokens), "prompts_sha256": _digest([list(t) for t in tokens])},
        "greedy": asdict(one),
        "sampled": asdict(two),
        "rollback": asdict(three),
        "warnings": _warnings(engine, three.warnings),
        "provenance": provenance(),
    }
    return signed(record)


def _subject(engine: Engine, model: str | None, draft: str | None) -> dict[str, Any]:
    plan, dtype = engine.plan, dtype_of(engine.target)
    return {
        "model": identify(model) if model is not None else None,
        "draft": identify(draft) if draft is not None else None,
        "dtype": str(dtype).removeprefix("torch.") if dtype is not None else None,
        "drafter": plan.drafter.spec() or repr(plan.drafter),
        "length": plan.length.spec() or repr(plan.length),
        "shape": plan.shape.spec() or repr(plan.shape),
        "verifier": plan.verifier.spec() or repr(plan.verifier),
        "think": [controller.spec() for controller in plan.controllers],
        "probes": plan.probes,
        "claims_lossless": engine.lossless,
    }


def _warnings(engine: Engine, found: Sequence[str]) -> list[str]:
    said = list(found)
    if engine.plan.controllers:
        said.append(
            "thinking controllers change the output by design: greedy texts were compared under the same "
            "controllers, the sampled audit left them out"
        )
    if not engine.lossless:
        said.append("a method of this configuration does not claim to be lossless")
    return said


def signed(record: dict[str, Any]) -> dict[str, Any]:
    """The record in plain JSON values, with the SHA-256 of its canonical form as ``digest``."""
    plain = json.loads(json.dumps(_finite({k: v for k, v in record.items() if k != "digest"})))
    return {**plain, "digest": _digest(plain)}


def verify_digest(record: dict[str, Any]) -> bool:
    """Whether a certificate is as it was written. The digest tells edits; it is no proof of who wrote it."""
    try:
        return bool(record.get("digest") == _digest({k: v for k, v in record.items() if k != "digest"}))
    except (TypeError, ValueError):
        return False


def _digest(value: Any) -> str:
    """SHA-256 of the canonical JSON: keys sorted, no spaces, UTF-8, only finite numbers."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _finite(value: Any) -> Any:
    """JSON has no infinity; a statistic that is infinite (an impossible token) becomes the text "inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
