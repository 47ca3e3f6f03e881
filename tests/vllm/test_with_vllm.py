"""In a real vLLM: ``LACONIC_VLLM_PYTHON`` names the Python of an environment that has both vLLM and laconic."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

PYTHON = os.environ.get("LACONIC_VLLM_PYTHON", "")
SCRIPTS = Path(__file__).parents[2] / "scripts" / "in_vllm"
QUESTIONS = [f"What is {a} * {b} + {c}?" for a in (3, 17, 48) for b in (4, 29) for c in (5, 61)]

pytestmark = pytest.mark.skipif(not PYTHON, reason="LACONIC_VLLM_PYTHON names no environment with vLLM")


def run(*arguments: str) -> str:
    done = subprocess.run([PYTHON, *arguments], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_place_is_there_and_taken_once() -> None:
    said = run(
        "-c",
        "from laconic.vllm import plugin; plugin.register(); plugin.register(); "
        "print([seam.find()[0] is not None for seam in plugin.SEAMS])",
    )
    assert "False" not in said


def test_budgets_hold_and_no_answer_is_lost(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text("\n".join(json.dumps({"question": question}) for question in QUESTIONS))
    out = tmp_path / "kept.json"
    names = "laconic,ngram"
    run(str(SCRIPTS / "kept.py"), "--problems", str(problems), "--n", "24", "--names", names, "--json", str(out))
    rows = json.loads(out.read_text())["laconic"]
    assert len(rows) == 8
    assert sum(row["requests"] for row in rows) == 96
    assert not any(row[fault] for row in rows for fault in ("over_budget", "no_answer", "errors"))
    assert any(row.get("accepted") for row in rows)
