"""``laconic inspect``: what a checkpoint is, and how laconic would run it, before anything is asked of it."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.errors import UnsupportedModel

from . import options

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.models.causal_lm import CausalLM

_TRIED = 48
"""Tokens written for the check of exactness."""
_TEXT = "Say the days of the week, twice, one a line: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday,"
"""What they follow: something that a drafter without a model will guess at."""


def inspect(
    model: Annotated[str, typer.Argument(help="A checkpoint's path or hub name, or 'bundled'.")],
    tokens: Annotated[int, typer.Option(min=1, help="Context for which memory is said, in tokens.")] = 8192,
    dtype: options.Dtype = None,
    device: options.Device = None,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, and nothing else.")] = False,
) -> None:
    """Say what a checkpoint is: architecture, how passes are made and why, memory, thinking tags, an exactness check.

    Ends with 0 where laconic runs the model, with 1 where it does not.
    """
    from laconic.engine import Engine

    from .show import drawing

    options.settle(threads, model)
    try:
        given: dict[str, Any] = {"dtype": options.named_dtype(dtype), "device": device or "auto"}
        given |= options.spoken(format, system, template)
        engine = Engine.load(model, **given, drafter="prompt-lookup", length="constant:6")
        told, drawn = inspection(engine, tokens), drawing(engine.defaults, engine.defaults.sampling)
    except UnsupportedModel as error:
        told = {"model_type": kind(model), "supported": False, "reason": error.message}
        drawn = ""
    typer.echo(jsonlib.dumps(told, indent=1) if json else "\n".join(lines(told, tokens, drawn)))
    if not told["supported"]:
        raise typer.Exit(1)


def inspection(engine: Engine, tokens: int) -> dict[str, Any]:
    """Everything that is known of a loaded model, ready for JSON. ``tokens`` is the context that memory is said for."""
    from typing import cast

    lm = cast("CausalLM", engine.target)
    held, a_token = _cache(lm)
    same = _drafts_change_nothing(engine)
    return {
        **lm.describe(),
        "supported": True,
        "exact": lm.exact and same,
        "checked": {"tokens": _TRIED, "same": same},
        "weights_bytes": sum(t.nbytes for t in lm.model.parameters()),
        "cache": {"tokens": tokens, "bytes": held + a_token * tokens, "bytes_a_token": a_token},
        "thinking": engine.text.thinking(),
        "thinking_unknown": engine.text.format.reason,
        "end_tokens": {engine.text.piece(token): token for token in sorted(engine.text.eos)},
        "sampling": engine.defaults.describe(lm.context),
        "drafters": _drafters(engine),
    }


def kind(model: str) -> str | None:
    """The model type that a checkpoint's configuration names."""
    from transformers import AutoConfig

    from laconic.models.load import resolve

    try:
        return str(AutoConfig.from_pretrained(resolve(model)).model_type)
    except (OSError, ValueError):
        return None


def _cache(lm: CausalLM) -> tuple[int, int]:
    """Bytes that a sequence takes whatever its length, and bytes for each of its tokens; measured."""
    from contextlib import closing

    sizes = []
    for length in (32, 96):
        with closing(lm.open()) as slot:
            lm.prefill(slot, [1] * length)
            sizes.append(slot.nbytes)
    a_token = max(sizes[1] - sizes[0], 0) // 64
    return max(sizes[0] - 32 * a_token, 0), a_token


def _drafts_change_nothing(engine: Engine) -> bool:
    """Whether a text drafted by lookup is the one that plain decoding writes, greedily."""
    from laconic.types import Limits, Request

    request = Request(tuple(engine.text.encode(_TEXT)), limits=Limits(_TRIED))
    drafted = engine.run([request])[0]
    return drafted.tokens == engine.using(drafter="none", length="constant").run([request])[0].tokens


def _drafters(engine: Engine) -> list[str]:
    """Registered drafters that can serve this model as it is."""
    from laconic.errors import MethodError
    from laconic.policy import registry

    found = []
    for family, name, _ in registry.all():
        if family == "drafter":
            try:
                engine.using(drafter=name, length="constant:4")
            except MethodError:
                continue
            found.append(name)
    return found


def lines(told: dict[str, Any], tokens: int, drawn: str) -> list[str]:
    """The same for a person."""
    if not told["supported"]:
        return [f"{told['model_type'] or 'model'}: not supported", told["reason"]]
    thinking, cache = told["thinking"], told["cache"]
    doubt = f" ({told['thinking_unknown']})" if told["thinking_unknown"] else ""
    tags = f"{thinking['open']!r} ... {thinking['close']!r}" if thinking else f"none, thinking is not controlled{doubt}"
    opened = f", opened by the {thinking['opened_by']}, off by {thinking['off']}" if thinking else ""
    check = "the same text drafted and undrafted" if told["checked"]["same"] else "drafting CHANGED the text"
    promise = "exact" if told["exact"] else "drafts and batches may decide between equally likely tokens"
    return [
        f"{told['model_type']}: supported, {told['parameters']:,} parameters, context {told['context']:,}",
        f"passes    {told['path']}, {told['dtype']} on {told['device']}",
        *(f"          not {note}" for note in told["notes"]),
        f"exactness {promise} ({check}, {told['checked']['tokens']} tokens)",
        f"memory    {told['weights_bytes'] / 2**20:,.0f} MiB of weights, "
        f"{cache['bytes'] / 2**20:,.1f} MiB of cache at {tokens:,} tokens",
        f"thinking  {tags}{opened}",
        f"ends with {', '.join(repr(token) for token in told['end_tokens'])}",
        f"sampling  {drawn.removeprefix('sampling: ')}",
        f"drafters  {', '.join(told['drafters'])}",
    ]
