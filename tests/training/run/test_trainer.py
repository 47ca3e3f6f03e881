"""TRL's trainer with what methods do besides rewarding; real steps on a tiny model."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from laconic.errors import UnmetNeed
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.rewards.gppo import GPPO
from laconic.training.run import grpo
from laconic.training.run.data import problems
from laconic.training.run.folder import Folder
from laconic.training.run.progress import Log
from laconic.training.run.trainer import STATE, GroupTrainer, by_length, teaching
from laconic.training.trl import written
from tests import tiny
from tests.training.run.recipes import recipe


class Longest(Reward):
    """Something that differs within every group of wrong rollouts."""

    name = "longest"

    def rewards(self, group: Group) -> list[float]:
        return [float(rollout.tokens) for rollout in group.rollouts]

    def spec(self) -> str:
        return "outcome"


class Own(Longest):
    """Advantages of its own."""

    def advantages(self, group: Group, rewards: Any) -> list[float]:
        return [float(at - 1) for at in range(len(group))]


class Kept(Longest):
    """Learns from the first rollout of each group alone."""

    def keeps(self, group: Group, rewards: Any) -> list[bool]:
        return [at == 0 for at in range(len(group))]


class Shrinking(Longest):
    """A limit that falls."""

    def limit(self, step: int) -> int:
        return 12 - 4 * step


class Learning(Longest):
    """Knobs that move, and lengths that are kept."""

    seen: list[float | None] = []  # noqa: RUF012

    def rewards(self, group: Group) -> list[float]:
        self.seen.append(group.reference)
        return super().rewards(group)

    def remember(self, group: Group) -> float | None:
        return float(max(rollout.tokens for rollout in group.rollouts))


def trainer(checkpoint: Path, questions: Path, out: Path, reward: Reward | None = None, **changes: Any) -> GroupTrainer:
    said = recipe(checkpoint, questions, **{"evaluation": {"n": 0}} | changes)
    folder = Folder(out)
    if not out.exists():
        folder.begin(said, "", resume=False)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    made = grpo.trainer(said, model, tiny.text(), problems(said), folder, Log(folder.log))
    if reward is not None:
        made._scorer.reward = reward
    return made


def batch(made: GroupTrainer) -> dict[str, Any]:
    """A step's rollouts, scored."""
    made.model.train()
    rows = [dict(row) for row in list(made.train_dataset)[:2] for _ in range(4)]
    return dict(made._generate_and_score_completions(rows))


