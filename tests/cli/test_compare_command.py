import json

import pytest

from laconic.bench.measure import EngineVariant
from tests.cli.checkpoint import needs_bundled

SUMMARY = {
    "n", "accuracy", "accuracy_ci", "thinking_tokens", "answer_tokens", "target_passes", "tokens_per_pass",
    "acceptance_rate", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def record(model, problems, tmp_path_factory):
    from typer.testing import CliRunner

    from laconic.cli.main import app

    folder = tmp_path_factory.mktemp("out")
    arguments = ["compare", "-m", model, "--tasks", problems, "--max-tokens", "60", "--n", "4"]
    arguments += [
        "--exit",
        "answer-confidence:0.2",
        "--json",
        str(folder / "r.json"),
        "--report",
        str(folder / "r.html"),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return json.loads((folder / "r.json").read_text()), done, (folder / "r.html").read_text()


def test_record(record):
    data, _, _ = record
    for name in ("baseline", "laconic", "transformers", "speculation", "control"):
        assert data[name].keys() >= SUMMARY
        assert data[name]["n"] == 4
    assert data["ratio"].keys() >= {"seconds", "thinking_tokens", "target_passes"}
    assert data["exact"]["prompts"] == data["exact"]["identical"] == 4
    assert data["agreement"]["identical"] == 4
    assert data["baseline"]["tokens_per_pass"] == data["transformers"]["tokens_per_pass"] == 1.0
    assert data["speculation"]["target_passes"] < data["baseline"]["target_passes"]
    assert data["setup"]["think"] == ["answer-confidence:threshold=0.2"]
    assert data["provenance"].keys() >= {"command", "time", "python", "versions", "commit", "machine"}
    assert len(data["items"]) == 4


def test_table_and_report(record):
    _, done, page = record
    assert "plain decoding" in done.stdout
    assert "4 of 4 prompts" in done.stdout
    assert "\x1b" not in done.stdout
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 6


def test_batch_and_no_hf(laconic, model, problems, tmp_path):
    file = tmp_path / "r.json"
    done = laconic("compare", "-m", model, "--tasks", problems, "--batch", 2, "--max-tokens", 30, "--think", "none",
                   "--json", file)  # fmt: skip
    assert done.exit_code == 0, done.output
    data = json.loads(file.read_text())
    assert data["transformers"] is data["control"] is None
    assert data["setup"]["variants"].keys() == {"baseline", "laconic"}
    assert data["speculation"] == data["laconic"]
    assert data["exact"]["identical"] == 6


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("--n", "0"), "must be > 0", ""),
        (("--tasks", "chain_sun"), "no task is called 'chain_sun'", "Did you mean 'chain_sum'?"),
        (("--tasks", "missing.jsonl"), "cannot read 'missing.jsonl'", "question"),
        (("--report", "no/such/folder/r.html"), "there is no directory", "Create it"),
        (("--json", "."), "is a directory", ""),
        (("--batch", "0"), "batch must be >= 1", ""),
        (("--drafter", "none", "--think", "none"), "plain decoding itself", "--drafter"),
        (("--drafter", "sufix"), "no drafter is called", "Did you mean 'suffix'?"),
    ],
)
def test_refusals_come_before_any_work(laconic, model, problems, monkeypatch, arguments, error, hint):
    monkeypatch.setattr(EngineVariant, "run", lambda *_: pytest.fail("a pass was made"))
    done = laconic("compare", "-m", model, "--tasks", problems, *arguments)
    assert done.exit_code == 2, done.output
    first, *rest = done.stderr.strip().splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert not hint or hint in rest[0]


def test_a_malformed_line_is_named(laconic, model, tmp_path):
    (tmp_path / "bad.jsonl").write_text('{"question": "a", "answer": 1}\nnonsense\n')
    done = laconic("compare", "-m", model, "--tasks", tmp_path / "bad.jsonl")
    assert done.exit_code == 2
    assert "line 2: not JSON" in done.stderr


