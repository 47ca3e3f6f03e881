"""Rollout plans inside TRL's trainer, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import AutoModelForCausalLM

from laconic.bench.tasks import Item
from laconic.errors import RecipeError, TrainingError
from laconic.models.text import Text
from laconic.policy import registry
from laconic.training.group import Group
from laconic.training.plans.base import Plan, Planned, Step
from laconic.training.run import grpo
from laconic.training.run.data import problems
from laconic.training.run.folder import Folder
from laconic.training.run.progress import Log
from laconic.training.run.run import train
from laconic.training.run.solutions import solution, solutions
from laconic.training.run.trainer import GroupTrainer, kept_rows
from laconic.training.traces.rendering import Renderer
from tests import tiny
from tests.training.groups import group, make
from tests.training.run.recipes import recipe
from tests.training.traces.made import HARMONY, PLAIN

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
    found, made = problems(said), said.plan()
    assert made is not None
    solved = solutions(made, tiny.text(), found.numbered(), 40)[0] if made.solutions else {}
    return grpo.trainer(said, model, tiny.text(), found, folder, Log(folder.log), None, solved)


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


def items(**solved: str) -> dict[str, Item]:
    return {
        name: Item(name, "k", f"{name}?", "12", lambda said: said == "12", solution=words)
        for name, words in solved.items()
    }


def made(name: str) -> Plan:
    return cast(Plan, registry.build("plan", name))


def test_solutions_that_cannot_be_used_are_left_out_and_told() -> None:
    text, known = tiny.text(), items(good="3 * 4", none="", long="x" * 90)
    found, told = solutions(made("anchor"), text, known, 60)
    assert set(found) == {"good"}
    assert told == "solutions that are left out: 1 have more than 60 tokens"
    found, told = solutions(made("seele"), text, known, 60)  # which says a part of them
    assert (set(found), told) == ({"good", "long"}, None)
    with pytest.raises(RecipeError, match="no problem has a usable one: 1 have more"):
        solutions(made("anchor"), text, items(long="x" * 90), 60)
    known = items(good="3 * 4", other="The answer is 5 at first.")  # part of the reply, without thinking tags
    found, told = solutions(made("anchor"), PLAIN, known, 200)
    assert set(found) == {"good"}
    assert told == "solutions that are left out: 1 do not come to the right answer, as they are read"


@pytest.mark.parametrize("text", [tiny.text(), HARMONY, PLAIN], ids=["tags", "channels", "none"])
def test_hints_end_within_the_words_of_a_solution(text: Text) -> None:
    words = "First 3 * 4.\n\nThat makes 12, so the answer is twelve."
    found = solution(Renderer(text), items(q=words)["q"])
    before, after = text.decode(list(found.tokens)).split(words)
    begun, ended = (text.decode(list(found.tokens[:count])) for count in (found.first, found.last))
    assert begun == before + words[:1]
    assert ended == before + words
    assert "12" in after


def test_rollouts_behind_long_hints_are_read_as_what_they_are(checkpoint: Path, solved: Path, tmp_path: Path) -> None:
    """A hint of more tokens than are looked at to tell the phase, and a thought that states the answer and is cut."""
    trained = trainer(checkpoint, solved, tmp_path / "out", "seele", reward="outcome")
    text, hint = tiny.text(), "<think>\n" + "so it goes on and on " * 8

    class Long(Moved):
        def rollouts(self, step: Step) -> list[Planned]:
            begun = tuple(text.encode(hint))
            rows = [tuple(text.encode(end)) for end in ("no </think>\n\n0<|im_end|>", "the answer is 0")]
            return [
                Planned(at, (*step.asked[at].prompt, *begun), rows[part % 2], hint=len(begun))
                for at in range(2)
                for part in range(4)
            ]

        def step_advantages(self, groups: Any, rewards: Any) -> list[list[float]]:
            return [list(given) for given in rewards]

    trained._rollouts.plan = Long()  # type: ignore[attr-defined]
    batch(trained)
    first = trained._scorer.scored[0][0].rollouts
    assert [bool(r.right) for r in first] == [True, False] * 2
    assert [r.truncated for r in first] == [False, True] * 2
    assert first[0].thought == len(text.encode("no </think>"))
    assert first[1].thought == first[1].tokens
    assert trained._rollouts.begun(8) == [len(text.encode(hint))] * 8


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
        ({"rollouts": {"plan": "anchor"}}, "no problem has a usable one"),
        ({"rollouts": {"plan": "tree:segment=24"}}, "parts nothing"),
        ({"rollouts": {"plan": "gvm", "reuse": True}}, "reuse has no effect beside"),
        ({"rollouts": {"plan": "gvm"}, "reward": "s-grpo:exits=3"}, "makes rollouts of its own"),
        ({"rollouts": {"plan": "gvm"}, "reward": "dler"}, "both have advantages"),
        ({"rollouts": {"plan": "seele"}, "reward": "hapo"}, "goes by earlier rollouts' lengths"),
        ({"rollouts": {"plan": "tree:segment=9"}, "reward": "siri:shortest=8,longest=20,cycle=2"}, "parts nothing"),
        ({"rollouts": {"plan": "gvm"}, "sft": {"data": "x"}}, "rollouts.plan has no effect beside"),
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
