"""Rollout plans inside TRL's trainer, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from laconic.errors import RecipeError, TrainingError
from laconic.training.group import Group
from laconic.training.plans.base import Plan, Planned, Step
from laconic.training.run import grpo
from laconic.training.run.data import problems
from laconic.training.run.folder import Folder
from laconic.training.run.progress import Log
from laconic.training.run.run import train
from laconic.training.run.trainer import GroupTrainer, kept_rows
from tests import tiny
from tests.training.groups import group, make
from tests.training.run.recipes import recipe

PLANS = ("tree:segment=8", "anchor", "anchor:needed=true", "seele", "gvm:pilots=1")


@pytest.fixture(scope="session")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problems with solutions, but for the last."""
    place = tmp_path_factory.mktemp("solved") / "problems.jsonl"
    rows: list[dict[str, Any]] = [
        {"question": f"{i} + {i}?", "answer": str(2 * i), "solution": f"{i}+{i}={2 * i}"} for i in range(12)
    ]
    del rows[-1]["solution"]
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def trainer(checkpoint: Path, questions: Path, out: Path, plan: str, **changes: Any) -> GroupTrainer:
    rollouts = {"plan": plan, "max_tokens": 40} | changes.pop("rollouts", {})
    said = recipe(
        checkpoint, questions, rollouts=rollouts, evaluation={"n": 0}, update={"steps": 2}, save=100, **changes
    )
    folder = Folder(out)
    folder.begin(said, "", resume=False)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    return grpo.trainer(said, model, tiny.text(), problems(said), folder, Log(folder.log))


def batch(made: GroupTrainer) -> dict[str, Any]:
    made.model.train()
    rows = [dict(row) for row in list(made.train_dataset)[:2] for _ in range(4)]
    return dict(made._generate_and_score_completions(rows))


class Moved(Plan):
    """Six rollouts of the first problem and two of the second, one of them right, which are learned from as told."""

    name = "moved"

    def rollouts(self, step: Step) -> list[Planned]:
        text = tiny.text()
        wrong, right = (tuple(text.encode(f"<think>\nx\n</think>\n\n{said}<|im_end|>")) for said in ("77", "2"))
        replies = [(0, wrong)] * 6 + [(1, wrong), (1, right)]
        return [Planned(at, step.asked[at].prompt, reply) for at, reply in replies]

    def step_advantages(self, groups: Any, rewards: Any) -> list[list[float]]:
        assert [len(each) for each in groups] == [6, 2]
        return [[float(at) for at in range(len(each))] for each in groups]


