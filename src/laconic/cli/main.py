"""The program ``laconic``: its commands, and how it ends."""

from __future__ import annotations

import signal
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from laconic.cli.certify import certify
from laconic.cli.compare import compare
from laconic.cli.compress_weights import compress_weights
from laconic.cli.cost import cost
from laconic.cli.fit import app as fit
from laconic.cli.inspect import inspect
from laconic.cli.merge import merge
from laconic.cli.methods import methods
from laconic.cli.pad import pad
from laconic.cli.peers import peers
from laconic.cli.replay import replay
from laconic.cli.run import run
from laconic.cli.serve import serve
from laconic.cli.simulate import simulate
from laconic.cli.specimen import specimen
from laconic.cli.traces import traces
from laconic.cli.train import train
from laconic.cli.tune import tune
from laconic.errors import LaconicError

REFUSED = 2
"""Exit code for what cannot be done as asked."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Program(TyperGroup):
    """Turns errors raised on purpose into two lines and an exit code, and Ctrl-C into a quiet end."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LaconicError as error:
            typer.echo(f"error: {error.message}", err=True)
            if error.hint:
                typer.echo(f"hint: {error.hint}", err=True)
            raise typer.Exit(REFUSED) from error
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="laconic",
    cls=Program,
    help="Reasoning models that answer with fewer tokens, each token sooner, and proof of what was kept.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(serve)
app.command()(compare)
app.command()(peers)
app.command()(tune)
app.command()(certify)
app.command()(methods)
app.command()(inspect)
app.command()(pad)
app.command()(compress_weights)
app.command()(train)
app.command()(merge)
app.command()(traces)
app.command()(cost)
app.command()(replay)
app.command()(simulate)
app.command()(specimen)
app.add_typer(fit, name="fit")


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        try:
            version = metadata.version("laconic")
        except metadata.PackageNotFoundError:
            version = "(run from source)"
        typer.echo(f"laconic {version}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    # A docstring here would replace the program's help.
    pass


def main() -> None:
    """Run the command line and exit: 0 done, 1 done but something failed, 2 refused, 130 interrupted.

    A polite end from outside (``timeout``, a scheduler) is an interruption too: long runs keep what is complete.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
