"""``laconic run``: one question, answered as one watches."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from . import options


def run(
    prompt: Annotated[str, typer.Argument(help="The question; '-' reads it from standard input.")],
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
    memory: options.Memory = None,
    scaling: options.Scaling = None,
    attempts: options.Attempts = None,
    together: options.Together = None,
    small_model: options.Small = None,
    no_think: Annotated[bool, typer.Option("--no-think", help="Ask the model to answer at once.")] = False,
    temperature: options.OwnTemperature = None,
    top_k: options.OwnTopK = None,
    top_p: options.OwnTopP = None,
    min_p: options.OwnMinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.Seed = 0,
    max_tokens: options.OwnMaxTokens = None,
    answer_room: options.AnswerRoom = None,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    weights: options.Weights = "decoded",
    lora_scale: options.LoraScale = None,
    url: options.Url = None,
    tokenizer: options.Tokenizer = None,
    server: options.Server = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Decode plainly too, and say what was saved by measurement.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Answer one question: the thought dim, the answer bold, and one line on what it took."""
    from dataclasses import replace

    from laconic.bench.compare import PLAIN
    from laconic.bench.record import in_words
    from laconic.engine import Engine
    from laconic.errors import RequestError
    from laconic.scaling.answering import TEMPERATURE
    from laconic.types import Limits, Sampling

    from .memory import reasoner as named
    from .memory import solve
    from .promise import kept
    from .remote import connect
    from .scaling import answer as answered
    from .scaling import policy as scaled
    from .show import Screen, closing_line, how, result_json
    from .together import answer as both
    from .together import policy as shared
    from .together import second

    reasoner = named(memory, no_think=no_think, baseline=baseline)
    policy = scaled(scaling, attempts, excluded={"--memory": memory is not None, "--baseline": baseline})
    pair = shared(
        together, small_model,
        excluded={
            "--memory": memory is not None, "--baseline": baseline, "--scaling": scaling is not None,
            "--no-think": no_think, "--url": url is not None,
        },
    )  # fmt: skip
    filters = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    said = filters | {"repetition_penalty": repetition_penalty, "seed": seed}
    options.sampled(Sampling(), **said)  # what cannot be is refused before a model is loaded
    wanted = None if max_tokens is None else Limits(max_tokens, answer_room=answer_room)
    question = sys.stdin.read().strip() if prompt == "-" else prompt
    if not question.strip():
        raise RequestError("the prompt is empty.", "Ask something.")
    choice = options.Choice(drafter, length, shape, verify, think, exit_spec, budget, kv, kv_budget)
    spoken = options.spoken(format, system, template)
    if url is not None:
        if weights != "decoded" or lora_scale is not None:
            option = "--weights" if weights != "decoded" else "--lora-scale"
            raise RequestError(f"{option} is for a model that runs here.", f"Leave out --url, or {option}.")
        local = {"draft_model": draft_model, "dtype": dtype, "device": device, "threads": threads}
        engine: Engine = connect(
            url, model, tokenizer, choice, config, server=server or (), thinking=not no_think, spoken=spoken, **local
        )
    elif tokenizer is not None or server:
        option = "--server" if server else "--tokenizer"
        raise RequestError(f"{option} is for a model behind a server.", "Name the server with --url.")
    else:
        chosen = options.choose(choice, config, model, draft_model, dtype, device, thinking=not no_think, spoken=spoken)
        options.settle(threads, chosen.model)
        given = {"draft": chosen.draft, "dtype": chosen.dtype, "device": chosen.device, **spoken}
        engine = Engine.load(chosen.model, **given, weights=weights, lora_scale=lora_scale, **chosen.methods.fields())
    sampling = options.sampled(engine.defaults.sampling, **said)
    limits = wanted or replace(engine.defaults.limits, answer_room=answer_room)
    promise = kept(
        config,
        engine,
        sampling,
        limits,
        thinking=not no_think,
        whole=reasoner is None and policy is None and pair is None,
    )
    if pair is not None and small_model is not None:
        both(pair, question, engine, second(small_model, engine, given), sampling, limits, json=json)
        return
    if policy is not None:
        most = 8 if attempts is None else attempts
        if temperature is None and sampling.greedy and most > 1:
            sampling = replace(sampling, temperature=TEMPERATURE)
            if not json:
                typer.echo(f"note: attempts are sampled at {TEMPERATURE}, since no temperature was named")
        if answered(policy, most, question, engine, sampling, limits, thinking=not no_think, json=json):
            raise typer.Exit(130)
        return
    if reasoner is not None:
        if promise is not None and not json:
            typer.echo(promise.line)
        solve(reasoner, question, engine, sampling, limits, json=json)
        return

    request: dict[str, Any] = {"sampling": sampling, "limits": limits, "thinking": not no_think}
    plain_engine = engine.using(**(PLAIN if url is None else {}), think=()) if baseline else None
    if plain_engine is not None:
        # The first passes of a process are slow and would be charged to whoever comes first.
        for warm in (plain_engine, engine):
            warm.generate("What is 2 + 3?", **request)
    stream, interrupted = engine.stream(question, **request), False
    with Screen(engine, quiet=json) as screen:
        try:
            for step in stream:
                screen.show(step)
        except KeyboardInterrupt:
            stream.close()
            interrupted = True
    plain = plain_engine.generate(question, **request) if plain_engine is not None and not interrupted else None
    learned = engine.reports()
    if json:
        typer.echo(
            result_json(stream.result, plain, learned, engine.describe(), None if promise is None else promise.told)
        )
    else:
        if ran := how(engine, sampling):
            typer.echo(ran)
        for note in engine.notes():
            typer.echo(f"note: {note}")
        if promise is not None:
            typer.echo(promise.line)
        typer.echo(closing_line(stream.result, plain, engine.target.context))
    for line in () if json else in_words(learned):
        typer.echo(line)
    if interrupted:
        raise typer.Exit(130)
