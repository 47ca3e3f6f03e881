"""``laconic traces``: rows in a file, the table, and refusals in two lines."""

from __future__ import annotations

import json

import pytest
import torch

from laconic.models.load import load_text
from tests.server import Server
from tests.training.traces.made import QUESTION, REPLY, STEPS, THOUGHT, WRONG, record, thought


@pytest.fixture
def recorded(tmp_path):
    path = record(tmp_path / "in.jsonl", thought(STEPS, "53"), thought(WRONG, "43"), f"<think>\n{THOUGHT}")
    return record(path, thought(STEPS[:3], "53"))


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_in_the_models_template_and_a_table(laconic, model, recorded, tmp_path):
    out = tmp_path / "out.jsonl"
    done = laconic("traces", "first-solution", recorded, out, "-m", model, "--select", "random-subset:1")
    assert done.exit_code == 0, done.output
    cut = "\n\n".join(STEPS[:2])
    first, second = rows(out)
    assert first["prompt"] == f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert first["completion"] == second["completion"] == f"{cut}\n</think>\n\n{REPLY}<|im_end|>"
    assert first["tokens_after"] == len(load_text(model).encode(first["completion"]))
    said = " ".join(done.stdout.split())
    assert f"rows out, after 1 2 {2 * first['tokens_after']} {first['tokens_after']}" in said
    assert "1 traces: its answer is wrong" in said
    assert "1 traces: it was cut off" in said


def test_the_account_as_json(laconic, model, recorded, tmp_path):
    done = laconic("traces", "irpo", recorded, tmp_path / "out.jsonl", "-m", model, "--json")
    assert done.exit_code == 0, done.output
    account = json.loads(done.stdout)
    assert (account["traces"], account["problems"], account["rows"], account["makes"]) == (4, 1, 2, "pairs")


def test_transforms_that_read_the_model(laconic, model, recorded, tmp_path):
    for spec in ("asap:0.6", "token-skip:ratios=0.5"):
        done = laconic("traces", spec, recorded, tmp_path / "out.jsonl", "-m", model)
        assert done.exit_code == 0, done.output
        assert all(row["tokens_after"] < row["tokens_before"] for row in rows(tmp_path / "out.jsonl"))


def test_a_labelled_recording(laconic, model, recorded, tmp_path):
    short = record(tmp_path / "short.jsonl", thought(STEPS[:1], "53"))
    done = laconic("traces", "adar1", recorded, tmp_path / "out.jsonl", "-m", model, "--with", f"short={short}")
    assert done.exit_code == 0, done.output
    assert {row["level"] for row in rows(tmp_path / "out.jsonl")} == {"group"}


def test_a_rewriter_behind_a_server(laconic, model, recorded, tmp_path):
    """It thinks, too; what it answers is the new thought."""
    text = load_text(model)
    script = text.encode("Hm.\n</think>\n\n4 * 9 + 17 = 53.<|im_end|>")

    def rows_of(prompt):
        at = 0
        while True:
            logits = torch.zeros(264)
            logits[script[min(at, len(script) - 1)]] = 99.0
            at += 1
            yield logits

    with Server(rows_of, text) as server:
        done = laconic(
            "traces", "c3ot", recorded, tmp_path / "out.jsonl", "-m", model, "--rewriter-url", server.url,
            "--rewriter", model,
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    long, short = rows(tmp_path / "out.jsonl")[:2]
    assert long["completion"] == f"{THOUGHT}\n</think>\n\n{REPLY}<|im_end|>"
    assert short["completion"] == f"4 * 9 + 17 = 53.\n</think>\n\n{REPLY}<|im_end|>"
    assert (long["condition"], short["condition"]) == ("long", "short")


def test_refusals_are_two_lines(laconic, model, recorded, tmp_path):
    out = tmp_path / "out.jsonl"
    for arguments, error, hint in [
        (("shortst", recorded, out), "no trace is called 'shortst'", "'shortest'"),
        (("shortest:most=0", recorded, out), "knob 'most'", ""),
        (("asap", recorded, out), "knob 'ratio'", ""),
        (("shortest", recorded, out, "--select", "random"), "no selector is called 'random'", "'random-subset'"),
        (("shortest", tmp_path / "none.jsonl", out), "cannot read", "docs/replay.md"),
        (("shortest", recorded, tmp_path / "no" / "out.jsonl"), "there is no directory", "Create"),
        (("shortest", recorded, recorded), "is what is read", "another file"),
        (("adar1", recorded, out), "reads a recording 'short'", "--with short=FILE"),
        (("adar1", recorded, out, "--with", "short"), "no recording with a label", "LABEL=FILE"),
        (("c3ot", recorded, out), "needs a model that rewrites", "--rewriter"),
        (("rft", recorded, out, "--rewriter", model), "'rft' rewrites nothing", "--rewriter"),
        (("shortest", recorded, out, "--answer-field", "right"), "no record brings an answer", "--answer-field"),
    ]:
        done = laconic("traces", *arguments, "-m", model)
        assert done.exit_code == 2, done.output
        assert error in done.stderr
        assert hint in done.stderr.splitlines()[-1]
    assert not out.exists()


def test_records_are_refused_before_a_model_is_loaded(laconic, model, tmp_path, monkeypatch):
    from laconic.engine import Engine

    monkeypatch.setattr(Engine, "load", lambda *_, **__: pytest.fail("loaded"))
    bare = record(tmp_path / "bare.jsonl", thought(STEPS, "53"), answer=None)
    done = laconic("traces", "asap:0.5", bare, tmp_path / "out.jsonl", "-m", model)
    assert done.exit_code == 2, done.output
    assert "no record brings an answer" in done.stderr
