import json

import pytest
from typer.testing import CliRunner

from laconic.bench.certify import greedy
from laconic.bench.certify.certificate import verify_digest
from laconic.cli.certify import sentences
from tests.cli.checkpoint import needs_bundled

QUICK = ("--n", 3, "--max-tokens", 30, "--reference", 1, "--batch", 2, "--temperatures", "0.8", "--contexts", 2,
         "--samples", 96, "--top-k-events", 8)  # fmt: skip
ROUND = ("--drafter", "prompt-lookup:max_ngram=2", "--length", "constant:3")


@pytest.fixture(scope="module")
def certified(model, problems, tmp_path_factory):
    from laconic.cli.main import app

    file = tmp_path_factory.mktemp("out") / "certificate.json"
    arguments = ["certify", "-m", model, "--tasks", problems, *QUICK, *ROUND, "--json", file]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert file.is_file(), done.output
    return file, json.loads(file.read_text()), done


def test_the_certificate_and_the_words(certified):
    _, record, done = certified
    assert done.exit_code == (0 if record["verdict"] == "exact" else 1)
    assert record["verdict"] != "not exact"
    assert record["greedy"]["verdict"] == record["rollback"]["verdict"] == "exact"
    assert record["subject"]["drafter"] == "prompt-lookup:max_ngram=2"
    assert record["subject"]["model"]["weights"]["model.safetensors"]["sha256"]
    assert record["subject"]["think"] == []
    assert verify_digest(record)
    said = done.stdout
    assert said.rstrip().endswith(f"verdict: {record['verdict'].upper()}")
    for words in ("greedy: exact", "configuration = reference on 1 of 1 prompts", "sampled: ", "degrees of freedom",
                  "rollback: exact", "target cache"):  # fmt: skip
        assert words in said


def test_check_reads_it_back_and_tells_edits(certified, laconic, tmp_path):
    file, record, done = certified
    again = laconic("certify", "--check", file)
    assert again.exit_code == done.exit_code
    assert f"the digest holds: {record['digest']}" in again.stdout
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(record | {"verdict": "exact", "warnings": ["none"]}))
    told = laconic("certify", "--check", edited)
    assert told.exit_code == 1
    assert "EDITED" in told.stdout
    assert "verdict" not in told.stdout


def test_a_fault_is_told_in_words(certified):
    _, record, _ = certified
    broken = json.loads(json.dumps(record))
    difference = {"prompt": 1, "position": 4, "expected": "a", "found": "b", "gap": 1.5, "tolerance": 1e-4,
                  "near_tie": False}  # fmt: skip
    broken["greedy"]["checks"][0]["differences"] = [difference, difference | {"found": None, "gap": None}]
    broken["verdict"] = "not exact"
    said = "\n".join(sentences(broken))
    assert "prompt 2, token 5: 'a' expected, 'b' found; logits 1.5 apart" in said
    assert "not rounding" in said
    assert "'a' expected, the end found" in said
    assert said.endswith("verdict: NOT EXACT")


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("--n", "0"), "must be > 0", ""),
        (("--drafter", "sufix"), "no drafter is called 'sufix'", "Did you mean 'suffix'?"),
        (("--false-alarm", "1.5"), "must be in (0, 1)", "0.001"),
        (("--false-alarm", "0"), "must be in (0, 1)", "0.001"),
        (("--temperatures", "0.6,0"), "temperature 0 cannot be sampled", "leave it out"),
        (("--temperatures", "warm"), "not a list of temperatures", "0.6,1.0"),
        (("--temperatures", ","), "no temperature", ""),
        (("--tasks", "missing.jsonl"), "cannot read 'missing.jsonl'", "question"),
        (("--json", "no/such/folder/c.json"), "there is no directory", "Create it"),
        (("--check", "no-such-file.json"), "cannot read", "--json"),
    ],
)
def test_refusals_come_before_any_work(laconic, model, problems, monkeypatch, arguments, error, hint):
    monkeypatch.setattr(greedy, "audit", lambda *_, **__: pytest.fail("a pass was made"))
    done = laconic("certify", "-m", model, "--tasks", problems, *arguments)
    assert done.exit_code == 2, done.output
    first, *rest = done.stderr.strip().splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert not hint or hint in rest[0]


def test_check_refuses_what_is_no_certificate(laconic, tmp_path):
    file = tmp_path / "other.json"
    for text in ("[1]", '{"format": "laconic-compare-1"}', "not json"):
        file.write_text(text)
        done = laconic("certify", "--check", file)
        assert done.exit_code == 2
        assert "error: " in done.stderr


@needs_bundled
def test_bundled_pair(laconic, tmp_path):
    # The weights will change, and with them how sure the model is: whether there is power may change, exactness not.
    pytest.importorskip("reasoning_gym")
    file = tmp_path / "c.json"
    done = laconic("certify", "--n", 2, "--max-tokens", 24, "--reference", 1, "--batch", 2, "--temperatures", "1.0",
                   "--contexts", 2, "--samples", 48, "--json", file)  # fmt: skip
    record = json.loads(file.read_text())
    assert done.exit_code in (0, 1), done.output
    assert record["verdict"] != "not exact", done.output
    assert record["subject"]["draft"]["name"] == "bundled-draft"
    assert record["rollback"]["verdict"] == "exact"
