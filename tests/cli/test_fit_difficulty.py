import json

import pytest


def test_a_probe_from_one_command_and_a_run_with_it(laconic, model, problems, tmp_path):
    out = tmp_path / "probe"
    done = laconic("fit", "difficulty", out, "--model", model, "--tasks", problems, "--n", 6, "--samples", 2,
                   "--max-tokens", 30, "--quick", "budget:5")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    about = json.loads((out / "difficulty.json").read_text())
    assert about["training"]["tasks"] == problems
    assert about["training"]["samples"] == 2
    assert "by budget:5" in done.stdout
    assert "held out: 2 problems" in done.stdout
    assert f"route-by-probe:{out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--think", f"route-by-probe:{out},hard=[budget:9+free]",
                  "--max-tokens", 20, "--json")  # fmt: skip
    assert run.exit_code == 0, run.stderr
    assert "route-by-probe" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "difficulty", __file__], "is a file"),
        (["fit", "difficulty", "out", "--quick", "budgte:5"], "Did you mean 'budget'"),
        (["run", "hello", "--think", "route-by-probe"], "laconic fit difficulty"),
        (["run", "hello", "--think", "route-by-probe:/nowhere"], "no trained probe at"),
        (["run", "hello", "--think", "cascade:easy=no-thinking"], "in brackets"),
    ],
)
def test_refused(laconic, model, arguments, words):
    done = laconic(*arguments, "--model", model)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")
