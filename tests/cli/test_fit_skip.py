import json

import pytest


def test_a_plan_from_one_command_and_a_run_with_it(laconic, tmp_path):
    out = tmp_path / "plan.json"
    done = laconic("fit", "skip", out, "--n", 2, "--max-tokens", 40, "--window", 8, "--tries", 6)
    assert done.exit_code == 0, done.stderr
    made = json.loads(out.read_text())
    assert made["tries"] <= 6
    assert 0 < made["cost"] <= 1
    assert 0 <= made["right"] <= 1
    assert f"{made['tries']} plans tried" in done.stdout
    assert f"draft-verify:{out}" in done.stderr.replace("\n", "")
    run = laconic("run", "What is 1 + 7?", "--drafter", f"draft-verify:{out}", "--length", "constant:4",
                  "--max-tokens", 20, "--json")  # fmt: skip
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["usage"]["drafted"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "skip", "/"], "is a folder"),
        (["fit", "skip", "out.json", "--tasks", "nothing-of-the-kind"], "nothing-of-the-kind"),
        (["run", "hello", "--drafter", "draft-verify:/nowhere"], "no plan at"),
        (["run", "hello", "--drafter", "layer-skip:99"], "cannot draft with 99"),
        (["run", "hello", "--drafter", "pearl"], "pearl:[draft-model]"),
        (["run", "hello", "--drafter", "swift:skip=2"], "skip"),
    ],
)
def test_refused(laconic, arguments, words):
    done = laconic(*arguments)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr.replace("\n", " ")
