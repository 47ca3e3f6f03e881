import json

import pytest


def test_an_outlook_from_one_command_and_a_run_with_it(laconic, model, tmp_path):
    out, more = tmp_path / "outlook", tmp_path / "more.jsonl"
    more.write_text("\n".join(f'{{"question": "What is {i} + 7?", "answer": {i + 7}}}' for i in range(24)) + "\n")
    done = laconic("fit", "zip-rc", out, "--model", model, "--tasks", more, "--n", 24, "--samples", 2,
                   "--max-tokens", 120, "--temperature", 0.9, "--epochs", 2, "--width", 4)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    about = json.loads((out / "head.json").read_text())
    assert (about["method"], about["training"]["samples"]) == ("zip-rc", 2)
    assert f"held out: {about['measures']['steps']:,} steps" in done.stdout
    assert "it foresees little" in done.stdout  # this model is never right
    assert f"--scaling zip-rc:{out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--model", model, "--scaling", f"zip-rc:{out}", "--attempts", 2,
                  "--temperature", 0.9, "--max-tokens", 40)  # fmt: skip
    assert run.exit_code == 0, run.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "zip-rc", __file__], "is a file"),
        (["fit", "arbitrage", "."], "no place for a file"),
        (["fit", "arbitrage", "router.json", "--n", "2", "--small-model", "SAME"], "nothing can be learned"),
        (["run", "hello", "--scaling", "zip-rc", "--temperature", "1"], "laconic fit zip-rc"),
        (["run", "hello", "--scaling", "beam", "--temperature", "1"], "judge=[equations]"),
        (["run", "hello", "--scaling", "beam:judge=[equations]", "--temperature", "0"], "the copies that"),
    ],
)
def test_refused(laconic, model, problems, arguments, words):
    more = ["--tasks", problems, "--max-tokens", "60"] if arguments[0] == "fit" else []
    arguments = [str(model) if word == "SAME" else word for word in arguments]
    done = laconic(*arguments, *more, "--model", model)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")
