"""Whole runs: rows in a file, an account of every trace, and refusals before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from laconic.errors import RequestError, TraceError, UnmetNeed
from laconic.models.text import Text
from laconic.policy import registry
from laconic.training.traces.base import Selector
from laconic.training.traces.reading import Source
from laconic.training.traces.run import Account, convert
from tests import tiny
from tests.training.traces.made import (
    HARMONY,
    PLAIN,
    QUESTION,
    REPLY,
    STEPS,
    TEMPLATE,
    THINK,
    THOUGHT,
    WRONG,
    make,
    record,
    thought,
    tools,
)

CUT = "\n\n".join(STEPS[:2])


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Two problems: one with two right traces, a wrong one and one that was cut off; one with a right trace."""
    path = tmp_path / "in.jsonl"
    record(path, thought(STEPS, "53"), thought(WRONG, "43"), f"<think>\n{THOUGHT}", thought(STEPS[:3], "53"))
    return record(path, thought(["So 1 + 1 = 2."], "2"), question="What is 1 + 1?", answer=2)


def run(
    recorded: Path, spec: str, *, text: Text = THINK, select: str | None = None, **more: Any
) -> tuple[Account, Any]:
    out = recorded.parent / "out.jsonl"
    selector = None if select is None else cast(Selector, registry.build("selector", select))
    files = (("", str(recorded)), *((label, str(path)) for label, path in more.pop("also", ())))
    account = convert(Source(files), out, make(spec), tools(text, **more), selector)
    return account, [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "prompt", "completion"),
    [
        (
            THINK,
            f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n",
            f"<think>\n{CUT}\n</think>\n\n{REPLY}<|im_end|>",
        ),
        (
            HARMONY,
            f"<|start|>user<|message|>{QUESTION}<|end|><|start|>assistant",
            f"<|channel|>analysis<|message|>{CUT}<|end|><|start|>assistant<|channel|>final<|message|>{REPLY}<|return|>",
        ),
        (PLAIN, f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n", f"{CUT}\n\n{REPLY}<|im_end|>"),
    ],
    ids=["think", "channels", "plain"],
)
def test_rows_are_in_the_models_own_format(recorded: Path, text: Text, prompt: str, completion: str) -> None:
    _, lines = run(recorded, "first-solution", text=text)
    assert (lines[0]["prompt"], lines[0]["completion"]) == (prompt, completion)
    whole = completion.replace(CUT, THOUGHT)
    assert lines[0]["tokens_before"] == len(text.encode(whole))
    assert lines[0]["tokens_after"] == len(text.encode(completion))


def test_every_trace_is_accounted_for(recorded: Path) -> None:
    account, lines = run(recorded, "shortest")
    assert [(line["trace"], line["source"]) for line in lines] == [("in/1#3", "in.jsonl:1"), ("in/2", "in.jsonl:2")]
    assert lines[0]["method"] == "shortest"
    assert (account.problems, account.kept, account.solved, account.traces, account.rows) == (2, 2, 2, 5, 2)
    assert account.dropped == {"it was cut off": 1, "its answer is wrong": 1, "not chosen": 1}
    assert account.traces == account.rows + sum(account.dropped.values())
    assert account.before == account.after == sum(line["tokens_after"] for line in lines)
    assert set(recorded.parent.iterdir()) == {recorded, recorded.parent / "out.jsonl"}


def test_pairs_say_both_sides(recorded: Path) -> None:
    account, lines = run(recorded, "irpo")
    assert {line["trace"] for line in lines} == {"in/1", "in/1#3"}
    assert {line["rejected_trace"] for line in lines} == {"in/1#1"}
    assert all(line["rejected"].endswith("\\boxed{43}.<|im_end|>") for line in lines)
    assert account.before == 2 * len(THINK.encode(lines[0]["rejected"]))
    assert account.dropped == {"it was cut off": 1, "not chosen": 1}


