import json

import pytest


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Every test measures for itself, and nothing is written into the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_table_record_and_cache(laconic, model, tmp_path):
    out = tmp_path / "cost.json"
    done = laconic(
        "cost", "-m", model, "--hardware", "h100,l4", "--hardware", "RTX 4090", "--json", out, "--threads", 1
    )
    assert done.exit_code == 0, done.output
    assert "measured, context 32" in done.stdout
    assert "rtx4090 (predicted)" in done.stdout
    assert "fit: form" in done.stdout
    record = json.loads(out.read_text())
    assert [row["name"] for row in record["hardware"]] == ["h100", "l4", "rtx4090"]
    assert all(row["relative"]["32"]["1"] == 1 for row in record["hardware"])
    assert record["relative"]["256"]["1"] == 1
    assert record["relative"]["256"]["64"] >= 1
    assert record["provenance"]["command"]
    assert max(cell["context"] for cell in record["cost"]["cells"]) == 256, "the model has room for 512 tokens"

    again = tmp_path / "again.json"
    laconic("cost", "-m", model, "--json", again, "--threads", 1)
    assert json.loads(again.read_text())["cost"] == record["cost"], "from the cache"
    (kept,) = (tmp_path / "cache" / "laconic" / "cost").iterdir()
    kept.write_text("{")
    done = laconic("cost", "-m", model, "--json", again, "--threads", 1)
    assert "measuring again" in done.stderr
    assert json.loads(again.read_text())["cost"] != record["cost"]


def test_refusals_are_two_lines(laconic, model, tmp_path):
    for arguments, error, hint in [
        (("-m", model, "--hardware", "h10"), "no hardware is called 'h10'", "Did you mean 'h100'?"),
        (("-m", model, "--dtype", "int8"), "no number format is called 'int8'", "Known"),
        (("-m", tmp_path / "none"), "there is no folder", "bundled"),
        (("-m", model, "--json", tmp_path / "no" / "x.json"), "there is no directory", "Create it"),
    ]:
        done = laconic("cost", *arguments)
        assert done.exit_code == 2
        assert error in done.stderr
        assert hint in done.stderr.splitlines()[1]
