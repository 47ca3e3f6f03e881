import json

import pytest


def test_heads_from_one_command_and_a_run_with_them(laconic, model, tmp_path):
    out, more = tmp_path / "signals", tmp_path / "more.jsonl"
    more.write_text("\n".join(f'{{"question": "What is {i} + 7?", "answer": {i + 7}}}' for i in range(24)) + "\n")
    done = laconic("fit", "spec-exit", out, "--model", model, "--tasks", more, "--n", 24, "--max-tokens", 120,
                   "--temperature", 0.9, "--epochs", 2, "--width", 4, "--label", "final")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    about = json.loads((out / "head.json").read_text())
    assert (about["method"], about["training"]["tasks"], about["training"]["label"]) == (
        "spec-exit",
        str(more),
        "final",
    )
    assert f"held out: {about['measures']['steps']:,} steps of {about['measures']['thoughts']} thoughts" in done.stdout
    assert "AUC" in done.stdout
    assert f"spec-exit:head={out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--think", f"spec-exit:head={out}", "--max-tokens", 40)
    assert run.exit_code == 0, run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "spec-exit", __file__], "is a file"),
        (["fit", "spec-exit", "out", "--label", "wrong"], "'wrong'"),
        (["run", "hello", "--think", "spec-exit"], "laconic fit spec-exit"),
        (["run", "hello", "--think", "spec-exit:head=/nowhere"], "no trained head at"),
        (["fit", "spec-exit", "nowhere", "--n", "2", "--max-tokens", "4"], "too few"),
    ],
)
def test_refused(laconic, model, problems, arguments, words):
    more = ["--tasks", problems] if arguments[0] == "fit" else []
    done = laconic(*arguments, *more, "--model", model)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")
