"""``laconic certify``: is this configuration exact for this model? Three audits, and a certificate to keep."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from laconic.errors import LaconicError, RequestError

from . import options
from .compare import writable

if TYPE_CHECKING:
    from laconic.types import Sampling


def certify(
    tasks: Annotated[
        str | None, typer.Option(help="Comma list of bundled kinds (default: all), gym:DATASET, or JSONL files.")
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Prompts.")] = 20,
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
    temperatures: Annotated[
        str, typer.Option(help="Temperatures at which sampling is tested, comma list.", rich_help_panel="Sampling")
    ] = "0.6,1.0",
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    seed: options.Seed = 0,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of a greedy text.", rich_help_panel="Sampling")] = 160,
    references: Annotated[
        int, typer.Option("--reference", help="Prompts on which the slow reference loop runs too.")
    ] = 2,
    batch: Annotated[int, typer.Option(help="Greedy texts are also written this many at once; 1 leaves it out.")] = 4,
    contexts: Annotated[int, typer.Option(help="Places at which sampling is tested, per temperature.")] = 4,
    samples: Annotated[int, typer.Option(help="Most continuations sampled at each place.")] = 2048,
    events: Annotated[
        int, typer.Option("--top-k-events", help="Likeliest tokens that are events of their own; the others are one.")
    ] = 16,
    false_alarm: Annotated[
        float, typer.Option(help="Chance of calling an exact configuration not exact, over all tests.")
    ] = 0.001,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the certificate to this file.")] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Read a certificate instead, and say whether it was edited.")
    ] = None,
) -> None:
    """Is this configuration exact: greedy texts, the law of sampled tokens, the cache after refusals?

    Exit code 0: exact; 1: not exact, or inconclusive; 2: refused.
    """
    if check is not None:
        recheck(check)
        return
    if json is not None:
        writable(json)
    from laconic.bench.certify.certificate import Settings
    from laconic.bench.certify.certificate import certify as run
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine

    settings = Settings(
        samplings=samplings(temperatures, top_k, top_p, min_p),
        max_new_tokens=max_tokens,
        references=references,
        batch=batch,
        contexts=contexts,
        samples=samples,
        keep=events,
        false_alarm=false_alarm,
        seed=seed,
    )
    items = draw(load(tasks), n, seed)
    if think is None and exit_spec is None and budget is None:
        think = "none"
    choice = options.Choice(drafter, length, shape, verify, think, exit_spec, budget, kv, kv_budget)
    spoken = options.spoken(format, system, template)
    chosen = options.choose(choice, config, model, draft_model, dtype, device, spoken=spoken)
    options.settle(threads, chosen.model)
    given = {"draft": chosen.draft, "dtype": chosen.dtype, "device": chosen.device, **spoken}
    engine = Engine.load(chosen.model, **given, **chosen.methods.fields())
    draft = chosen.draft or ("bundled-draft" if engine.draft_model is not None else None)
    record = run(
        engine,
        [item.question for item in items],
        settings,
        model=chosen.model,
        draft=draft,
        after=lambda done: typer.echo(f"  {done}", err=True),
    )
    if json is not None:
        json.write_text(jsonlib.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        typer.echo(f"wrote {json}", err=True)
    for line in sentences(record):
        typer.echo(line)
    if record["verdict"] != "exact":
        raise typer.Exit(1)


def samplings(temperatures: str, top_k: int, top_p: float, min_p: float) -> tuple[Sampling, ...]:
    """One Sampling for each temperature of a comma list. Raises RequestError for what is no number, or none at all."""
    from laconic.types import Sampling

    parts = [part.strip() for part in temperatures.split(",") if part.strip()]
    try:
        return tuple(Sampling(float(part), top_k, top_p, min_p) for part in dict.fromkeys(parts))
    except ValueError as error:
        raise RequestError(f"'{temperatures}' is not a list of temperatures.", "For example: 0.6,1.0.") from error


def recheck(path: Path) -> None:
    """Say what a certificate says and whether it is as it was written; ends with the exit code for that."""
    from laconic.bench.certify.certificate import FORMAT, verify_digest

    try:
        record = jsonlib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise RequestError(
            f"cannot read '{path}': {reason}.", "Give a file that laconic certify --json wrote."
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise RequestError(f"'{path}' is no certificate of the format {FORMAT}.", _WRITTEN)
    if not verify_digest(record):
        typer.echo(f"EDITED: '{path}' does not have the digest that it states; do not rely on it")
        raise typer.Exit(1)
    for line in sentences(record):
        typer.echo(line)
    typer.echo(f"the digest holds: {record['digest']}")
    if record["verdict"] != "exact":
        raise typer.Exit(1)


_WRITTEN = "Give a file that 'laconic certify --json' wrote."


def sentences(record: dict[str, Any]) -> list[str]:
    """The certificate in plain words."""
    try:
        return [*_subject(record), *_greedy(record["greedy"]), *_sampled(record["sampled"]), *_rollback(record),
                *(f"note: {warning}" for warning in record["warnings"]),
                f"verdict: {record['verdict'].upper()}"]  # fmt: skip
    except (KeyError, TypeError) as error:
        raise LaconicError(f"the certificate lacks {error}.", "Was it written by this version of laconic?") from error


def _subject(record: dict[str, Any]) -> list[str]:
    subject, model = record["subject"], record["subject"]["model"]
    parts = ", ".join([subject["drafter"], subject["length"], subject["shape"], subject["verifier"], *subject["think"]])
    name = f"{model['name']} (config {str(model['config'])[:12]})" if model else "a model in memory"
    return [f"{parts} on {name}, {record['settings']['prompts']} prompts"]


def _greedy(audit: dict[str, Any]) -> list[str]:
    said = [f"greedy: {audit['verdict']}; {audit['reason']}"]
    for check in audit["checks"]:
        one, other = check["of"]
        same, tokens = f"{check['identical']} of {check['prompts']} prompts", check["tokens"]
        said.append(f"  {one} = {other} on {same}, {tokens} tokens compared")
        for found in check["differences"][:3]:
            said.append(f"    prompt {found['prompt'] + 1}, token {found['position'] + 1}: {_gap(found)}")
    said.append(f"  {audit['accepted']} of {audit['drafted']} drafted tokens accepted")
    return said


def _gap(found: dict[str, Any]) -> str:
    if found["gap"] is None:
        end = "the end" if found["expected"] is None else repr(found["expected"])
        other = "the end" if found["found"] is None else repr(found["found"])
        return f"{end} expected, {other} found"
    kind = "a near tie" if found["near_tie"] else "not rounding"
    return (
        f"{found['expected']!r} expected, {found['found']!r} found; logits {found['gap']:.3g} apart, "
        f"rounding excuses {found['tolerance']:.2g}: {kind}"
    )


def _sampled(audit: dict[str, Any]) -> list[str]:
    said = [f"sampled: {audit['verdict']}; {audit['reason']}"]
    for at in audit["temperatures"]:
        heated = f" (asked: {at['asked']:g}; the model is too sure there)" if at["used"] != at["asked"] else ""
        entropies = at["entropies"]
        said.append(
            f"  temperature {at['used']:g}{heated}: {at['contexts']} contexts of "
            f"{min(entropies):.1f}-{max(entropies):.1f} nats, {at['samples']} samples, G = {_number(at['g'])} with "
            f"{at['freedom']} degrees of freedom, p = {at['p']:.2g}; a bias of 0.05 is noticed with probability "
            f"{at['power']:.2f}, one of {at['detectable']:.3f} with 0.9"
        )
    if audit["kinds"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in audit["kinds"].items() if count)
        said.append(f"  tested tokens: {kinds}; false-alarm rate {audit['false_alarm']:g} over all tests")
    return said


def _rollback(record: dict[str, Any]) -> list[str]:
    audit = record["rollback"]
    said = [f"rollback: {audit['verdict']}; {audit['reason']}"]
    for name in ("target", "draft"):
        found = audit[name]
        if found is not None and found["points"]:
            said.append(
                f"  {name} cache: {found['points'] - found['broken']} of {found['points']} points agree with a fresh "
                f"prefill; logits at most {_number(found['difference'])} apart, {_number(found['worst'])} of what "
                "rounding excuses"
            )
    return said


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
