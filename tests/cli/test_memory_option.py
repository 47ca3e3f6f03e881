import json

import pytest

SMALL = "segment=40,workspace=16,answer=12,merge=tail"


def test_rounds_notes_and_what_it_took(laconic, model):
    spec = f"infty-think:rounds=2,{SMALL}"
    done = laconic("run", "What is 2 + 3?", "-m", model, "--think", "none", "--memory", spec, "--max-tokens", 200)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[1] segment: 40 tokens")
    assert "tokens one after the other" in lines[-1]
    assert "longest context" in lines[-1]


def test_json_has_every_round(laconic, model):
    spec = f"pdr:width=3,{SMALL}"
    done = laconic("run", "Hm?", "-m", model, "--think", "none", "--memory", spec, "--max-tokens", 200, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [len(round["texts"]) for round in record["rounds"]][:2] == [3, 1]
    assert record["sequential"] < record["usage"]["thinking"] + record["usage"]["answer"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--memory", "pdrr"), "Did you mean 'pdr'?"),
        (("--memory", "pdr:width=0"), "knob 'width'"),
        (("--memory", "pdr", "--no-think"), "--memory does not go with --no-think"),
        (("--memory", "pdr", "--baseline"), "--memory does not go with --baseline"),
        (("--memory", "pdr", "--max-tokens", 300), "too small for a segment of 640"),
    ],
)
def test_mistakes_are_said(laconic, model, options, message):
    done = laconic("run", "Hm?", "-m", model, "--think", "none", *options)
    assert done.exit_code == 2
    assert message in done.stderr
