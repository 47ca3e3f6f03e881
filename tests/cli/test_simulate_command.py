import functools
import json

import pytest

from laconic.bench.cost import Cell, fit
from laconic.bench.simulate.recording import Recording, Script, Stray, read, write


@pytest.fixture
def recording(tmp_path):
    hits = [True, True, False, True] * 5
    strays = {t: Stray([0.7] * 4, [0.4] * 4) for t, hit in enumerate(hits) if not hit}
    path = tmp_path / "recording.jsonl"
    write(Recording((Script("a", 9, 64, hits, [0.9] * 20, [0.3] * 20, strays),), {"model": "m"}), path)
    return path


@pytest.fixture
def cost(tmp_path):
    from dataclasses import asdict

    path = tmp_path / "cost.json"
    cells = [Cell(n, c, 1, 0.01 + 1e-4 * n + 1e-6 * c) for n in (1, 4, 16) for c in (32, 64)]
    path.write_text(json.dumps({"cost": asdict(fit(cells)) | {"knee": None}}))
    return path


@pytest.fixture
def files(recording, cost):
    return ["--recording", recording, "--cost", cost, "--draft-cost", cost]


def test_table_json_and_page(laconic, files, tmp_path):
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    done = laconic("simulate", *files, "--arrivals", "closed:1,4", "--n", 8, "--slo", 5, "--json", out,
                   "--report", page, "--policies", "none,confidence:threshold=0.5,maximum=3,marginal")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    record = json.loads(out.read_text())
    assert [point["load"] for point in record["loads"]] == ["closed:1", "closed:4"]
    assert list(record["loads"][0]["policies"]) == ["none", "confidence:threshold=0.5,maximum=3", "marginal"]
    run = record["loads"][1]["policies"]["none"]
    assert run["tokens"] == 8 * 20
    assert f"{run['goodput']:,.0f}" in done.stdout
    assert "closed:4" in done.stdout
    assert record["provenance"]["versions"]
    assert page.read_text().startswith("<!doctype html>")


def test_a_trace_with_bad_lines_at_two_speeds(laconic, files, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,12,5\nbad\n2023-11-16 18:17:09,8,9\n"
    )
    done = laconic("simulate", *files, "--arrivals", trace, "--speedup", "1,10", "--policies", "none,constant:2")
    assert done.exit_code == 0, done.stderr
    assert "trace x10" in done.stdout
    assert "LEFT OUT of the trace 1: line 3" in done.stdout


def test_memory_by_rooflines(laconic, recording, tmp_path):
    out = tmp_path / "out.json"
    roofline = "roofline:h100:bundled"
    done = laconic("simulate", "--recording", recording, "--cost", roofline, "--draft-cost", roofline, "--memory", 1,
                   "--arrivals", "poisson:100", "--n", 6, "--policies", "none,constant:2", "--json", out)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert json.loads(out.read_text())["setup"]["bytes"] == 1e9
    tight = laconic("simulate", "--recording", recording, "--cost", roofline, "--arrivals", "poisson:100", "--n", 6,
                    "--policies", "none", "--memory", 1e-6)  # fmt: skip
    assert tight.exit_code == 0, tight.stderr
    assert "REFUSED under poisson:100: 6 requests" in tight.stdout


def test_record_and_measure_here(laconic, model, problems, tmp_path, monkeypatch):
    from laconic.cli import simulate_parts

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick = functools.partial(simulate_parts.calibrate, batches=(1, 2), lengths=("none", "constant:2"), tokens=6)
    monkeypatch.setattr(simulate_parts, "calibrate", quick)
    into = tmp_path / "made.jsonl"
    done = laconic("simulate", "--model", model, "--draft-model", model, "--tasks", problems, "--texts", 3,
                   "--max-tokens", 20, "--record", into, "--arrivals", "closed:2", "--n", 4, "--memory", 1)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    made = read(into)
    assert (len(made.scripts), made.hit_rate) == (3, 1.0)
    assert made.header["model"] == model
    assert f"wrote {into}" in done.stderr.replace("\n", "")
    again = laconic("simulate", "--recording", into, "--arrivals", "closed:1", "--n", 2)
    assert again.exit_code == 0, again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arrivals", "closed:0"], "names no load"),
        (["--arrivals", "opened:3"], "no arrivals are called"),
        (["--arrivals", "/nowhere/trace.csv"], "cannot read"),
        (["--policies", "constnt:3"], "Did you mean 'constant'"),
        (["--policies", ","], "names none"),
        (["--speedup", "fast"], "no list of numbers"),
        (["--host", "guessed"], "Known: measured, none"),
        (["--cost", "/nowhere.json"], "cannot read the cost model"),
        (["--cost", "roofline:h999:bundled"], "no hardware"),
        (["--recording", "/nowhere.jsonl"], "cannot read"),
        (["--record", "x.jsonl"], "Give one of them"),
        (["--json", "/nowhere/at/all.json"], "there is no directory"),
    ],
)
def test_refused(laconic, files, arguments, words):
    done = laconic("simulate", *files, *arguments)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr


def test_drafts_need_a_cost(laconic, recording, cost):
    done = laconic("simulate", "--recording", recording, "--cost", cost)
    assert (done.exit_code, "--draft-cost" in done.stderr) == (2, True)
