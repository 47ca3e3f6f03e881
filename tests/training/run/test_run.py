"""Whole runs: their folder, an end by force and a second beginning, collapse, examples and pairs, the command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import laconic
from laconic import Limits
from laconic.bench.fit.draft_head import Learning
from laconic.bench.fit.head_run import HeadRecipe, fit_head
from laconic.cli.main import app
from laconic.engine import Engine
from laconic.errors import Collapsed, GroupError, RecipeError, UnknownMethod, UnmetNeed
from laconic.training.run import grpo
from laconic.training.run.recipe import of
from laconic.training.run.run import train
from tests.training.run.recipes import recipe, said


def weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(out / "model" / "model.safetensors"))


def toml(tables: dict[str, Any]) -> str:
    """A recipe as a file; its values are numbers and texts."""
    plain = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for name, table in tables.items():
        if isinstance(table, dict):
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def test_a_run_leaves_its_recipe_its_log_and_a_model_that_answers(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shown: list[dict[str, Any]] = []
    log = train(recipe(checkpoint, questions), out, shown=shown.append)
    assert shown == log.rows == [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log.steps] == [1, 2, 3, 4]
    assert [row["evaluation"] for row in log.evaluations] == [0, 2, 4]
    assert {row["n"] for row in log.evaluations} == {3}
    assert all(row["path"] == "written-out" and row["seconds"] > row["sampling"] > 0 for row in log.steps)
    assert json.loads((out / "recipe.json").read_text())["update"]["steps"] == 4
    before = load_file(checkpoint / "model.safetensors")
    assert any(not torch.equal(value, before[name]) for name, value in weights(out).items())
    result = Engine.load(out / "model").generate("1 + 1?")
    assert result.tokens


def test_a_run_that_is_killed_ends_as_if_it_had_not_been(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    tables = said(checkpoint, questions, reward="hapo", update={"steps": 6}, evaluation={"n": 2, "every": 3})
    file = tmp_path / "recipe.toml"
    file.write_text(toml(tables | {"save": 1}))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    log = train(of(tables | {"save": 1}), whole)
    command = [sys.executable, "-m", "laconic", "train", str(file), str(cut), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(laconic.__file__).parents[1])}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as running:
        deadline = time.monotonic() + 120
        while not (cut / "checkpoints" / "checkpoint-2" / "complete").exists():
            assert time.monotonic() < deadline, "no checkpoint"
            assert running.poll() is None, "the run has ended"
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    assert not (cut / "model").exists()
    again = train(of(tables | {"save": 1}), cut, resume=True)
    kept = ("step", "evaluation", "reward", "right", "tokens", "loss")
    assert [{k: row.get(k) for k in kept} for row in again.rows] == [{k: row.get(k) for k in kept} for row in log.rows]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(cut).items())


def test_a_checkpoint_that_was_not_written_whole_is_passed_over(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    tables = {"save": 1, "evaluation": {"n": 0}}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(recipe(checkpoint, questions, **tables), whole)
    train(recipe(checkpoint, questions, **tables), cut)
    shutil.rmtree(cut / "model")
    last = cut / "checkpoints" / "checkpoint-4"
    (last / "complete").unlink()
    (last / "laconic_state.json").unlink()
    seen: list[dict[str, Any]] = []
    train(recipe(checkpoint, questions, **tables), cut, resume=True, shown=seen.append)
    assert [row["step"] for row in seen] == [4]
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(cut).items())


def test_a_run_that_was_killed_while_it_was_written_is_only_written(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    for extra in ({}, {"lora": {"rank": 2}}):
        tables = {"save": 2, "evaluation": {"n": 0}, **extra}
        whole, cut = tmp_path / f"whole{len(extra)}", tmp_path / f"cut{len(extra)}"
        train(recipe(checkpoint, questions, **tables), whole)
        train(recipe(checkpoint, questions, **tables), cut)
        (cut / "model").rename(cut / "model.part")  # half of it may be there
        log = (cut / "log.jsonl").read_text()
        (cut / "log.jsonl").write_text(log + '{"step": 5, "rew')
        train(recipe(checkpoint, questions, **tables), cut, resume=True)
        assert (cut / "log.jsonl").read_text() == log
        name = "adapter_model.safetensors" if extra else "model.safetensors"
        one, two = (load_file(out / "model" / name) for out in (whole, cut))
        assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_what_may_not_be_resumed(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    out, short = tmp_path / "out", {"steps": 1}
    with pytest.raises(RecipeError, match="holds no run"):
        train(recipe(checkpoint, questions, update=short), out, resume=True)
    train(recipe(checkpoint, questions, update=short, evaluation={"n": 0}), out)
    with pytest.raises(RecipeError, match="is there already"):
        train(recipe(checkpoint, questions, update=short), out)
    with pytest.raises(RecipeError, match="has ended"):
        train(recipe(checkpoint, questions, update=short, evaluation={"n": 0}), out, resume=True)
    (out / "model").rename(tmp_path / "elsewhere")
    other = tmp_path / "problems.jsonl"
    other.write_text(questions.read_text().replace("0 + 0", "0 + 00"))
    with pytest.raises(RecipeError, match=r"what differs: problems"):
        train(recipe(checkpoint, other, update=short, evaluation={"n": 0}), out, resume=True)
    kept = questions.read_text()
    try:
        questions.write_text(other.read_text())
        with pytest.raises(RecipeError, match="had other problems"):
            train(recipe(checkpoint, questions, update=short, evaluation={"n": 0}), out, resume=True)
    finally:
        questions.write_text(kept)
    with pytest.raises(RecipeError, match=r"another recipe; what differs: evaluation.n \(0, now 3\), update.rate"):
        train(recipe(checkpoint, questions, update=short | {"rate": 1e-3}), out, resume=True)


def test_a_run_that_collapses_says_why_and_leaves_no_model(
    checkpoint: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo, "judged", lambda item, reply: (calls.append(item) or len(calls) <= 16, True))
    calls: list[Any] = []
    made = recipe(checkpoint, questions, stop={"window": 2}, update={"steps": 9}, evaluation={"n": 0})
    with pytest.raises(
        Collapsed, match=r"rollouts right fell from 1.00 at first to 0.50 in the last 2 steps, by step 3"
    ):
        train(made, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 3


def test_a_rate_that_destroys_a_model_writes_none(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    file = rows(tmp_path / "sft.jsonl", *({"prompt": "1 + 1?", "completion": " 2"} for _ in range(8)))
    made = recipe(checkpoint, questions, sft={"data": str(file), "rows": 2, "rate": 1e30}, evaluation={"n": 0})
    with pytest.raises(Collapsed, match="no finite number at step 2"):
        train(made, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_one_process_at_a_time_is_at_work_in_a_folder(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    made = recipe(checkpoint, questions, evaluation={"n": 0}, update={"steps": 2})
    train(made, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "model")
    code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path / "out" / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(RecipeError, match="another process is at work"):
            train(made, tmp_path / "out", resume=True)
        other.communicate(b"\n")
    train(made, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"reward": "l1-max"}, UnmetNeed, "'l1-max' needs a budget for each rollout"),
        ({"reward": "e1"}, UnmetNeed, "'e1' needs an effort"),
        ({"reward": "lapo-internalization"}, UnmetNeed, "goes on from lengths of another run"),
        ({"reward": "gfpo:k=9"}, RecipeError, "keeps 9 of 4 rollouts"),
        ({"reward": "s-grpo:exits=7"}, RecipeError, "groups of 8, .* not of 4"),
        ({"reward": "dapo"}, GroupError, "buffer"),
        ({"rollouts": {"drafter": "nothing"}}, UnknownMethod, "nothing"),
        ({"rollouts": {"drafter": "hybrid:[suffix]+[draft-model]"}}, UnmetNeed, "'draft-model' needs a draft model"),
        ({"lora": {"targets": "nope"}}, RecipeError, "lora.targets: .*nope"),
        ({"rollouts": {"max_tokens": 500}}, RecipeError, r"prompt has \d+ tokens, a reply may have 500"),
        ({"model": "nowhere"}, Exception, "nowhere"),
    ],
)
def test_what_cannot_go_well_is_said_before_there_is_a_folder(
    checkpoint: Path, questions: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        train(recipe(checkpoint, questions, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_group_that_is_torn_is_no_silent_mean(checkpoint: Path, questions: Path) -> None:
    from laconic.training.trl import GroupReward

    reward = GroupReward("kimi", generations=4, limit=24)
    with pytest.raises(GroupError, match="whole groups of 4"):
        reward(prompts=["a"] * 3, completions=["1"] * 3, completion_ids=[[1]] * 3, answer=["1"] * 3)


def test_an_adapter_is_trained_in_place_of_the_weights(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train(recipe(checkpoint, questions, lora={"rank": 2}, update={"steps": 2}, evaluation={"n": 0}), out)
    assert (out / "model" / "adapter_config.json").exists()
    assert not (out / "model" / "model.safetensors").exists()
    full, none = (Engine.load(out / "model", lora_scale=scale) for scale in (None, 0.0))
    plain = Engine.load(checkpoint)
    found, off, base = (engine.target.model.state_dict() for engine in (full, none, plain))
    assert all(torch.equal(value, base[name]) for name, value in off.items())
    assert any((value - base[name]).abs().max() > 1e-4 for name, value in found.items())
    with pytest.raises(RecipeError, match="is an adapter"):
        train(recipe(out / "model", questions), tmp_path / "again")
    said = json.loads((out / "model" / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(checkpoint.resolve())


def rows(path: Path, *found: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def test_examples_and_pairs_are_learned_from(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "1 + 1?"}]

    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    texts = rows(tmp_path / "sft.jsonl", *({"prompt": asked, "completion": answer("2"), "id": at} for at in range(8)))
    pairs = rows(
        tmp_path / "dpo.jsonl", *({"prompt": asked, "chosen": answer("2"), "rejected": answer("no")} for _ in range(8))
    )
    for name, file in (("sft", texts), ("dpo", pairs)):
        tables = said(
            checkpoint,
            questions,
            evaluation={"n": 2},
            **{name: {"data": str(file), "rows": 2, "rate": 3e-3, "epochs": 3}},
        )
        log = train(of(tables), tmp_path / name)
        losses = [row["loss"] for row in log.steps]
        assert len(losses) == 12
        assert losses[-1] < losses[0] * 0.8
        assert [row["evaluation"] for row in log.evaluations] == [0, 12]
        assert (tmp_path / name / "model" / "model.safetensors").exists()


def test_pairs_can_be_imitated_as_well(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "1 + 1?"}]
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in ("2", "no"))
    pairs = rows(tmp_path / "dpo.jsonl", *({"prompt": asked, "chosen": chosen, "rejected": rejected} for _ in range(8)))
    likely = []
    for weight in (0.0, 1.0):
        table = {"data": str(pairs), "rows": 2, "rate": 3e-3, "epochs": 3, "imitate": weight}
        log = train(of(said(checkpoint, questions, evaluation={"n": 0}, dpo=table)), tmp_path / f"{weight}")
        likely.append([log.steps[0]["logps/chosen"], log.steps[-1]["logps/chosen"]])
        assert log.steps[-1]["rewards/accuracies"] == 1
    assert likely[1][0] == pytest.approx(likely[0][0])
    assert likely[1][1] > max(likely[0][1], likely[1][0]) + 1  # nats
    with pytest.raises(RecipeError, match=r"sft\.imitate has no effect"):
        of(said(checkpoint, questions, sft={"data": str(pairs), "imitate": 1.0}))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([{"question": "x"}], "line 1: it has question"),
        ([{"prompt": "a", "completion": "b"}, {"text": "c"}], "line 2: it has text"),
        ([{"prompt": "a", "completion": 3}], "line 1: a value is neither"),
        ([{"messages": []}], "line 1: a value is neither"),
        (
            [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": [{"role": "x", "content": "y"}]}],
            "line 2",
        ),
        ([], "has no rows"),
    ],
)
def test_examples_in_no_form_are_refused(
    checkpoint: Path, questions: Path, tmp_path: Path, found: list[dict[str, Any]], words: str
) -> None:
    tables = said(checkpoint, questions, sft={"data": str(rows(tmp_path / "x.jsonl", *found))})
    with pytest.raises(RecipeError, match=words):
        train(of(tables), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(toml(said(checkpoint, questions)))
    done = CliRunner().invoke(app, ["train", str(file), str(tmp_path / "out"), "--set", "update.steps=2"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("evaluation at step 0: 0.0% right of 3 (0% to 56%), ")
    assert lines[1].startswith("step 1, reward ")
    assert lines[-3].startswith("before: ")
    assert lines[-2].startswith("after:  ")
    assert lines[-1] == f"wrote {tmp_path / 'out' / 'model'}"
    refused = CliRunner().invoke(app, ["train", str(file), str(tmp_path / "out")])
    assert refused.exit_code == 2
    assert "is there already" in refused.output


def test_a_head_drafts_rollouts_and_evaluations_of_a_model_that_changes(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    engine, head = Engine.load(str(checkpoint), drafter="none"), tmp_path / "mtp"
    asked = [engine.request(f"{i}?", limits=Limits(40, answer_room=0)) for i in range(8)]
    fit = HeadRecipe("mtp", tokens=300, kept=264, batch=8, learning=Learning(epochs=0.5, batch_tokens=256))
    fit_head(engine, lambda number, replies: asked, head, fit)
    tables = {"update": {"steps": 2}, "evaluation": {"n": 3, "every": 1}}
    logs = [
        train(recipe(checkpoint, questions, rollouts={"drafter": drafter}, **tables), tmp_path / name)
        for name, drafter in (("plain", "none"), ("head", f"head:{head}"), ("online", f"online-head:{head},share=1"))
    ]
    told = [[(row["evaluation"], row["right"], row["tokens"]) for row in log.evaluations] for log in logs]
    assert told[0] == told[1] == told[2]
    assert [row["step"] for row in logs[0].steps] == [1, 2]
    assert all(row["drafted"] > 0 for log in logs[1:] for row in log.steps)
    assert [row["loss"] for row in logs[0].steps] == [row["loss"] for row in logs[1].steps]
    learned = said(
        checkpoint, questions, rollouts={"drafter": f"head:{head}"}, evaluation={"n": 2},
        sft={"data": str(rows(tmp_path / "sft.jsonl", *({"prompt": "a", "completion": "b"} for _ in range(4))))},
    )  # fmt: skip
    assert [row["evaluation"] for row in train(of(learned), tmp_path / "sft").evaluations] == [0, 1]


def test_a_resumed_run_with_other_solutions_is_another(checkpoint: Path, tmp_path: Path) -> None:
    made = [{"question": f"{i} + {i}?", "answer": str(2 * i), "solution": f"{i}+{i}={2 * i}"} for i in range(8)]
    file = rows(tmp_path / "solved.jsonl", *made)
    one = recipe(checkpoint, file, rollouts={"plan": "anchor", "max_tokens": 40}, evaluation={"n": 0}, save=1)
    train(one, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "model")
    rows(file, *({**row, "solution": "so it is"} for row in made))
    with pytest.raises(RecipeError, match="other problems or examples"):
        train(one, tmp_path / "out", resume=True)
