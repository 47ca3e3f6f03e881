"""``laconic fit``: what methods learn from a model's own texts, one command for each."""

from __future__ import annotations

import typer

from laconic.cli.fit.heads import ada_eagle, specdec_pp

app = typer.Typer(help="Train what a learned method goes by, on this model and these problems.", no_args_is_help=True)
app.command("specdec++")(specdec_pp)
app.command("ada-eagle")(ada_eagle)