def test_groups_are_scored_whole_and_advantages_are_trls_where_a_method_has_none(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    made = trainer(checkpoint, questions, tmp_path / "out", Longest())
    found = batch(made)
    lengths = found["completion_mask"].sum(1).float().view(2, 4)
    assert [len(group) for group, _ in made._scorer.scored] == [4, 4]
    assert [[r.tokens for r in group.rollouts] for group, _ in made._scorer.scored] == lengths.int().tolist()
    expected = (lengths - lengths.mean(1, keepdim=True)) / (lengths.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(found["advantages"].view(2, 4), expected)


def test_advantages_of_a_methods_own_take_their_place(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    found = batch(trainer(checkpoint, questions, tmp_path / "out", Own()))
    assert found["advantages"].tolist() == [-1.0, 0.0, 1.0, 2.0] * 2


def test_rollouts_that_are_left_out_are_masked_and_not_counted(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    made = trainer(checkpoint, questions, tmp_path / "out", Kept())
    found = batch(made)
    lengths = [[r.tokens for r in group.rollouts] for group, _ in made._scorer.scored]
    assert found["completion_mask"].sum(1).tolist() == [lengths[0][0], 0, 0, 0, lengths[1][0], 0, 0, 0]
    assert int(found["num_items_in_batch"]) == lengths[0][0] + lengths[1][0]


def test_weight_on_divergence_counts(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    found = [
        gradients(trainer(checkpoint, questions, tmp_path / str(kl), Longest(), update={"steps": 2, "kl": kl}))
        for kl in (0.0, 5.0)
    ]
    assert (found[0] - found[1]).abs().max() > 1e-4


def test_a_limit_that_changes_is_kept_to(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    made = trainer(checkpoint, questions, tmp_path / "out", Shrinking())
    for step, most in ((0, 12), (1, 8)):
        made.state.global_step = step
        found = batch(made)
        assert found["completion_mask"].sum(1).max() == most
        assert {group.limit for group, _ in made._scorer.scored} == {most}


def test_rows_are_parted_by_length_without_padding_and_none_is_lost() -> None:
    lengths = [3, 9, 1, 7, 2, 8]
    parts = [
        {
            "completion_ids": torch.tensor([[n] * 9 for n in some]),
            "completion_mask": torch.tensor([[1] * n + [0] * (9 - n) for n in some]),
            "prompt_ids": torch.tensor([[n, 5] for n in some]),
            "advantages": torch.tensor([float(n) for n in some]),
            "num_items_in_batch": torch.tensor(30),
        }
        for some in (lengths[:3], lengths[3:])
    ]
    long, short = by_length(parts)
    assert long["advantages"].tolist() == [9.0, 8.0, 7.0]
    assert short["advantages"].tolist() == [3.0, 2.0, 1.0]
    assert (long["completion_ids"].shape, short["completion_ids"].shape) == ((3, 9), (3, 3))
    for part in (long, short):
        assert part["completion_ids"][:, 0].tolist() == part["prompt_ids"][:, 0].tolist()
        assert part["completion_mask"].sum(1).tolist() == part["advantages"].tolist()
        assert int(part["num_items_in_batch"]) == 30


def test_rows_that_teach_nothing_fill_parts_up_and_no_more() -> None:
    lengths, advantages = [3, 9, 1, 7, 2, 8], [0.0, 0.0, 1.0, -1.0, 0.0, 0.0]
    part = {
        "completion_ids": torch.tensor([[n] * 9 for n in lengths]),
        "completion_mask": torch.tensor([[1] * n + [0] * (9 - n) for n in lengths]),
        "advantages": torch.tensor(advantages),
    }
    half = [{name: value[rows] for name, value in part.items()} for rows in (slice(0, 3), slice(3, 6))]
    third = [{name: value[rows] for name, value in part.items()} for rows in (slice(0, 2), slice(2, 4), slice(4, 6))]
    assert teaching(half).tolist() == [False, False, True, True, False, False]
    taken = [p["completion_mask"].sum(1).tolist() for p in by_length(half, teaching(half))]
    assert taken == [[7], [1]]
    taken = [p["completion_mask"].sum(1).tolist() for p in by_length(third, teaching(third))]
    assert taken == [[7], [1], [2]]
    none = torch.zeros(6, dtype=torch.bool)
    assert [p["completion_mask"].sum(1).tolist() for p in by_length(half, none)] == [[2], [1]]
    every = torch.ones(6, dtype=torch.bool)
    assert [p["completion_mask"].sum(1).tolist() for p in by_length(half, every)] == [[9, 8, 7], [3, 2, 1]]


class Flat(Longest):
    """Says nothing of the first group."""

    def rewards(self, group: Group) -> list[float]:
        flat = not self.seen or self.seen[-1] == 1.0
        self.seen.append(0.0 if flat else 1.0)
        return [0.0] * len(group) if flat else super().rewards(group)

    def __init__(self) -> None:
        self.seen: list[float] = []


@pytest.mark.parametrize("rows", [2, 8])
def test_a_step_is_the_same_without_the_rows_that_teach_nothing(
    checkpoint: Path, questions: Path, tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = {"steps": 1, "rows": rows}
    less = trainer(checkpoint, questions, tmp_path / "1", Flat(), update=update)
    some = gradients(less)
    assert less.computed == 0.5
    monkeypatch.setattr(GroupTrainer, "_leaves_out", lambda self: False)
    more = trainer(checkpoint, questions, tmp_path / "2", Flat(), update=update)
    every = gradients(more)
    assert more.computed == 1.0
    before = torch.cat([v.flatten() for v in AutoModelForCausalLM.from_pretrained(checkpoint).parameters()])
    moved = (every - before).abs() > 5e-3
    torch.testing.assert_close(some[moved], every[moved], atol=1e-3, rtol=0)
    assert moved.float().mean() > 0.3


@pytest.mark.parametrize("update", [{"kl": 0.1}, {"loss": "grpo"}, {"loss": "dr_grpo"}])
def test_every_row_is_computed_where_the_loss_has_a_use_for_it(
    checkpoint: Path, questions: Path, tmp_path: Path, update: dict[str, Any]
) -> None:
    made = trainer(checkpoint, questions, tmp_path / "out", Flat(), update={"steps": 1} | update)
    made.train()
    assert made.computed == 1.0


def gradients(made: GroupTrainer) -> torch.Tensor:
    """Of one step, over all of its passes."""
    made.train()
    return torch.cat([value.detach().flatten() for value in made.model.parameters()])


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo"])
def test_a_step_is_the_same_in_one_pass_and_in_several(
    checkpoint: Path, questions: Path, tmp_path: Path, loss: str
) -> None:
    update = {"steps": 1, "loss": loss}
    whole = gradients(trainer(checkpoint, questions, tmp_path / "1", Longest(), update=update | {"rows": 8}))
    parts = gradients(trainer(checkpoint, questions, tmp_path / "2", Longest(), update=update | {"rows": 2}))
    before = torch.cat([v.flatten() for v in AutoModelForCausalLM.from_pretrained(checkpoint).parameters()])
    assert (whole - before).abs().max() > 1e-3
    moved = (whole - before).abs() > 5e-3  # AdamW's first step is the sign of a gradient; tiny ones are rounding
    torch.testing.assert_close(whole[moved], parts[moved], atol=1e-3, rtol=0)
    assert moved.float().mean() > 0.3


def test_a_token_loss_of_ones_own_is_trls_where_nothing_is_clipped(
    checkpoint: Path, questions: Path, tmp_path: Path
) -> None:
    # A random model is never right, so that GPPO's own advantages would all be 0.
    made = trainer(checkpoint, questions, tmp_path / "out", Own(), update={"rows": 8})
    found = made._prepare_inputs([row for row in list(made.train_dataset)[:2] for _ in range(4)])
    made.current_gradient_accumulation_steps = 1
    expected = made._compute_loss(made.model, found)
    made._scorer.reward = GPPO()
    torch.testing.assert_close(made._compute_loss(made.model, found), expected)
    assert expected.abs() > 1e-3


def test_a_group_loss_sees_its_groups_whole(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    said = "drpo:temperature=0.1"
    with pytest.raises(UnmetNeed, match=r"a step has 2 passes.*Set update.rows"):
        trainer_of(said, checkpoint, questions, tmp_path / "1", rows=4)
    made = trainer_of(said, checkpoint, questions, tmp_path / "2", rows=8)
    found = made._prepare_inputs([row for row in list(made.train_dataset)[:2] for _ in range(4)])
    method = made._scorer.reward
    # Say that the first rollout of each group was right.
    groups = [
        Group(tuple(replace(each, right=at == 0) for at, each in enumerate(group.rollouts)), limit=group.limit)
        for group, _ in made._scorer.scored
    ]
    made._scorer.scored = [(group, [0.0] * 4) for group in groups]
    made.current_gradient_accumulation_steps = 1
    loss = made._compute_loss(made.model, found)
    mask = found["completion_mask"]
    log_probs, _, _ = made._get_per_token_logps_and_entropies(
        made.model,
        torch.cat([found["prompt_ids"], found["completion_ids"]], 1),
        torch.cat([found["prompt_mask"], mask], 1),
        mask.shape[1],
    )
    scores = ((log_probs * mask).sum(1) / mask.sum(1))[found["row"].argsort()]
    by_hand = sum(method.group_loss(group, scores[4 * at : 4 * at + 4]) for at, group in enumerate(groups)) / 2
    torch.testing.assert_close(loss, by_hand)


def test_what_a_method_learns_goes_through_a_checkpoint(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    Learning.seen = []
    made = trainer(checkpoint, questions, tmp_path / "out", Learning(), n=2, update={"steps": 4}, save=2)
    made.train()
    assert Learning.seen[:2] == [None, None]
    assert all(value is not None for value in Learning.seen[2:])
    kept = json.loads((tmp_path / "out" / "checkpoints" / "checkpoint-4" / STATE).read_text())
    assert sorted(kept) == ["kept", "reward"]
    assert len(kept["kept"]) == 2
    again = trainer(checkpoint, questions, tmp_path / "out", None, n=2)
    again.create_optimizer_and_scheduler(4)
    again._load_optimizer_and_scheduler(str(tmp_path / "out" / "checkpoints" / "checkpoint-4"))
    assert again._scorer.state() == kept


@pytest.mark.parametrize(
    "reward",
    ["kimi", "drpo:temperature=0.1",
     "laser-d:easy=8,medium=12,hard=16", "a-dlp:accuracy=0.5,rate=0.1,price=0.01", "dler", "gfpo:k=2", "gppo",
     "hapo", "siri:shortest=8,longest=20,cycle=2", "palu:target=0.5,quantile=0.5", "laser-de:easy=8,medium=12,hard=16"],
)  # fmt: skip
def test_real_steps_with_every_kind_of_method(
    checkpoint: Path, questions: Path, tmp_path: Path, reward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(grpo, "judged", lambda item, reply: (calls.append(item) or len(calls) % 3 > 0, True))
    made = trainer_of(reward, checkpoint, questions, tmp_path / "out", rows=8, steps=4)
    before = [value.detach().clone() for value in made.model.parameters()]
    made.train()
    assert [row["step"] for row in made.watch._log.steps] == [1, 2, 3, 4]
    assert any(not torch.equal(value, old) for value, old in zip(made.model.parameters(), before, strict=True))


def trainer_of(reward: str, checkpoint: Path, questions: Path, out: Path, *, rows: int, steps: int = 1) -> GroupTrainer:
    more = {"iterations": 2} if reward == "gppo" else {}
    said = recipe(
        checkpoint,
        questions,
        reward=reward,
        evaluation={"n": 0},
        update={"rows": rows, "steps": steps} | more,
        save=100,
    )
    folder = Folder(out)
    folder.begin(said, "", resume=False)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    return grpo.trainer(said, model, tiny.text(), problems(said), folder, Log(folder.log))


def test_entropies_are_those_of_thought_and_answer(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    made = trainer_of("pear:alpha=0.5", checkpoint, questions, tmp_path / "out", rows=8)
    found = batch(made)
    every = [rollout for group, _ in made._scorer.scored for rollout in group.rollouts]
    logits = made.model(
        torch.cat([found["prompt_ids"], found["completion_ids"]], 1),
        attention_mask=torch.cat([found["prompt_mask"], found["completion_mask"]], 1),
    ).logits[:, found["prompt_ids"].shape[1] - 1 : -1]
    entropies = torch.distributions.Categorical(logits=logits).entropy()
    text, thoughts = tiny.text(), 0
    for row, rollout in enumerate(every):
        ids = found["completion_ids"][row][: rollout.tokens].tolist()
        kinds = written(text, list(made._rollouts.prompts[row]), ids).told()
        for kind, value in (("thinking", rollout.thought_entropy), ("answer", rollout.answer_entropy)):
            where = [at for at, what in enumerate(kinds) if what == kind]
            thoughts += bool(where)
            expected = float(entropies[row, where].mean().detach()) if where else 0.0
            assert value == pytest.approx(expected, abs=1e-4)
    assert thoughts > 4


def test_what_a_model_did_before_training_is_measured_once(
    checkpoint: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = recipe(checkpoint, questions, reward="o1-pruner:alpha=1", n=2, evaluation={"n": 0}, update={"steps": 2})
    folder = Folder(tmp_path / "out")
    folder.begin(said, "", resume=False)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    found = problems(said)
    known = grpo.references(said, model, tiny.text(), found.training, folder)
    assert sorted(known) == ["0", "1"]
    assert all(0 < each["reference"] <= 24 and each["pass_rate"] == 0 for each in known.values())
    monkeypatch.setattr(grpo, "EngineRollouts", None)  # a second time nothing is sampled
    assert grpo.references(said, model, tiny.text(), found.training, folder) == known
    monkeypatch.undo()
    made = grpo.trainer(said, model, tiny.text(), found, folder, Log(folder.log), known)
    made.train()
    group = made._scorer.scored[0][0]
    assert group.reference in {each["reference"] for each in known.values()}
    assert not grpo.references(recipe(checkpoint, questions), model, tiny.text(), found.training, folder)


def plan(reward: str, checkpoint: Path, questions: Path, out: Path, **rollouts: Any) -> GroupTrainer:
    said = recipe(
        checkpoint, questions, reward=reward, evaluation={"n": 0}, save=100, update={"rows": 8, "steps": 2},
        rollouts={"max_tokens": 40} | rollouts,
    )  # fmt: skip
    folder = Folder(out)
    folder.begin(said, "", resume=False)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    return grpo.trainer(said, model, tiny.text(), problems(said), folder, Log(folder.log))


def test_exits_of_one_thought_are_a_group(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    made = plan("s-grpo:exits=3", checkpoint, questions, tmp_path / "out")
    text = tiny.text()
    asked = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "<think>\n"}]
    ending, cut = text.encode(text.format.ending), 0
    for seed in range(12):  # some thoughts of a random model end, and are answered
        made._rollouts.seed = seed
        found = made._rollouts([asked] * 8, made)
        for first in (0, 4):
            rows = found["completion_ids"][first : first + 4]
            whole = rows[-1]
            kinds = written(text, found["prompt_ids"][first], whole).kinds
            thought = kinds.count("thinking")
            if "answer" not in kinds or not thought:
                assert rows == [whole] * 4
                continue
            exits = min(3, thought - 1)
            assert rows[exits:] == [whole] * (4 - exits)
            cut += exits
            begins = [
                [n for n in range(1, thought) if row[:n] == whole[:n] and row[n : n + len(ending)] == ending]
                for row in rows[:exits]
            ]
            assert all(begins)
            assert all(min(one) < max(then) for one, then in pairwise(begins))
            assert all(len(row) <= 40 + len(ending) + 1 for row in rows)
    assert cut > 6
    made.train()
    assert made.state.global_step == 2


def test_budgets_are_said_and_known(checkpoint: Path, questions: Path, tmp_path: Path) -> None:
    text = tiny.text()
    said = plan("l1-max", checkpoint, questions, tmp_path / "1", budgets=[10, 30])
    batch(said)
    budgets = [[rollout.budget for rollout in group.rollouts] for group, _ in said._scorer.scored]
    assert all(len(set(group)) == 1 and group[0] in (10, 30) for group in budgets)
    prompt = text.decode(said._rollouts.prompts[0])
    assert prompt.endswith(f"0 + 0?\n\nThink for maximum {budgets[0][0]} tokens.<|im_end|>\n<|im_start|>assistant\n")
    thought = plan("hbpo", checkpoint, questions, tmp_path / "2", budgets=[10, 30])
    batch(thought)
    assert [rollout.budget for rollout in thought._scorer.scored[0][0].rollouts] == [10, 30, 10, 30]
    begun = text.decode(thought._rollouts.prompts[1])
    assert begun.endswith(f"{text.format.opens}{text.format.lead}I will answer the question with 30 tokens.\n\n")
    for made in (said, thought):
        made.train()
        assert made.state.global_step == 2


def test_files_of_one_name_are_not_taken_for_each_other(checkpoint: Path, tmp_path: Path) -> None:
    files = []
    for at in (1, 2):
        (tmp_path / str(at)).mkdir()
        files.append(tmp_path / str(at) / "problems.jsonl")
        rows = [{"question": f"{at} * {i}?", "answer": str(at * i)} for i in range(1, 9)]
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = recipe(checkpoint, Path(f"{files[0]},{files[1]}"), evaluation={"n": 4}, save=100)
    found = problems(said)
    assert [item.question for item in found.held_out] == ["1 * 7?", "1 * 8?", "2 * 7?", "2 * 8?"]
    folder = Folder(tmp_path / "out")
    folder.begin(said, "", resume=False)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    made = grpo.trainer(said, model, tiny.text(), found, folder, Log(folder.log))
    for row in made.train_dataset:
        left, right = row["prompt"][0]["content"].rstrip("?").split(" * ")
        assert made._scorer._judge(row["problem"], f"\\boxed{{{int(left) * int(right)}}}") == (True, True)