def test_rows_that_change_problems_are_judged_by_their_own(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    made = trainer(checkpoint, questions, tmp_path / "out", "gvm:pilots=1", reward="outcome")
    made._rollouts.plan = Moved()  # type: ignore[attr-defined]
    found = batch(made)
    assert [[bool(r.right) for r in each.rollouts] for each, _ in made._scorer.scored] == [[False] * 6, [False, True]]
    assert found["advantages"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]
    text = tiny.text()
    said = [text.decode(row[row != text.tokenizer.pad_token_id].tolist()) for row in found["prompt_ids"]]
    assert ["0 + 0?" in each for each in said] == [True] * 6 + [False] * 2


def test_a_plan_that_breaks_its_contract_is_no_silent_step(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    class Short(Moved):
        def rollouts(self, step: Step) -> list[Planned]:
            return super().rollouts(step)[:6]

    made = trainer(checkpoint, questions, tmp_path / "out", "gvm:pilots=1")
    made._rollouts.plan = Short()  # type: ignore[attr-defined]
    with pytest.raises(TrainingError, match="made 6 rollouts of 1 problems"):
        batch(made)


@pytest.mark.parametrize("plan", PLANS)
def test_real_steps_under_every_plan(checkpoint: Path, solved: Path, tmp_path: Path, plan: str) -> None:
    made = trainer(checkpoint, solved, tmp_path / "out", plan)
    before = [value.detach().clone() for value in made.model.parameters()]
    made.train()
    assert [row["step"] for row in made.watch._log.steps] == [1, 2]
    assert any(not torch.equal(value, old) for value, old in zip(made.model.parameters(), before, strict=True))


@pytest.mark.parametrize("plan", PLANS)
def test_rollouts_are_the_same_for_the_same_seed_and_step(
    checkpoint: Path, solved: Path, tmp_path: Path, plan: str
) -> None:
    one, two = (trainer(checkpoint, solved, tmp_path / name, plan) for name in "ab")
    two._rollouts.batch = 1
    first, second = batch(one), batch(two)
    assert torch.equal(first["completion_ids"], second["completion_ids"])
    two._rollouts.seed = 9
    assert not torch.equal(first["completion_ids"], batch(two)["completion_ids"])


def test_a_solution_stands_in_its_group_and_is_right(checkpoint: Path, solved: Path, tmp_path: Path) -> None:
    made = trainer(checkpoint, solved, tmp_path / "out", "anchor", reward="outcome")
    batch(made)
    for at, (each, _) in enumerate(made._scorer.scored):
        assert each.rollouts[0].right
        assert each.rollouts[0].text is not None
        assert f"{at}+{at}={2 * at}" in each.rollouts[0].text


def test_hints_begin_the_thought_and_are_not_learned(checkpoint: Path, solved: Path, tmp_path: Path) -> None:
    made = trainer(checkpoint, solved, tmp_path / "out", "seele")
    found = batch(made)
    hints = [[r.hint for r in each.rollouts] for each, _ in made._scorer.scored]
    assert all(not any(of[:2]) and all(of[2:]) for of in hints)
    text = tiny.text()
    asked, learned = text.decode(made._rollouts.prompts[3]), text.decode(found["completion_ids"][3].tolist())
    begun = asked.partition("<|im_start|>assistant\n")[2]
    assert begun.startswith(text.format.opens)
    thought = f"0+0=0{text.format.trail}"
    assert thought.startswith(begun.removeprefix(text.format.opens + text.format.lead))
    assert not learned.startswith(begun)


def test_the_gradient_is_that_of_the_output_layer(checkpoint: Path, solved: Path, tmp_path: Path) -> None:
    from laconic.training.run.planned import _Step

    made = trainer(checkpoint, solved, tmp_path / "out", "gvm:pilots=1", rollouts={"temperature": 0.7})
    made._rollouts.trainer = made  # type: ignore[attr-defined]
    asked = [made._rollouts.request(row["prompt"], 0) for row in list(made.train_dataset)[:1] for _ in range(4)]
    step = _Step(made._rollouts, None, asked)  # type: ignore[arg-type]
    reply = tuple(tiny.text().encode("12 + 4"))
    model, prompt = made.model, step.asked[0].prompt
    head = model.get_output_embeddings()
    apart = torch.nn.Parameter(head.weight.detach().clone())  # embeddings may be tied to it
    tokens = torch.tensor([[*prompt, *reply]])
    hidden = model(tokens, output_hidden_states=True).hidden_states[-1].detach()
    logits = torch.nn.functional.linear(hidden, apart) / 0.7
    there = logits[0, len(prompt) - 1 : -1].log_softmax(-1).gather(1, tokens[0, len(prompt) :, None]).sum()
    there.backward()
    assert apart.grad is not None
    assert step.gradient(0, reply) == pytest.approx(float(apart.grad.norm()), rel=1e-4)
    assert step.gradient(0, ()) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rollouts": {"plan": "anchor"}}, "no problem has one"),
        ({"rollouts": {"plan": "tree:segment=24"}}, "parts nothing"),
        ({"rollouts": {"plan": "gvm", "reuse": True}}, "reuse has no effect beside"),
        ({"rollouts": {"plan": "gvm"}, "reward": "s-grpo:exits=3"}, "makes rollouts of its own"),
        ({"rollouts": {"plan": "gvm"}, "reward": "dler"}, "both have advantages"),
        ({"rollouts": {"plan": "gvm"}, "update": {"scale": "batch"}}, "update.scale has no effect, 'gvm' has its own"),
    ],
)
def test_what_does_not_go_with_a_plan(
    checkpoint: Path, questions: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(RecipeError, match=words):
        train(recipe(checkpoint, questions, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lspo_learns_from_the_shortest_and_the_longest() -> None:
    lengths = ("+10 -10", "+20 -20", "+30 -30", "+40 -40", "+50 +5000")
    groups: list[Group] = [group(each) for each in lengths]
    rewards = [make("outcome").rewards(each) for each in groups]
    lspo: Any = make("lspo")  # short=0.25,long=0.75: of 10 20 30 40, the last teaching nothing, up to 17.5, from 32.5
    assert kept_rows(lspo, groups, rewards) == [True] * 2 + [False] * 4 + [True] * 2 + [False] * 2
    assert kept_rows(lspo, groups[4:], rewards[4:]) == [False] * 2
