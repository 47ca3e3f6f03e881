import json

import pytest


@pytest.mark.parametrize("method", ["specdec++", "ada-eagle"])
def test_a_head_from_one_command_and_a_run_with_it(laconic, model, problems, tmp_path, method):
    out = tmp_path / "head"
    done = laconic("fit", method, out, "--model", model, "--draft-model", model, "--tasks", problems, "--n", 4,
                   "--max-tokens", 30, "--epochs", 1, "--layers", 2)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    about = json.loads((out / "head.json").read_text())
    assert about["method"] == method
    assert about["training"]["tasks"] == problems
    assert f"held out: {about['measures']['tokens']:,} tokens of 1 texts" in done.stdout
    assert ("AUC" if method == "specdec++" else "mean absolute error") in done.stdout
    assert f"{method}:head={out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--draft-model", model, "--length",
                  f"{method}:head={out}", "--max-tokens", 20)  # fmt: skip
    assert run.exit_code == 0, run.stderr


def test_a_judge_from_one_command_and_a_run_with_it(laconic, tmp_path):
    """The bundled pair: a random model comes to no answer, and so makes no mistakes."""
    out = tmp_path / "judge"
    done = laconic("fit", "judge-head", out, "--draft-model", "bundled-draft", "--n", 5, "--epochs", 1)
    assert done.exit_code == 0, done.stderr
    about = json.loads((out / "head.json").read_text())
    assert about["method"] == "judge-head"
    assert f"held out: {about['measures']['guesses']:,} guesses of 1 texts" in done.stdout
    assert f"match:relax=[judge-head:head={out}]" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--draft-model", "bundled-draft", "--verify",
                  f"match:relax=[judge-head:head={out}]", "--max-tokens", 40)  # fmt: skip
    assert run.exit_code == 0, run.stderr


def test_levels_of_effort_from_one_command_and_a_run_with_them(laconic, model, problems, tmp_path):
    out = tmp_path / "effort.json"
    done = laconic("fit", "effort", out, "--model", model, "--tasks", problems, "--n", 4, "--max-tokens", 30)
    assert done.exit_code == 0, done.stderr
    made = json.loads(out.read_text())
    assert (made["n"], made["model"], made["run"]["tasks"]) == (4, model, problems)
    assert "4 thoughts of" in done.stdout
    assert f"high {made['quantiles']['90']}" in done.stdout
    assert f"effort:low,lengths={out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--think", f"effort:low,lengths={out}", "--json")
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["usage"]["thinking"] <= made["quantiles"]["25"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "specdec", "out"], "Did you mean 'specdec++'"),
        (["fit", "specdec++", __file__], "is a file"),
        (["run", "hello", "--think", f"effort:low,lengths={__file__}"], "does not hold lengths"),
        (["run", "hello", "--length", "specdec++"], "laconic fit specdec++"),
        (["run", "hello", "--length", "specdec++:head=/nowhere"], "no trained head at"),
    ],
)
def test_refused(laconic, model, arguments, words):
    done = laconic(*arguments, "--model", model, "--draft-model", model)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")
