"""``laconic compress-weights``, and the commands that read what it wrote."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def coded(model, tmp_path_factory):
    from typer.testing import CliRunner

    from laconic.cli.main import app

    place = tmp_path_factory.mktemp("compressed") / "coded"
    done = CliRunner().invoke(app, ["compress-weights", model, str(place), "--cast"])
    assert done.exit_code == 0, done.output
    assert "a coded weight" in done.stdout
    assert "of entropy in the exponent" in done.stdout
    assert "exact of the rounded weights" in done.stdout
    assert f"wrote {place} in" in done.stdout.replace("\n", " ")
    return place


def test_run_answers_alike_and_says_how_weights_are_kept(laconic, coded):
    given = ("run", "What is 2 + 3?", "-m", coded, "--max-tokens", 30, "--dtype", "bfloat16", "--drafter", "none")
    decoded, kept = (json.loads(laconic(*given, *more, "--json").stdout) for more in ((), ("--weights", "coded")))
    assert decoded["text"]
    done = laconic(*given, "--weights", "coded")
    assert "weights coded" in done.stdout
    assert "slower" in done.stdout
    assert kept["engine"]["model"]["weights"] == "coded"


def test_inspect_says_how_weights_are_kept(laconic, coded):
    done = laconic("inspect", coded, "--weights", "coded", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["weights"], told["path"]) == ("coded", "slots, weights coded")
    plain = json.loads(laconic("inspect", coded, "--dtype", "bfloat16", "--json").stdout)
    assert plain["weights"] == "decoded"
    assert plain["weights_bytes"] == 2 * plain["parameters"]
    done = laconic("inspect", coded, "--weights", "coded")
    assert "MiB of weights, kept coded" in done.stdout
    assert "slower" in done.stdout


def test_json_is_the_report_in_the_folder(laconic, model, tmp_path):
    done = laconic("compress-weights", model, tmp_path / "out", "--cast", "--json")
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "out" / "dfloat11.json").read_text())["report"]
    assert report["bound"] < report["bits"]


def test_refusals_are_two_lines(laconic, model, tmp_path, coded):
    for arguments, error, hint in [
        (("compress-weights", model, tmp_path / "o"), "no weights in", "--cast"),
        (("compress-weights", coded, tmp_path / "o"), "coded already", "Copy"),
        (("run", "x", "-m", model, "--weights", "coded"), "are not coded", "compress-weights"),
        (("run", "x", "-m", coded, "--weights", "kept"), "cannot be kept 'kept'", "decoded"),
        (("serve", "-m", model, "--weights", "coded"), "are not coded", "compress-weights"),
        (("serve", "--upstream", "http://127.0.0.1:1/v1", "-m", "m", "--weights", "coded"), "own engine", "Leave out"),
        (("run", "x", "--url", "http://127.0.0.1:1/v1", "-m", "m", "--weights", "coded"), "runs here", "--url"),
    ]:
        done = laconic(*arguments)
        assert done.exit_code == 2, done.output
        assert error in done.stderr
        assert hint in done.stderr.splitlines()[1]
