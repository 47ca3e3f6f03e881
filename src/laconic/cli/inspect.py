"""``laconic inspect``: what a checkpoint is, and how laconic would run it, before anything is asked of it."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.errors import LaconicError, UnsupportedModel

from . import options

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.models.causal_lm import CausalLM

_TRIED = 48
"""Tokens written for the check of exactness, at most."""
_TEXT = "Say the days of the week, twice, one a line: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday,"
"""What they follow: something that a drafter without a model will guess at."""
_SAYS = {
    "given": "it was said (--format)",
    "response_template": "the checkpoint's response template says",
    "rendered": "the chat template writes",
    "table": "a table of known tags says",
}
"""Who says how a model thinks, by the source of its format."""


def inspect(
    model: Annotated[str, typer.Argument(help=f"{options.MODELS}.")],
    tokens: Annotated[
        int, typer.Option(min=1, help="Context for which memory is said, in tokens; at most the model's own.")
    ] = 8192,
    dtype: options.Dtype = None,
    device: options.Device = None,
    weights: options.Weights = "decoded",
    lora_scale: options.LoraScale = None,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, and nothing else.")] = False,
) -> None:
    """Say what a checkpoint is: architecture, how passes are made and why, memory, thinking tags, an exactness check.

    Ends with 0 where laconic runs the model, with 1 where it does not support it, and with 2 where it could not be
    loaded.
    """
    from laconic.engine import Engine

    from .show import drawing

    options.settle(threads, model)
    drawn = ""
    try:
        given: dict[str, Any] = {"dtype": options.named_dtype(dtype), "device": "auto" if device is None else device}
        given |= options.spoken(format, system, template)
        given |= {"weights": weights, "lora_scale": lora_scale}
        # So that what needs a draft model is listed where run brings one.
        given["draft"] = "bundled-draft" if model == "bundled" else None
        engine = Engine.load(model, **given, drafter="prompt-lookup", length="constant:6")
        told = inspection(engine, tokens) | {"adapter": _adapter(model)}
        drawn = drawing(engine.defaults, engine.defaults.sampling)
    except UnsupportedModel as error:
        told = {"model_type": kind(model), "supported": False, "reason": error.message}
    except LaconicError as error:
        if json:
            typer.echo(jsonlib.dumps({"supported": False, "error": error.message, "hint": error.hint}, indent=1))
        raise
    typer.echo(jsonlib.dumps(told, indent=1) if json else "\n".join(lines(told, drawn)))
    if not told["supported"]:
        raise typer.Exit(1)


def inspection(engine: Engine, tokens: int) -> dict[str, Any]:
    """Everything that is known of a loaded model, ready for JSON. ``tokens`` is the context that memory is said for."""
    from typing import cast

    lm = cast("CausalLM", engine.target)
    tokens = min(tokens, lm.context)
    held, a_token = _cache(lm)
    checked = _checked(engine)
    return {
        **lm.describe(),
        "supported": True,
        "exact": lm.exact and checked["same"],
        "checked": checked,
        "cache": {"tokens": tokens, "bytes": held + a_token * tokens, "bytes_a_token": a_token},
        "thinking": engine.text.thinking(),
        "thinking_unknown": engine.text.format.reason,
        "end_tokens": {engine.text.piece(token): token for token in sorted(engine.text.eos)},
        "sampling": engine.defaults.describe(lm.context),
        "drafters": _drafters(engine),
    }


def kind(model: str) -> str | None:
    """The model type that a checkpoint's configuration names; None where it cannot be read."""
    from transformers import AutoConfig

    from laconic.models.adapters import adapted
    from laconic.models.damage import readable
    from laconic.models.load import resolve
    from laconic.models.loading import source

    try:
        place = resolve(model)
        with readable("configuration", place):
            return str(AutoConfig.from_pretrained(**source(adapted(place) or place)).model_type)
    except LaconicError:
        return None


def _adapter(model: str) -> dict[str, Any] | None:
    """What an adapter adapts, and that it runs merged into it; None for what is no adapter."""
    from laconic.models.adapters import adapted
    from laconic.models.load import resolve

    base = adapted(resolve(model))
    return None if base is None else {"base": base, "merged": True}


