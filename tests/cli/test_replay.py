import json

import pytest

SAID = "I shall be happy to help you with your booking; which day would you like to fly, and from where?"


@pytest.fixture
def file(tmp_path):
    lines = [{"id": f"r{i}", "question": f"Book {i}", "response": SAID, "answer": 3} for i in range(4)]
    path = tmp_path / "replies.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\nbroken\n")
    return path


def test_table_json_and_report(laconic, file, tmp_path):
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    done = laconic("replay", file, "--json", out, "--report", page)
    assert done.exit_code == 0, done.stderr
    record = json.loads(out.read_text())
    (found,) = record["files"]
    rows = [(row["drafter"], row["length"]) for row in found["drafts"]]
    assert ("suffix", "constant:8") in rows
    assert ("prompt-lookup", "aimd") in rows
    assert record["provenance"]["versions"]
    best = max(row["tokens_per_pass"] for row in found["drafts"])
    assert f"{best:.2f}" in done.stdout
    assert "LEFT OUT 1: line 5: not JSON" in done.stdout
    assert "every decoded text was the recorded one" in done.stdout
    assert page.read_text().startswith("<!doctype html>")


def test_choices(laconic, file, tmp_path):
    out = tmp_path / "out.json"
    done = laconic(
        "replay", file, "--drafter", "suffix:factor=4", "--drafter", "suffix", "--length", "constant:4",
        "--shape", "best-first", "--limit", 2, "--json", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (found,) = json.loads(out.read_text())["files"]
    assert found["records"] == 2
    assert [(row["drafter"], row["length"], row["shape"]) for row in found["drafts"]] == [
        ("suffix:factor=4", "constant:4", "best-first"),
        ("suffix", "constant:4", "best-first"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--drafter", "sufix"], "Did you mean 'suffix'?"),
        (["--drafter", "draft-model"], "needs a draft model"),
        (["--length", "svip"], "draft distributions"),
        (["--limit", "0"], "must be > 0"),
        (["--tokenizer", "/nowhere/at/all"], "there is no folder"),
        (["--json", "/nowhere/at/all.json"], "there is no directory"),
    ],
)
def test_refused(laconic, file, arguments, words):
    done = laconic("replay", file, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_bad_files(laconic, tmp_path):
    assert laconic("replay").exit_code == 2
    missing = laconic("replay", tmp_path / "none.jsonl")
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    done = laconic("replay", empty)
    assert (done.exit_code, "no usable record" in done.stderr) == (2, True)
    assert "docs/replay.md" in done.stderr