def test_records_may_share_an_id(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    entry = {"id": "same", "question": QUESTION, "answer": 53}
    path.write_text("\n".join(json.dumps(entry | {"response": thought(STEPS[:n], "53")}) for n in (2, 3, 4)))
    account, _ = run(path, "shortest")
    assert (account.traces, account.rows, account.dropped) == (3, 1, {"not chosen": 2})


def test_a_pair_of_the_same_texts_is_none(tmp_path: Path) -> None:
    path = record(tmp_path / "in.jsonl", thought(["x"], "53"), thought(["x"], "53"))
    with pytest.raises(TraceError, match="2 both sides of its pair are the same"):
        run(path, "shortest-longest:longer=1")


def test_conditions_stand_in_the_prompt(recorded: Path) -> None:
    class Short:
        def generate(self, prompt: str) -> Any:
            from types import SimpleNamespace

            return SimpleNamespace(answer="53.", finish_reason="stop")

    _, lines = run(recorded, "c3ot:long=At length.,short=Brief.", rewriter=Short())
    assert lines[0]["prompt"] == f"<|im_start|>user\nAt length.\n\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    assert lines[1]["prompt"] == f"<|im_start|>user\nBrief.\n\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    assert lines[1]["completion"] == f"<think>\n53.\n</think>\n\n{REPLY}<|im_end|>"
    assert [line["condition"] for line in lines[:2]] == ["long", "short"]


def test_a_selection_keeps_rows_in_its_order(recorded: Path) -> None:
    _, every = run(recorded, "rft")
    account, lines = run(recorded, "rft", select="select2reason:weight=0,share=0.7")
    assert lines == sorted(every, key=lambda line: -line["tokens_after"])[:2]
    assert (account.rows, account.unselected, account.kept) == (2, 1, 1)
    assert account.after == sum(line["tokens_after"] for line in lines)
    _, hard = run(recorded, "rft", select="light-r1:0.7")
    assert {line["problem"] for line in hard} == {"in/1"}  # 2 of its 3 traces are right


def test_the_same_seed_gives_the_same_rows(recorded: Path) -> None:
    first, again = run(recorded, "irpo:1", seed=3)[1], run(recorded, "irpo:1", seed=3)[1]
    assert first == again
    assert {run(recorded, "irpo:1", seed=seed)[1][0]["trace"] for seed in range(9)} == {"in/1", "in/1#3"}


def test_labelled_recordings(recorded: Path, tmp_path: Path) -> None:
    brief = record(tmp_path / "brief.jsonl", thought(STEPS[:1], "53"))
    _, lines = run(recorded, "concise", also=[("concise", brief)])
    assert {(line["trace"], line["source"]) for line in lines} == {("concise:brief/1", "brief.jsonl:1")}
    with pytest.raises(TraceError, match=r"'adar1' reads a recording 'short'. .*--with short=FILE"):
        run(recorded, "adar1", also=[("brief", brief)])


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("asap:0.5", UnmetNeed, "'asap' needs the weights"),
        ("first-solution:sufficiency=[asked]", UnmetNeed, "'asked' needs the weights"),
        ("c3ot", UnmetNeed, "'c3ot' needs a model that rewrites"),
        ("first-solution:sufficiency=[recorded]", TraceError, "no record holds what probes found"),
        ("concise", TraceError, "'concise' reads a recording 'concise'"),
    ],
)
def test_what_is_missing_is_said_before_the_run(recorded: Path, spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(recorded, spec)
    assert list(recorded.parent.iterdir()) == [recorded]


def test_records_without_answers_or_without_several_traces(tmp_path: Path) -> None:
    bare = record(tmp_path / "bare.jsonl", thought(STEPS, "53"), thought(STEPS[:2], "53"), answer=None)
    with pytest.raises(TraceError, match="'shortest' must know which traces are right, and no record brings an answer"):
        run(bare, "shortest")
    single = record(tmp_path / "single.jsonl", thought(STEPS, "53"))
    with pytest.raises(TraceError, match="no problem has two"):
        run(single, "irpo")
    assert len(run(single, "dto")[1]) == 1


def test_nothing_is_left_of_a_run_that_made_nothing(tmp_path: Path) -> None:
    wrong = record(tmp_path / "in.jsonl", thought(WRONG, "43"), thought(WRONG, "43"))
    with pytest.raises(TraceError, match="no row came of 2 traces: 2 its answer is wrong"):
        run(wrong, "rft")
    right = record(tmp_path / "in2.jsonl", thought(STEPS, "53"))
    with pytest.raises(TraceError, match=r"'light-r1:at_most=0\.5' keeps none"):
        run(right, "rft", select="light-r1:0.5")
    (tmp_path / "none.jsonl").write_text("{}\n")
    with pytest.raises(TraceError, match="there is no recorded reply: an empty object"):
        run(tmp_path / "none.jsonl", "rft")
    assert not (tmp_path / "out.jsonl").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_an_old_file_stays_until_the_new_one_is_whole(recorded: Path) -> None:
    out = recorded.parent / "out.jsonl"
    out.write_text("old\n")
    with pytest.raises(TraceError):
        run(recorded, "concise")
    assert out.read_text() == "old\n"
    with pytest.raises(RequestError, match="is what is read"):
        convert(Source((("", str(recorded)),)), recorded, make("rft"), tools())


def test_a_problem_without_an_answer_among_others(recorded: Path) -> None:
    record(recorded, thought(["Hm."], "9"), question="Why?", answer=None)
    account, _ = run(recorded, "shortest")
    assert account.dropped["its problem has no answer"] == 1


def test_a_reply_whose_answer_cannot_be_read_is_nobodys_rejected_one(recorded: Path) -> None:
    vague = f"<think>\n{THOUGHT}\n</think>\n\n**Answer:** Anna has to pay for **53 of the cards** that she took."
    record(recorded, vague)
    account, lines = run(recorded, "irpo")
    assert account.dropped == {"it was cut off": 1, "its answer cannot be read": 1, "not chosen": 1}
    assert {line["rejected_trace"] for line in lines} == {"in/1#1"}


def test_rows_beyond_the_models_context_are_counted(recorded: Path) -> None:
    words = tiny.tokenizer(template=TEMPLATE)
    words.model_max_length = 150
    account, lines = run(recorded, "shortest", text=Text(words))
    sizes = [len(words.encode(line["prompt"] + line["completion"])) for line in lines]
    assert (account.context, account.longer) == (150, sum(size > 150 for size in sizes))
    assert 0 < account.longer < len(sizes)
