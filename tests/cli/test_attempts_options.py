"""``--scaling`` and ``--together``, as somebody uses them."""

from __future__ import annotations

import json

import pytest

QUESTION = "What is 37 * 48 + 15?"


def test_attempts_are_shown_and_the_answer_last(laconic):
    done = laconic("run", QUESTION, "--scaling", "self-consistency", "--attempts", 2, "--temperature", 0.7)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[1] ")
    assert lines[1].startswith("[2] ")
    assert "2 attempts" in lines[-1]
    assert "confidence" in lines[-1]


def test_json(laconic):
    done = laconic("run", QUESTION, "--scaling", "enough", "--attempts", 3, "--temperature", 0.7, "--json")
    told = json.loads(done.stdout)
    assert told["answer"]
    assert 1 <= len(told["attempts"]) <= 3
    assert told["usage"]["target_passes"] >= told["passes"] > 0


def test_two_models(laconic):
    options = ("--together", "spec-reason:by=likelihood", "--small-model", "bundled-draft")
    done = laconic("run", QUESTION, *options)
    assert "[small, score" in done.stdout
    assert "of the thought by the large model" in done.stdout.splitlines()[-1]
    told = json.loads(laconic("run", QUESTION, *options, "--json").stdout)
    assert told["pieces"]
    assert 0 <= told["share"] <= 1


def test_comparing(laconic, tmp_path):
    file = tmp_path / "out.json"
    options = ("--temperature", 0.8, "--attempts", 2, "--scaling", "short-m:m=1", "--json", file)
    done = laconic("compare", "--tasks", "chain_sum", "-n", 2, *options)
    assert "short-m:m=1" in done.stdout
    assert "tokens" in done.stdout
    told = json.loads(file.read_text())
    assert list(told["ways"]) == ["one attempt", "self-consistency", "short-m:m=1"]
    assert told["ways"]["self-consistency"]["attempts"] == 2


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("run", ("--scaling", "enoug"), "Did you mean 'enough'?"),
        ("run", ("--scaling", "enough:price=0"), "knob 'price'"),
        ("run", ("--attempts", 3), "--attempts goes with --scaling"),
        ("run", ("--scaling", "enough", "--attempts", 0), ">= 1"),
        ("run", ("--scaling", "enough", "--memory", "pdr"), "--scaling does not go with --memory"),
        ("run", ("--scaling", "enough", "--baseline"), "--scaling does not go with --baseline"),
        ("run", ("--scaling", "enough", "--temperature", 0), "all be the same"),
        ("run", ("--scaling", "short-m:m=9"), "waits for 9"),
        ("run", ("--together", "spec-reason"), "--small-model"),
        ("run", ("--small-model", "bundled-draft"), "--small-model goes with --together"),
        ("run", ("--together", "alone", "--small-model", "bundled-draft", "--no-think"), "--together does not go with"),
        ("run", ("--together", "alone", "--small-model", "nowhere/at-all"), "nowhere/at-all"),
        ("compare", ("--attempts", 3), "--attempts goes with --scaling"),
        ("compare", ("--scaling", "enough"), "all be the same"),
        ("compare", ("--scaling", "enough", "--temperature", 0.7, "--batch", 2), "--scaling does not go with --batch"),
    ],
)
def test_what_is_refused(laconic, command, options, said):
    asked = (QUESTION,) if command == "run" else ("--tasks", "chain_sum", "-n", 1)
    done = laconic(command, *asked, *options)
    assert done.exit_code == 2, done.output
    assert said in done.stderr
