"""``laconic fit``: what methods learn from a model's own texts, one command for each."""

from __future__ import annotations

import typer

from laconic.cli.fit.arbitrage import arbitrage
from laconic.cli.fit.datastore import datastore
from laconic.cli.fit.difficulty import difficulty
from laconic.cli.fit.draft_head import head
from laconic.cli.fit.effort import effort
from laconic.cli.fit.heads import ada_eagle, specdec_pp
from laconic.cli.fit.judge_head import judge_head
from laconic.cli.fit.ngrams import ngrams
from laconic.cli.fit.skip import skip
from laconic.cli.fit.spec_exit import spec_exit
from laconic.cli.fit.steer import edit, steer
from laconic.cli.fit.vocab import vocab
from laconic.cli.fit.zip_rc import zip_rc

app = typer.Typer(help="Train what a learned method goes by, on this model and these problems.", no_args_is_help=True)
app.command("specdec++")(specdec_pp)
app.command("ada-eagle")(ada_eagle)
app.command("judge-head")(judge_head)
app.command("head")(head)
app.command("vocab")(vocab)
app.command("skip")(skip)
app.command("ngrams")(ngrams)
app.command("datastore")(datastore)
app.command("effort")(effort)
app.command("difficulty")(difficulty)
app.command("spec-exit")(spec_exit)
app.command("arbitrage")(arbitrage)
app.command("zip-rc")(zip_rc)
app.command("steer")(steer)
app.command("edit")(edit)
