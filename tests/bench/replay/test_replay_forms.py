"""Forms that recorded files come in: each is read once, as what its model wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from laconic.bench.replay.chat import Unusable, written_of
from laconic.bench.replay.fields import Fields
from laconic.bench.replay.records import Recording, Recordings, read
from laconic.bench.replay.thoughts import summary
from laconic.bench.replay.tokens import Splitter
from laconic.bench.tasks import JsonlTask

THOUGHT = "<think>\n2 and 3.\n</think>\n\n5"
ASKED = [{"role": "user", "content": "2+3?"}]


def found(tmp_path: Path, *entries: Any, fields: Fields | None = None) -> Recordings:
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in entries), encoding="utf-8")
    return read(path, fields=fields)


def one(tmp_path: Path, entry: Any, fields: Fields | None = None) -> Recording:
    (record,) = found(tmp_path, entry, fields=fields).records
    return record


@pytest.mark.parametrize(
    "message",
    [
        {"content": "5", "reasoning_content": "", "reasoning": "2 and 3."},
        {"content": "5", "reasoning_content": None, "reasoning": "2 and 3."},
        {"content": "5", "thinking": "2 and 3."},
        {"content": "5", "reasoning_content": "2 and 3.", "reasoning": "2 and 3."},
        {"content": [{"type": "thinking", "thinking": "2 and 3."}, {"type": "text", "text": "5"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "2 and 3."}]}, {"text": "5"}]},
        {"content": [{"type": "thinking", "thinking": "2 and 3."}, {"text": "5"}], "reasoning": "2 and 3."},
        {"content": THOUGHT, "reasoning_content": "2 and  3.\n"},
    ],
)
def test_a_thought_is_read_once(message: dict[str, Any]) -> None:
    assert written_of({"role": "assistant"} | message) == THOUGHT


def test_tool_use_parts_are_calls() -> None:
    parts = [{"type": "text", "text": "Look."}, {"type": "tool_use", "name": "ls", "input": {"path": "/"}}]
    assert written_of({"content": parts}) == (
        'Look.\n<tool_call>\n{"name": "ls", "arguments": {"path": "/"}}\n</tool_call>'
    )


def test_thoughts_of_earlier_turns_are_given(tmp_path: Path) -> None:
    turns = [*ASKED, {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"text": "5"}]}, *ASKED]
    entry = {"request": {"messages": turns}, "response": {"choices": [{"message": {"content": "5"}}]}}
    assert one(tmp_path, entry).turns[0].given.count("Hm.") == 1


DELTAS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "2 and "}}]},
    {"choices": [{"index": 0, "delta": {"reasoning_content": "3."}}]},
    {"choices": [{"index": 0, "delta": {"content": "5"}}]},
    {"choices": [], "usage": {"completion_tokens": 9}},
]


@pytest.mark.parametrize(
    "entry",
    [
        {"problem": "2+3?", "model_response": THOUGHT},
        {"problem": "2+3?", "generations": [THOUGHT]},
        {"prompt": "2+3?", "completion": THOUGHT},
        {"doc": {"question": "2+3?"}, "resps": [[THOUGHT]]},
        {"conversations": [{"from": "human", "value": "2+3?"}, {"from": "gpt", "value": THOUGHT}]},
        {"traj": [*ASKED, {"role": "assistant", "content": THOUGHT}]},
        {"messages": ASKED, "message": {"role": "assistant", "content": "5", "thinking": "2 and 3."}},
        {"request": {"messages": ASKED}, "response": DELTAS},
        {"prompt": ["2+3?"], "choices": [{"text": THOUGHT}]},
        {"prompt": ASKED, "choices": [{"text": THOUGHT}]},
        {
            "request": {"input": "2+3?"},
            "response": {
                "output": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "2 and 3."}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "5"}]},
                ]
            },
        },
    ],
)
def test_forms(tmp_path: Path, entry: dict[str, Any]) -> None:
    record = one(tmp_path, entry)
    assert record.question == "2+3?"
    assert [(turn.given, turn.written) for turn in record.turns] == [("[user]\n2+3?\n[assistant]\n", THOUGHT)]


def test_several_responses_are_several_records(tmp_path: Path) -> None:
    records = found(tmp_path, {"id": "x", "problem": "2+3?", "generations": ["5", "6"], "expected_answer": 5}).records
    assert [(r.id, r.turns[0].written, r.answer) for r in records] == [("x", "5", "5"), ("x#1", "6", "5")]


def test_each_prompt_of_a_list_has_its_own_choices(tmp_path: Path) -> None:
    records = found(tmp_path, {"prompt": ["a", "b"], "choices": [{"text": t} for t in "1234"]}).records
    assert [(r.question, r.turns[0].written) for r in records] == [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")]


def test_prompts_of_token_ids_are_named(tmp_path: Path) -> None:
    out = found(tmp_path, {"prompt": [1, 2], "choices": [{"text": "x"}]}, {"question": "q", "response": "r"})
    assert "token ids" in out.problems[0].reason


def test_lines_of_a_stream_are_one_reply(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    chunks = [{"id": name} | delta for name in ("a", "b") for delta in DELTAS[:3]]
    path.write_text("\n\n".join(f"data: {json.dumps(chunk)}" for chunk in chunks) + "\n\ndata: [DONE]\n")
    assert [(r.id, r.turns[0].written) for r in read(path).records] == [("a", THOUGHT), ("b", THOUGHT)]


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "q", "response": {"status_code": 400, "body": {"error": {"message": "too long"}}}, "error": None},
        {"custom_id": "q", "response": None, "error": {"code": "expired", "message": "too long"}},
        {"custom_id": "q", "error": "too long"},
        {"object": "error", "message": "too long", "type": "BadRequestError"},
    ],
)
def test_failed_lines_of_a_batch_are_named_as_that(tmp_path: Path, line: dict[str, Any]) -> None:
    (problem,) = found(tmp_path, line, {"question": "q", "response": "r"}).problems
    assert problem.reason == "a failed request (too long)"


def test_fields_may_be_named_and_lie_deep(tmp_path: Path) -> None:
    entry = {"meta": {"text": "2+3?", "gold": 5}, "runs": [{"said": "six"}, {"said": "5"}], "response": "other"}
    record = one(tmp_path, entry, Fields("meta.text", "runs.1.said", "meta.gold"))
    assert (record.question, record.turns[0].written, record.answer) == ("2+3?", "5", "5")
    with pytest.raises(Unusable, match="--response-field"):
        Fields(response="runs.2.said").single(entry)


@pytest.mark.parametrize("indent", [None, 2])
def test_arrays_and_single_objects_over_several_lines(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    entries = [{"question": "q", "response": "r", "answer": "r"}, 7, {"question": "p", "response": "s", "answer": "s"}]
    path.write_text(json.dumps(entries, indent=indent))
    out = read(path)
    assert [(r.line, r.question) for r in out.records] == [(1, "q"), (3, "p")]
    assert [(p.line, p.reason) for p in out.problems] == [(2, "not an object")]
    path.write_text(json.dumps(entries[0], indent=2))
    assert read(path).records[0].question == "q"
    assert JsonlTask(path).items(1, 0)[0].question == "q"


def test_separators_within_strings_and_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    entry = {"question": "a\u2028b\u0085c", "answer": "1", "response": "1"}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(entry, ensure_ascii=False).encode() + b"\r\n")
    assert read(path).records[0].question == JsonlTask(path).items(1, 0)[0].question == "a\u2028b\u0085c"


def test_a_thought_that_was_cut_off_counts_as_unfinished(tmp_path: Path) -> None:
    cut = {"id": "cut", "question": "q", "response": "<think>\nSo the answer is 5.\n\nLet me check"}
    records = found(tmp_path, cut, {"question": "q", "response": "No thought."}).records
    made = summary(records, Splitter())
    assert made is not None
    assert (made["n"], made["unfinished"], made["without_answer"]) == (1, ["cut"], [])
    assert made["tokens"]["median"] > 8
