"""What is promised, and whether it is still promised where something is run."""

from __future__ import annotations

import hashlib
from typing import Any

from laconic.bench.harm.sequence import passes
from laconic.config import PromiseTable
from laconic.engine import Engine
from laconic.errors import UnmetNeed
from laconic.models.base import ShowsHidden
from laconic.policy import registry
from laconic.types import Limits, Sampling

_DRAWN = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty",
          "presence_penalty", "frequency_penalty", "logit_bias")  # fmt: skip
_FILTERS = ("top_k", "top_p", "min_p")
_HARM = {"right-answers-lost": "lose their right answer", "answers-changed": "get another answer, or none"}


def circumstances(engine: Engine, sampling: Sampling, limits: Limits) -> dict[str, Any]:
    """What a promise depends on beside the thinking control, as fields of PromiseTable.

    Raises UnmetNeed for a model that has no fingerprint, e.g. one behind a server.
    """
    if not isinstance(engine.target, ShowsHidden):
        raise UnmetNeed(
            "this model cannot be told from others, so nothing can be promised for it.",
            "Use a model that laconic runs itself (CausalLM).",
        )
    return {
        "model": engine.target.fingerprint(),
        "dtype": str(getattr(engine.target, "dtype", "")).removeprefix("torch."),
        "device": str(getattr(engine.target, "device", "")).partition(":")[0],
        "prompt": _spoken(engine),
        **{name: getattr(sampling, name) for name in _DRAWN},
        "max_tokens": min(limits.max_new_tokens, engine.target.context),
    }


def _spoken(engine: Engine) -> str:
    """Sixteen hexadecimal digits of what the template, the system's words and the tokenizer make of a question."""
    prompt = engine.request("What is 2 + 3?").prompt
    form = engine.text.format
    return hashlib.sha256(repr((prompt, form.opens, form.closes)).encode()).hexdigest()[:16]


def differences(
    promise: PromiseTable, engine: Engine, sampling: Sampling, limits: Limits, *, thinking: bool = True
) -> list[str]:
    """Why ``promise`` does not hold for these requests, in words; none if it does."""
    found: list[str] = []
    mine = [controller.spec() for controller in engine.plan.controllers]
    if mine != [registry.build("think", spec).spec() for spec in promise.think]:
        found.append(f"thinking control is {_listed(mine)}, not {_listed(promise.think)}")
    if not thinking:
        found.append("thinking is switched off")
    if not engine.lossless:
        found.append("drafts may change what is written")
    try:
        here = circumstances(engine, sampling, limits)
    except UnmetNeed:
        return [*found, "the model is not one that can be told from others"]
    if here["model"] != promise.model:
        found.append("the model is another one")
    elif here["prompt"] != promise.prompt:
        found.append("the model is asked in other words (system, template or format)")
    found += [
        f"{name} is {_value(here[name])}, not {_value(getattr(promise, name))}"
        for name in ("dtype", "device", *_DRAWN)
        if here[name] != getattr(promise, name) and (name not in _FILTERS or not sampling.greedy)
    ]
    if not _as_long(promise, here["max_tokens"], limits):
        found.append(f"the limits of new tokens are not {promise.max_tokens} with the usual room for the answer")
    if limits.stop:
        found.append("stop strings may cut answers")
    if not passes(promise.harms, promise.n, promise.harm, promise.confidence):
        found.append(f"{promise.harms} harmed of {promise.n} do not allow it")
    return found


def _as_long(promise: PromiseTable, most: int, limits: Limits) -> bool:
    """Whether texts end where they ended: at the same limit, or at a higher one if none ran into that."""
    if promise.uncut and most >= promise.max_tokens:
        return limits.answer_room in (None, 0)
    return most == promise.max_tokens and limits.answer_room is None


def _listed(specs: Any) -> str:
    return " + ".join(specs) or "none"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def said(promise: PromiseTable, why_not: list[str]) -> str:
    """One line for people: the promise, or why there is none here."""
    if why_not:
        return f"promise: does not hold here, since {'; '.join(why_not)}"
    return (
        f"promise: with {100 * promise.confidence:g} % confidence, fewer than {100 * promise.harm:g} % of prompts like "
        f"the {promise.n} that were measured {_HARM[promise.kind]} ({promise.harms} did)"
    )


def told(promise: PromiseTable, why_not: list[str]) -> dict[str, Any]:
    """The same, ready for JSON."""
    return {"holds": not why_not, "differences": why_not, **promise.model_dump(mode="json")}
