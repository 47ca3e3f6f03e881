"""Levels of effort by what a model's own thoughts have shown, and what clients see of the operator's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from laconic.cli.serve import _levels
from laconic.thinking.budget.lengths import Lengths, fingerprint
from tests.serve.live import asked, bundled, own, serving

QUESTION = [{"role": "user", "content": "What is 37 * 48 + 15?"}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    engine = bundled()
    place = tmp_path / "lengths.json"
    quantiles = {"5": 40, "10": 60, "25": 100, "50": 150, "75": 200, "90": 250, "95": 300}
    Lengths("bundled", fingerprint(engine.target), 20, 0, 150.0, quantiles).save(place)
    return place


def test_levels_are_budgets_of_the_models_own_thoughts(file: Path) -> None:
    engine = bundled()
    with serving(own(), efforts=_levels(file, engine)) as live:
        thoughts = []
        for level in ("none", "minimal", "low", "medium", "high"):
            reply = live.chat({"temperature": 0, "messages": QUESTION, "reasoning_effort": level})
            thoughts.append(reply["usage"]["completion_tokens_details"]["reasoning_tokens"])
            assert reply["choices"][0]["message"]["content"]
            shown = json.dumps(reply)
            assert str(file.parent) not in shown
            assert ("lengths.json" in shown) == (level != "none")
        assert thoughts == sorted(thoughts)
        assert len(set(thoughts)) == len(thoughts)
        assert str(file.parent) not in json.dumps(live.http.get("/v1/laconic/status").json())


def test_a_level_that_nobody_knows_says_so() -> None:
    with serving(own()) as live:
        reply = live.chat({"temperature": 0, "messages": QUESTION, "reasoning_effort": "low"})
        (note,) = reply["choices"][0]["laconic"]["notes"]
        assert "reasoning_effort=low" in note
        plain = live.chat(asked({"temperature": 0, "messages": QUESTION}))
        assert plain["choices"][0]["message"] == reply["choices"][0]["message"]
