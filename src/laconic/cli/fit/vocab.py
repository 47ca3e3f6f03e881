"""``laconic fit vocab``: the tokens that are worth an output row of a draft model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli import options
from laconic.cli.fit.heads import Batch, MaxTokens, Seed, Tasks
from laconic.cli.fit.texts import asked
from laconic.errors import RequestError


def vocab(
    out: Annotated[Path, typer.Argument(help="File to write the choice into.")],
    model: options.Model = "bundled",
    files: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Text or JSONL whose tokens are counted (FR-Spec); may be given several times."),
    ] = None,
    from_target: Annotated[
        bool, typer.Option("--from-target", help="Count what the target itself writes (VocabTrim).")
    ] = False,
    size: Annotated[
        int | None, typer.Option(min=1, help="Tokens to keep; without it a quarter of the vocabulary.")
    ] = None,
    tasks: Tasks = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Texts that the target writes.")] = 100,
    dtype: options.Dtype = None,
    max_tokens: MaxTokens = 256,
    temperature: options.Temperature = 0.0,
    batch: Batch = 16,
    seed: Seed = 10_000,
    threads: options.Threads = None,
    format: options.Format = None,
    system: options.System = None,
    template: options.Template = None,
) -> None:
    """Choose the tokens that a draft model may draft, so that its output head costs less: the most frequent ones."""
    from rich.console import Console

    from laconic.bench.fit.vocabulary import always, in_answers, in_files
    from laconic.bench.tasks import draw, load
    from laconic.engine import Engine
    from laconic.speculation.vocabulary import Kept

    if bool(files) == from_target:
        raise RequestError("what is to be counted?", "Give files with --from, or --from-target.")
    if out.is_dir():
        raise RequestError(f"'{out}' is a folder.", "Name a file.")
    options.settle(threads, model)
    spoken = options.spoken(format, system, template)
    with Console(stderr=True).status("loading") as status:
        engine = Engine.load(model, dtype=options.named_dtype(dtype), drafter="suffix", length="marginal", **spoken)
        words = engine.target.vocab_size
        if files:
            counts = in_files(engine.text, words, files)
        else:
            requests = asked(engine, draw(load(tasks), n, seed), temperature, seed, max_tokens)
            counts = in_answers(
                engine, requests, batch=batch, after=lambda done: status.update(f"{done} of {len(requests)} texts")
            )
    statistic = "corpus" if files else "target"
    made = Kept.of(counts, size or max(1, words // 4), statistic, always(engine.text, words))
    made.save(out)
    typer.echo(
        f"{len(made.tokens):,} of {words:,} tokens, {made.covered:.2%} of the {made.counted:,} counted "
        f"({'in files' if files else 'that the target wrote'})"
    )
    typer.echo(f"wrote {out}; use it with --drafter draft-model:keep={out}", err=True)
