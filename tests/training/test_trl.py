"""The function for TRL's trainer, called as the trainer calls it: see the module's docstring."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from laconic.errors import GroupError, RewardError, UnmetNeed
from laconic.training.base import Reward
from laconic.training.group import Group
from laconic.training.trl import TRLReward
from tests import tiny

TEXT = tiny.text()
END = "<|im_end|>"
near = pytest.approx


def call(reward: Any, rows: list[tuple[Any, str, str]], text: Any = TEXT, **columns: Any) -> list[float]:
    """One call with rows of prompt, right answer and completion, as the trainer makes it."""
    ids = [TEXT.encode(completion) for _, _, completion in rows]
    return reward(
        prompts=[prompt for prompt, _, _ in rows],
        completions=[completion.removesuffix(END) for _, _, completion in rows],
        completion_ids=ids,
        answer=[answer for _, answer, _ in rows],
        trainer_state=SimpleNamespace(global_step=columns.pop("step", 0)),
        log_extra=print,
        log_metric=print,
        **columns,
    )


def thought(words: str, answer: str) -> str:
    return f"<think>{words}</think>The answer is {answer}{END}"


class Shown(Reward):
    """Gives rewards 0 and shows the groups it was given."""

    name = "shown"
    groups: list[Group] = []  # noqa: RUF012  (a class of its own for each test, by ``shown``)

    def rewards(self, group: Group) -> list[float]:
        self.groups.append(group)
        return [0.0] * len(group)


def shown() -> Any:
    return type("Shown", (Shown,), {"groups": []})()


def test_groups_are_cut_by_position_and_a_prompt_may_come_twice() -> None:
    seen = shown()
    long, short = thought("x" * 30, "4"), thought("x", "4")
    rows = [("2+2?", "4", long), ("2+2?", "4", short), ("1+1?", "2", short), ("1+1?", "2", long)]
    assert call(TRLReward(seen, generations=2, limit=99, text=TEXT), rows + rows[:2]) == [0.0] * 6
    assert [[r.right for r in group.rollouts] for group in seen.groups] == [[True, True], [False, False], [True, True]]
    assert [group.rollouts[0].tokens > group.rollouts[1].tokens for group in seen.groups] == [True, False, True]


def test_rewards_are_those_of_each_group_in_the_order_of_the_rows() -> None:
    reward = TRLReward("kimi:weight=1", generations=2, limit=99, text=TEXT)
    a, b = thought("xx", "4"), thought("xxxx", "4")
    rows = [("2+2?", "4", a), ("2+2?", "4", b), ("1+3?", "4", b), ("1+3?", "4", a)]
    assert call(reward, rows) == near([1.5, 0.5, 0.5, 1.5])
    assert reward.__name__ == "kimi"


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("aab", "3 completions are no whole groups of 2"),
        ("abbc", "completions 0 to 1 answer 2 prompts"),  # what a process sees whose rows begin inside a group
        ("aabc", "completions 2 to 3 answer 2 prompts"),
    ],
)
def test_incomplete_groups_are_errors(prompts: str, says: str) -> None:
    reward = TRLReward("outcome", generations=2, limit=99, text=TEXT)
    with pytest.raises(GroupError, match=says):
        call(reward, [(prompt, "4", thought("x", "4")) for prompt in prompts])


def test_one_prompt_with_two_answers_is_no_group() -> None:
    with pytest.raises(GroupError, match="answer 2 prompts"):
        call(TRLReward("outcome", generations=2, limit=99), [("a", "4", "4"), ("a", "5", "4")])


def test_a_thought_is_told_from_the_answer() -> None:
    seen = shown()
    rows = [("2+2?", "4", thought("The answer is 5", "4")), ("2+2?", "4", "<think>The answer is 4")]
    call(TRLReward(seen, generations=2, limit=99, text=TEXT), rows)
    first, second = seen.groups[0].rollouts
    tags = len("The answer is 5") + 2  # every byte is a token, and so is a tag
    assert (first.right, first.thought, first.truncated, first.formatted) == (True, tags, False, True)
    assert first.tokens == tags + len("The answer is 4") + 1
    assert (second.right, second.thought, second.truncated, second.formatted) == (False, second.tokens, True, False)


def test_a_thought_that_the_prompt_opens() -> None:
    seen = shown()
    call(TRLReward(seen, generations=1, limit=99, text=TEXT), [("2+2?<think>", "4", f"So 4</think>4{END}")])
    assert seen.groups[0].rollouts[0].thought == len("So 4") + 1


def test_messages_of_a_chat() -> None:
    seen, ids = shown(), TEXT.encode(thought("x", "4"))
    reward = TRLReward(seen, generations=1, limit=99, text=TEXT)
    prompt, said = [{"role": "user", "content": "2+2?"}], [{"role": "assistant", "content": "whatever"}]
    reward(prompts=[prompt], completions=[said], completion_ids=[ids], answer=["4"])
    assert (seen.groups[0].rollouts[0].right, seen.groups[0].rollouts[0].thought) == (True, 3)
    bare = TRLReward(seen, generations=1, limit=99)
    bare(
        prompts=[prompt], completions=[[{"role": "assistant", "content": "It is 4"}]], completion_ids=[[1]], answer=[4]
    )
    assert seen.groups[1].rollouts[0].text == "It is 4"


def test_without_a_tokenizer_all_of_a_completion_is_read() -> None:
    seen = shown()
    reward = TRLReward(seen, generations=3, limit=2)
    reward(prompts=["a"] * 3, completions=["answer is 4", "5", ""], completion_ids=[[1], [1, 2], []], answer=["4"] * 3)
    first, second, third = seen.groups[0].rollouts
    assert (first.right, first.thought, first.truncated) == (True, None, False)
    assert (second.right, second.truncated) == (False, True)
    assert (third.right, third.tokens, third.truncated, third.formatted) == (False, 0, False, False)
    e1 = TRLReward("e1", generations=2, limit=9)
    with pytest.raises(GroupError, match="'thought'"):
        e1(prompts=["a"] * 2, completions=["4", "4"], completion_ids=[[1], [1]], answer=["4"] * 2, effort=[0.5] * 2)


def test_an_empty_completion_is_wrong_and_not_cut_off() -> None:
    seen = shown()
    call(TRLReward(seen, generations=1, limit=9, text=TEXT), [("a", "4", "")])
    rollout = seen.groups[0].rollouts[0]
    assert (rollout.tokens, rollout.thought, rollout.right, rollout.truncated) == (0, 0, False, False)


def test_answers_are_compared_as_laconic_compares_them() -> None:
    reward = TRLReward("outcome", generations=2, limit=99, text=TEXT)
    rows = [("half?", "1/2", thought("x", r"\boxed{0.5}")), ("half?", "1/2", thought("x", "5"))]
    assert call(reward, rows) == [1, 0]


def test_columns_of_the_prompt_and_of_rollouts() -> None:
    seen = shown()
    reward = TRLReward(seen, generations=2, limit=99, text=TEXT)
    rows = [("a", "4", thought("x", "4"))] * 2
    call(reward, rows, step=7, budget=[8, 9], repeats=[True, False], effort=[0.5] * 2, reference=[30.0] * 2)
    group = seen.groups[0]
    assert (group.step, group.limit, group.effort, group.reference) == (7, 99, 0.5, 30.0)
    assert [(r.budget, r.repeats) for r in group.rollouts] == [(8, True), (9, False)]
    with pytest.raises(GroupError, match="'effort' belongs to the prompt"):
        call(reward, rows, effort=[0.5, 0.6])


def test_a_missing_column_of_answers_names_those_there_are() -> None:
    with pytest.raises(GroupError, match=r"no column 'solution'.*answer"):
        call(TRLReward("outcome", generations=1, limit=9, answer="solution"), [("a", "4", "4")])


def test_what_a_method_remembers_comes_back_with_its_prompt() -> None:
    reward = TRLReward("hapo", generations=1, limit=99, text=TEXT)
    short, long = thought("x" * 10, "4"), thought("x" * 40, "4")
    assert call(reward, [("a", "4", long)]) == [1]  # nothing known yet
    assert call(reward, [("a", "4", long)]) == near([1])  # as long as the shortest: cos(pi / 2)
    assert call(reward, [("b", "4", short)]) == [1]
    assert call(reward, [("a", "4", short)])[0] > 1.3
    assert call(reward, [("a", "4", long)])[0] < 1


def test_a_prompt_that_comes_twice_in_a_call_is_remembered_from_both() -> None:
    reward = TRLReward("hapo", generations=1, limit=99, text=TEXT)
    short, long = thought("x" * 10, "4"), thought("x" * 40, "4")
    assert call(reward, [("a", "4", short), ("a", "4", long)]) == [1, 1]
    assert call(reward, [("a", "4", short)]) == near([1])


def test_what_a_method_learns_changes_the_next_call() -> None:
    reward = TRLReward("a-dlp:accuracy=0,rate=0.001,price=0", generations=1, limit=99, text=TEXT)
    rows = [("a", "4", thought("x" * 10, "4"))]
    assert call(reward, rows) == [1]
    assert call(reward, rows) == near([1 - 0.001 * len(TEXT.encode(rows[0][2]))])


def test_rewards_over_a_batch_see_all_groups_of_a_call() -> None:
    reward = TRLReward("grpo-lambda:reward=[kimi:weight=1],share=0.5", generations=2, limit=99, text=TEXT)
    a, b, wrong = thought("x", "4"), thought("xxx", "4"), thought("xxx", "5")
    assert call(reward, [("a", "4", a), ("a", "4", wrong), ("b", "4", a), ("b", "4", b)]) == near([1, 0, 1.5, 0.5])


@pytest.mark.parametrize("spec", ["gfpo:k=1", "dler", "siri:1,2,2", "drpo:1", "gppo", "s-grpo:2", "hbpo", "dapo"])
def test_methods_that_are_more_than_a_reward_are_refused(spec: str) -> None:
    with pytest.raises(UnmetNeed, match=f"'{spec.partition(':')[0]}' is more than a reward"):
        TRLReward(spec, generations=2, limit=9)


def test_methods_that_learn_are_refused_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UnmetNeed, match="several processes"):
        TRLReward("hapo", generations=2, limit=9)
    TRLReward("kimi", generations=2, limit=9)


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(GroupError, match="generations=0"):
        TRLReward("kimi", generations=0, limit=9)


def test_a_reward_that_is_no_number_stops_the_step() -> None:
    class Broken(Reward):
        name = "broken"

        def rewards(self, group: Group) -> list[float]:
            return [float("nan")] * len(group)

    with pytest.raises(RewardError, match="'broken'"):
        call(TRLReward(Broken(), generations=1, limit=9), [("a", "4", "4")])


def test_the_trainer_is_not_imported() -> None:
    code = "import sys, laconic.training.trl; sys.exit('trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
