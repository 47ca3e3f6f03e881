"""The log of a run, and when a run has collapsed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from laconic.training.group import Group, Rollout
from laconic.training.run.progress import Evaluated, Log, collapse, rollouts, worse
from laconic.training.run.recipe import Stop
from laconic.training.run.run import train
from tests.training.run.recipes import recipe


def steps(*right: float, formatted: float = 1.0) -> list[dict[str, float]]:
    return [{"step": at, "right": share, "formatted": formatted} for at, share in enumerate(right, 1)]


def test_shares_and_means_of_rollouts() -> None:
    groups = [
        Group((Rollout(10, 6, right=True), Rollout(20, 10, right=False, truncated=True))),
        Group((Rollout(30, 8, right=False, formatted=False), Rollout(40, 24, right=True))),
    ]
    assert rollouts(groups) == {"right": 0.5, "formatted": 0.75, "truncated": 0.25, "thinking": 12.0, "tokens": 25.0}


def test_a_run_has_collapsed_when_shares_have_fallen_by_more_than_they_may() -> None:
    stop = Stop(accuracy=0.25, window=2)
    assert collapse(steps(0.9, 0.1), stop) is None  # too early to say
    assert collapse(steps(0.75, 1.0, 0.75, 0.5), stop) is None  # 0.875 to 0.625: just as much as it may
    found = collapse(steps(0.8, 0.9, 0.6, 0.5), stop)
    assert found == "the share of rollouts right fell from 0.85 at first to 0.55 in the last 2 steps, by step 4"
    assert "from 1.00 at first to 0.00" in (collapse(steps(1.0, 0.0, 0.0), stop) or "")  # within the first window
    assert "no finite number at step 1; the rate" in (collapse([{"step": 1, "loss": float("nan")}], stop) or "")
    unread = [*steps(0.9, 0.8), *steps(0.9, 0.9, formatted=0.5)]
    assert "with a readable answer fell from 1.00" in (collapse(unread, stop) or "")


def test_a_log_is_taken_up_where_the_checkpoint_was(tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []
    log = Log(tmp_path / "log.jsonl", shown=seen.append)
    for row in [Evaluated(0, 4, 3, 10, 12).as_dict(), {"step": 1}, {"step": 2}, {"step": 3}]:
        log.add(row)
    assert [len(seen), len(log.steps), len(log.evaluations)] == [4, 3, 1]
    again = Log.resumed(tmp_path / "log.jsonl", 2)
    assert [row.get("step") for row in again.rows] == [None, 1, 2]
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == again.rows
    assert again.evaluations[0]["right"] == 0.75
    assert again.evaluations[0]["interval"][0] < 0.75 < again.evaluations[0]["interval"][1]


def test_a_model_that_answers_less_than_it_did_is_worse_where_intervals_tell() -> None:
    stop = Stop(accuracy=0.25)

    def told(*right: int, n: int = 60) -> list[dict[str, object]]:
        return [Evaluated(at, n, share, 10, 12).as_dict() for at, share in enumerate(right)]

    assert worse(told(54, 50, 48), stop) is None
    assert worse(told(54, 30), stop) == "the share of held-out problems that are right fell from 0.90 to 0.50 of 60"
    assert worse(told(2, 1, n=3), stop) is None  # three problems tell nothing
    assert worse(told(54), stop) is None


def test_a_log_holds_no_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.add({"step": 1, "loss": float("nan")})
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 1, "loss": null}\n'


def test_a_page_shows_accuracy_and_length_over_the_steps(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")
    from laconic.training.run.page import render

    out = tmp_path / "out"
    said = recipe(checkpoint, questions)
    seen: list[bool] = []
    train(said, out, shown=lambda row: seen.append((out / "report.html").exists()))
    assert seen[:2] == [False, True]  # drawn after the first evaluation, while the run goes on
    page = (out / "report.html").read_text()
    for words in ("Right answers", "Thinking", "What goes wrong", "Loss", "update.steps", "Held-out problems"):
        assert words in page
    assert page.count("<svg") == 4
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing from elsewhere
    only = render([{"step": 1, "loss": 2.0}], {"model": "m", "sft": {"data": "x"}, "reward": ""})
    assert only.count("<svg") == 1
    assert "Training m by SFT" in only


@pytest.mark.parametrize("right", [0, 75, 4, 10])
def test_a_page_is_drawn_where_all_or_none_are_right(right: int) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")
    from laconic.training.run.page import render

    row = Evaluated(0, right or 75, right, 3.0, 4.0).as_dict()
    assert "<svg" in render([row], {"model": "m", "reward": "kimi"})


def test_a_page_that_cannot_be_drawn_ends_no_run(
    checkpoint: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: train)")
    monkeypatch.setattr("laconic.training.run.page.svg", lambda *_, **__: 1 / 0)
    log = train(recipe(checkpoint, questions, update={"steps": 2}), tmp_path / "out")
    assert (tmp_path / "out" / "model").exists()
    assert any("report.html could not be drawn: division by zero" in row.get("note", "") for row in log.rows)
