import json

import pytest


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "given.jsonl"
    lines = [
        {"question": f"What is {i} + 7?", "concise": f"{i + 7}.</think>{i + 7}",
         "verbose": f"Let me see, {i} and 7, that is {i + 7}.\n\nOr is it?</think>{i + 7}"}
        for i in range(3)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_direction_from_one_command_a_run_along_it_and_an_edited_model(laconic, model, problems, pairs, tmp_path):
    out, edited = tmp_path / "direction", tmp_path / "edited"
    done = laconic("fit", "steer", out, "--model", model, "--tasks", problems, "--pairs", pairs, "--n", 2,
                   "--held-out", 2, "--max-tokens", 30, "--layers", "0")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    about = json.loads((out / "direction.json").read_text())
    assert (about["pairs"], about["layer"], about["training"]["pairs"]) == (3, 0, str(pairs))
    assert "3 pairs; as it is the model thinks" in done.stdout
    assert f"steer:{out}" in done.stderr.replace("\n", "")
    assert len((out / "pairs.jsonl").read_text().splitlines()) == 3
    run = laconic("run", "What is 1 + 7?", "--model", model, "--think", f"steer:{out},strength=0.3",
                  "--max-tokens", 20)  # fmt: skip
    assert run.exit_code == 0, run.stderr
    done = laconic("fit", "edit", edited, "--direction", out, "--model", model, "--tasks", problems, "--held-out", 2,
                   "--max-tokens", 30, "--remove", "short")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "took short thinking out of 1 of 8 heads" in done.stdout
    assert laconic("run", "What is 1 + 7?", "--model", edited, "--max-tokens", 20).exit_code == 0
    again = laconic("fit", "edit", tmp_path / "other", "--direction", out, "--model", model, "--tasks", problems,
                    "--held-out", 2, "--max-tokens", 30, "--site", "residual", "--share", 0.3)  # fmt: skip
    assert "took long thinking out of 2 of 8 heads: 0." in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "steer", __file__], "is a file"),
        (["fit", "steer", "out", "--layers", "two"], "are no layers"),
        (["fit", "steer", "out", "--tasks", __file__], "not JSON"),
        (["fit", "edit", "out", "--direction", "/nowhere"], "no direction at"),
        (["run", "hello", "--think", "steer"], "laconic fit steer"),
        (["run", "hello", "--think", "steer:/nowhere"], "no direction at"),
    ],
)
def test_refused(laconic, model, arguments, words):
    done = laconic(*arguments, "--model", model)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")