def failing_at(call, error, monkeypatch):
    """Let the ``call``-th run of a variant raise."""
    usual, count = EngineVariant.run, iter(range(1000))

    def run(self, requests, batch):
        if next(count) == call:
            raise error
        return usual(self, requests, batch)

    monkeypatch.setattr(EngineVariant, "run", run)


def test_ctrl_c_writes_what_is_complete(laconic, model, problems, tmp_path, monkeypatch):
    failing_at(2 + 2 * 3 + 1, KeyboardInterrupt(), monkeypatch)  # two warm-ups, three problems, half of the fourth
    file = tmp_path / "r.json"
    done = laconic("compare", "-m", model, "--tasks", problems, "--max-tokens", 20, "--think", "none", "--no-hf",
                   "--json", file)  # fmt: skip
    assert done.exit_code == 130
    data = json.loads(file.read_text())
    assert data["interrupted"]
    assert data["baseline"]["n"] == 3
    assert "interrupted" in done.stdout


def test_ctrl_c_before_anything_is_complete(laconic, model, problems, tmp_path, monkeypatch):
    failing_at(0, KeyboardInterrupt(), monkeypatch)
    done = laconic("compare", "-m", model, "--tasks", problems, "--no-hf", "--json", tmp_path / "r.json")
    assert done.exit_code == 130
    assert not (tmp_path / "r.json").exists()
    assert "Traceback" not in done.output


def test_a_failed_problem_is_reported(laconic, model, problems, tmp_path, monkeypatch):
    failing_at(3, RuntimeError("boom"), monkeypatch)
    file = tmp_path / "r.json"
    done = laconic("compare", "-m", model, "--tasks", problems, "--max-tokens", 20, "--think", "none", "--no-hf",
                   "--json", file)  # fmt: skip
    assert done.exit_code == 1
    assert "RuntimeError: boom" in done.stdout
    data = json.loads(file.read_text())
    assert data["baseline"]["n"] == len(data["items"]) == 5
    assert data["failures"][0]["items"] == ["sums/1"]


@needs_bundled
def test_bundled_pair(laconic, tmp_path):
    file = tmp_path / "r.json"
    done = laconic("compare", "--n", 7, "--json", file)
    assert done.exit_code == 0, done.output
    data = json.loads(file.read_text())
    assert len(data["by_kind"]) == 7
    assert data["exact"]["identical"] == 7
    assert data["ratio"]["target_passes"] < 1


def test_what_it_would_take_on_other_hardware(laconic, model, problems, tmp_path):
    out = tmp_path / "r.json"
    arguments = ("compare", "-m", model, "--tasks", problems, "--n", "2", "--max-tokens", "40", "--no-hf")
    done = laconic(*arguments, "--hardware", "h100, l4", "--json", str(out))
    assert done.exit_code == 0, done.output
    predicted = json.loads(out.read_text())["predicted"]
    assert set(predicted) == {"h100", "l4"}
    for device in predicted.values():
        assert device["ratio"]["baseline"] == 1
        assert 0 < device["ratio"]["speculation"] < 1, "fewer passes of a size that costs the same"
    assert "predicted on H100" in done.output
    refused = laconic(*arguments, "--hardware", "h1000")
    assert refused.exit_code == 2
    assert "no hardware is called 'h1000'" in refused.output


def test_the_record_holds_what_a_bandit_learned(laconic, model, problems, tmp_path):
    record = tmp_path / "record.json"
    arms = "suffix@constant:4|suffix@constant:8|none"
    done = laconic(
        "compare", "--tasks", problems, "-n", 3, "-m", model, "--max-tokens", 40, "--no-hf", "--think", "none",
        "--drafter", f"bandit:arms={arms}", "--json", record,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    made = json.loads(record.read_text())
    (report,) = made["learned"]["laconic"].values()
    assert [arm["arm"] for arm in report["arms"]] == arms.split("|")
    assert made["setup"]["length"] == "by-arm"
    assert "learned by laconic, bandit: " in done.stdout
