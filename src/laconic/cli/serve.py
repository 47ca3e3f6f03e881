"""``laconic serve``: an OpenAI-compatible server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.serve.backend import Backend
    from laconic.serve.within import Within
    from laconic.thinking.base import Controller

KEYS = "LACONIC_SERVE_KEYS"
"""Environment variable with the keys that clients may use, parted by commas."""
_PLACE = "Server"
_LOAD = "Load"
_HARM = "What ending thoughts costs"
_GIB = 1 << 30


def serve(
    model: options.AnyModel = None,
    draft_model: options.Draft = None,
    config: options.ConfigFile = None,
    drafter: options.Drafter = None,
    length: options.Length = None,
    shape: options.Shape = None,
    verify: options.Verify = None,
    think: options.Think = None,
    exit_spec: options.Exit = None,
    budget: options.Budget = None,
    kv: options.KV = None,
    kv_budget: options.KVBudget = None,
    efforts: Annotated[
        Path | None,
        typer.Option(
            "--efforts",
            help="File of laconic fit effort: reasoning_effort then means budgets learned from this model's thoughts.",
            rich_help_panel="Methods",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to bind; keys are needed beyond this machine.",
                                      rich_help_panel=_PLACE)] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.", rich_help_panel=_PLACE)] = 8000,
    name: Annotated[
        str | None, typer.Option("--served-model-name", help="The model's name to clients.", rich_help_panel=_PLACE)
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(help=f"Keys of clients, one a line; else those in {KEYS}.", rich_help_panel=_PLACE),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name under which clients reach the server; may be repeated.",
                     rich_help_panel=_PLACE),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may ask, e.g. https://chat.example.org; may be repeated.",
                     rich_help_panel=_PLACE),
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds for requests under way when told to end.", rich_help_panel=_PLACE)
    ] = 30.0,
    batch: Annotated[int, typer.Option(min=1, help="Requests that run at once.", rich_help_panel=_LOAD)] = 16,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait.", rich_help_panel=_LOAD)] = 256,
    memory: Annotated[
        float | None,
        typer.Option(min=0, help="GiB for the cache. Default: half of what is free.", rich_help_panel=_LOAD),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option("--prefix-reuse/--no-prefix-reuse", help="Read prompts that begin alike once, for each key apart.",
                     rich_help_panel=_LOAD),
    ] = True,
    max_prompt: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a prompt at most.", rich_help_panel=_LOAD)
    ] = None,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Decide about thoughts and record it, and act on nothing.",
                     rich_help_panel=_HARM),
    ] = False,
    audit: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of requests whose thoughts go on to their end, to learn what ending "
                     "them costs.", rich_help_panel=_HARM),
    ] = 0.0,
    harm: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of changed answers above which thoughts are ended no more.",
                     rich_help_panel=_HARM),
    ] = 0.05,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    weights: options.Weights = "decoded",
    upstream: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible server, e.g. http://127.0.0.1:8001/v1, that runs the model; laconic "
                     "decides about its thoughts. LACONIC_API_KEY holds its key."),
    ] = None,
    tokenizer: options.Tokenizer = None,
    server: options.Server = None,
    engine: Annotated[
        str, typer.Option(help="Who runs the model here: own, or vllm (its engine in this process).")
    ] = "own",
    vllm: Annotated[
        list[str] | None,
        typer.Option("--vllm", metavar="KEY=VALUE", help="With --engine vllm: a field of vLLM's AsyncEngineArgs, e.g. "
                     "max_model_len=8192; may be given several times."),
    ] = None,
) -> None:  # fmt: skip
    """Serve a model to OpenAI clients: it thinks less, and answers always."""
    from laconic.errors import MissingExtra, RequestError

    try:
        from laconic.serve.server import log_to_stderr
        from laconic.serve.server import serve as run
    except ImportError as error:
        if (error.name or "").startswith("laconic"):
            raise
        raise MissingExtra(error.name or "fastapi", "serve") from error
    from laconic.serve.settings import Bounds, Settings

    keys = _keys(api_key_file)
    if harm > 0.05 and not (audit or shadow):
        raise RequestError("--harm is a limit for --audit.", "Say what share of requests to watch: --audit 0.02.")
    choice = options.Choice(drafter, length, shape, verify, think, exit_spec, budget, kv, kv_budget)
    spoken = options.spoken(format, system, template)
    shown = name or Path(model or "bundled").name
    settings = Settings(
        host, port, keys, tuple(allowed_host or ()), tuple(cors_origin or ()), shown, shadow, audit, harm, drain,
        Bounds(prompt=max_prompt),
    )  # fmt: skip
    log_to_stderr()
    backend: Backend
    levels: dict[str, tuple[Controller, ...]]
    if engine not in ("own", "vllm"):
        raise RequestError(f"no engine is called '{engine}'.", "own or vllm; other servers are named by --upstream.")
    if vllm and engine != "vllm":
        raise RequestError("--vllm is for vLLM's engine.", "Say --engine vllm.")
    if weights != "decoded" and (upstream is not None or engine == "vllm"):
        raise RequestError("--weights is for a model that laconic's own engine runs.", "Leave out --weights.")
    if upstream is not None:
        if engine != "own":
            raise RequestError("the model runs either behind --upstream or in --engine vllm.")
        from laconic.serve.behind import Behind

        from .remote import connect

        local = {"draft_model": draft_model, "dtype": dtype, "device": device, "threads": threads}
        remote = connect(
            upstream, model, tokenizer, choice, config, server=server or (), thinking=True, spoken=spoken, **local
        )
        backend = Behind(remote, places=batch, queue=queue)
        levels = _levels(efforts, remote)
    elif engine == "vllm":
        backend = _within(model, choice, config, vllm or (), spoken, batch, queue)
        levels = _levels(efforts, backend.engine)
    else:
        if tokenizer is not None or server:
            option = "--server" if server else "--tokenizer"
            raise RequestError(f"{option} is for a model behind a server.", "Name the server with --upstream.")
        from laconic.engine import Engine
        from laconic.serve.own import Own

        chosen = options.choose(choice, config, model, draft_model, dtype, device, spoken=spoken)
        options.settle(threads, chosen.model)
        given = {"draft": chosen.draft, "dtype": chosen.dtype, "device": chosen.device, **spoken}
        mine = Engine.load(chosen.model, **given, weights=weights, **chosen.methods.fields())
        whole = None if memory is None else int(memory * _GIB)
        backend = Own(mine, places=batch, queue=queue, memory=whole, reuse=reuse)
        levels = _levels(efforts, mine)
    typer.echo(_about(backend))
    if backend.name == "own":
        from .promise import kept

        defaults = backend.defaults
        promise = kept(config, mine, defaults.sampling, defaults.limits, thinking=True, whole=True)
        if promise is not None:
            typer.echo(f"{promise.line} It is about requests that change neither sampling nor methods.")
    run(backend, settings, levels, ready=lambda url: typer.echo(f"ready: {url}/v1 (page: {url}/)"))


def _within(
    model: str | None,
    choice: options.Choice,
    config: Path | None,
    args: list[str] | tuple[str, ...],
    spoken: dict[str, Any],
    places: int,
    queue: int,
) -> Within:
    """vLLM's engine for a model. Raises RequestError for drafting, which is vLLM's business."""
    from laconic.config import Config, load
    from laconic.errors import RequestError
    from laconic.serve.within import Within

    from .defaults import DEFAULT

    for name in ("drafter", "length", "shape", "verifier", "kv", "kv_budget"):
        if getattr(choice, name) is not None:
            raise RequestError(f"the {name} cannot be chosen for vLLM.", "Say --vllm speculative_config={...}.")
    if model is None:
        raise RequestError("vLLM needs a model.", "Name one with --model.")
    file = load(config) if config is not None else Config()
    think = choice.controllers(DEFAULT.think if file.methods.think is None else file.methods.think)
    try:
        given = dict(options.keyword(pair) for pair in args)
    except ValueError as error:
        raise RequestError(f"'{error}' is no field of vLLM's.", "Say --vllm KEY=VALUE.") from error
    return Within.prepared(model, tuple(think), given, places=places, queue=queue, **spoken)


def _keys(file: Path | None) -> tuple[str, ...]:
    """Keys from a file, else from the environment. Raises RequestError."""
    from laconic.errors import RequestError

    if file is None:
        return tuple(key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip())
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read '{file}': {error}.") from error
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise RequestError(f"'{file}' holds no key.", "One a line.")
    return keys


def _levels(file: Path | None, engine: Engine) -> dict[str, tuple[Controller, ...]]:
    """Controllers by level of effort, from a file of ``laconic fit effort``."""
    if file is None:
        return {}
    from typing import cast

    from laconic.policy import registry
    from laconic.thinking.budget.effort import PERCENT

    levels: dict[str, Any] = {}
    for level in PERCENT:
        policy = registry.build("think", f"effort:{level},lengths={file}")
        policy.suits(engine.target, engine.draft_model)
        levels[level] = (cast("Controller", policy),)
    return levels


def _about(backend: Backend) -> str:
    """What runs, in one line."""
    said = backend.describe()
    methods = said.get("methods", {})
    think = "+".join(methods.get("think", ())) or "none"
    drafting = (
        f"drafts: {methods['drafter']} ({methods['length']}), " if methods.get("drafter", "none") != "none" else ""
    )
    return f"{drafting}thinking: {think}, at once: {said['places']}"