def _cache(lm: CausalLM) -> tuple[int, int]:
    """Bytes that a sequence takes whatever its length, and bytes for each of its tokens; measured."""
    from contextlib import closing

    lengths = max(min(32, lm.context // 3), 1), max(min(96, lm.context), 2)
    sizes = []
    for length in lengths:
        with closing(lm.open()) as slot:
            lm.prefill(slot, [1] * length)
            sizes.append(slot.nbytes)
    a_token = max(sizes[1] - sizes[0], 0) // (lengths[1] - lengths[0])
    return max(sizes[0] - lengths[0] * a_token, 0), a_token


def _checked(engine: Engine) -> dict[str, Any]:
    """Whether a text drafted by lookup is the one that plain decoding writes, greedily, and how long it is.

    Prompt and text are cut to fit into a short context.
    """
    from laconic.types import Limits, Request

    written = min(_TRIED, engine.target.context // 2)
    prompt = engine.text.encode(_TEXT)[: engine.target.context - written]
    request = Request(tuple(prompt), limits=Limits(written))
    drafted = engine.run([request])[0]
    plain = engine.using(drafter="none", length="constant").run([request])[0]
    return {"tokens": len(drafted.tokens), "same": drafted.tokens == plain.tokens}


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


def lines(told: dict[str, Any], drawn: str) -> list[str]:
    """The same for a person."""
    if not told["supported"]:
        return [f"{told['model_type'] or 'model'}: not supported", told["reason"]]
    cache, adapter, limit = told["cache"], told["adapter"], told["sampling"]["max_new_tokens"]
    strength = f" at {told['lora_scale']:g} of its strength" if "lora_scale" in told else ""
    check = "the same text drafted and undrafted" if told["checked"]["same"] else "drafting CHANGED the text"
    equal = "experts" if told["routed"] and told["dtype"] == "float32" else "tokens"
    promise = "exact" if told["exact"] else f"drafts and batches may decide between equally likely {equal}"
    kept = ", kept coded" if told["weights"] == "coded" else ""
    whole = ", its whole context" if cache["tokens"] == told["context"] else ""
    return [
        f"{told['model_type']}: supported, {told['parameters']:,} parameters, context {told['context']:,}",
        *([f"adapter   merged into its base{strength}, {adapter['base']}"] if adapter else []),
        f"passes    {told['path']}, {told['dtype']} on {told['device']}",
        *(f"          not {note}" for note in told["notes"]),
        f"exactness {promise} ({check}, {told['checked']['tokens']} tokens)",
        f"memory    {told['weights_bytes'] / 2**20:,.0f} MiB of weights{kept}, "
        f"{cache['bytes'] / 2**20:,.1f} MiB of cache at {cache['tokens']:,} tokens{whole}",
        *_thinking(told["thinking"], told["thinking_unknown"]),
        f"ends with {', '.join(repr(token) for token in told['end_tokens'])}",
        f"sampling  {drawn.removeprefix('sampling: ')}",
        f"limit     {limit:,} new tokens" + (", its whole context" if limit == told["context"] else ""),
        f"drafters  {', '.join(told['drafters'])}",
    ]


def _thinking(thinking: dict[str, Any] | None, unknown: str) -> list[str]:
    """How the model marks its thought, who says so, and what can be asked of it."""
    if thinking is None:
        return [f"thinking  none, thinking is not controlled{f' ({unknown})' if unknown else ''}"]
    opener = f"opened by the {thinking['opened_by']}" if thinking["opened_by"] else "opened only when asked to"
    found = [
        f"thinking  {thinking['open']!r} ... {thinking['close']!r}, {opener}, off by {thinking['off']}",
        f"          so {_SAYS[thinking['source']]}",
    ]
    if thinking["bridge"]:
        found.append(f"          between thought and answer {thinking['bridge']!r}")
    if thinking["effort"]:
        found.append(f"          levels of effort: {', '.join(thinking['effort'])}")
    return found
