"""Reading recorded outputs: three forms, and what is wrong with a line."""

import json

import pytest

from laconic.bench.replay.chat import given_of
from laconic.bench.replay.records import read
from laconic.errors import TaskError


def write(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


CALL = {"type": "function", "function": {"name": "ls", "arguments": '{"path":  "/tmp"}'}}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": [{"type": "text", "text": "List "}, {"type": "image_url"}, {"text": "it"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "a b"},
]  # fmt: skip


def test_question_and_response(tmp_path):
    path = write(
        tmp_path / "r.jsonl", {"id": "x", "question": "2+3?", "response": "<think>\n5\n</think>\n5", "answer": 5}
    )
    (record,) = read(path).records
    assert (record.id, record.answer, record.question) == ("x", "5", "2+3?")
    assert record.turns[0].written == "<think>\n5\n</think>\n5"
    assert record.turns[0].given == "[user]\n2+3?\n[assistant]\n"


def test_every_assistant_message_is_a_turn(tmp_path):
    (record,) = read(write(tmp_path / "chat.jsonl", {"messages": CHAT})).records
    assert record.id == "chat/1"
    first, second = record.turns
    assert (first.given, first.written) == ("[system]\nBe brief.\n[user]\nHi\n[assistant]\n", "Hello.")
    assert second.given == "[user]\nList it\n[assistant]\n"
    # The arguments stay as the model spelt them.
    assert second.written == '<tool_call>\n{"name": "ls", "arguments": {"path":  "/tmp"}}\n</tool_call>'


LOGS = [
    {"request": {"messages": CHAT[:2]}, "response": {"choices": [{"message": CHAT[2]}]}},
    {"request": json.dumps({"messages": CHAT[:2]}), "response": json.dumps({"choices": [{"message": CHAT[2]}]})},
    {"messages": CHAT[:2], "response": {"choices": [{"message": CHAT[2]}]}},
    {"messages": CHAT[:2], "choices": [{"message": CHAT[2]}]},
    {"body": {"messages": CHAT[:2]}, "response": {"status_code": 200, "body": {"choices": [{"message": CHAT[2]}]}}},
    {"request": {"body": {"messages": CHAT[:2]}}, "response": {"body": {"choices": [{"message": CHAT[2]}]}}},
]


@pytest.mark.parametrize("line", LOGS)
def test_server_logs(tmp_path, line):
    (record,) = read(write(tmp_path / "log.jsonl", line)).records
    (turn,) = record.turns
    assert (turn.given, turn.written) == (given_of(CHAT[:2]), "Hello.")


def test_earlier_replies_in_a_logged_request_were_given(tmp_path):
    line = {"request": {"messages": CHAT[:4]}, "response": {"choices": [{"message": CHAT[4]}]}}
    (record,) = read(write(tmp_path / "log.jsonl", line)).records
    assert len(record.turns) == 1
    assert "Hello." in record.turns[0].given


def test_batch_output_choices_completions_and_thoughts(tmp_path):
    thinking = {"role": "assistant", "content": "5", "reasoning_content": "2 and 3.\n"}
    path = write(
        tmp_path / "log.jsonl",
        {"custom_id": "q7", "response": {"body": {"choices": [{"message": thinking}, {"message": CHAT[2]}]}}},
        {"prompt": "Once", "choices": [{"text": " upon a time"}]},
    )
    one, other, text = read(path).records
    assert (one.id, one.turns[0].given) == ("q7", "[assistant]\n")
    assert one.turns[0].written == "<think>\n2 and 3.\n</think>\n\n5"
    assert (other.id, other.turns[0].written) == ("q7#1", "Hello.")
    assert text.turns[0].given == "[user]\nOnce\n[assistant]\n"
    assert text.turns[0].written == " upon a time"


def test_bad_lines_are_named_and_the_rest_goes_on(tmp_path):
    path = write(
        tmp_path / "bad.jsonl",
        b"{",
        b"[1]",
        b'"\xff"',
        b"",
        {"prompt": 1},
        {"question": "q", "response": "  "},
        {"messages": [{"content": "x"}]},
        {"messages": []},
        {"messages": CHAT[:2]},
        {"response": {"choices": [{"message": {"role": "assistant", "content": ""}}]}},
        {"response": None, "error": {"code": 500}},
        b"[" * 100_000,
        {"question": "q", "response": "fine"},
        b"",
    )
    found = read(path)
    assert [record.line for record in found.records] == [13]
    assert found.empty_lines == 1
    reasons = {problem.line: problem.reason for problem in found.problems}
    assert sorted(reasons) == [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12]
    for line, words in {
        1: "not JSON", 2: "not an object", 3: "not UTF-8", 5: "no known form (keys: prompt)", 6: "response is empty",
        7: "without a role", 8: "messages are empty", 9: "no message of an assistant", 10: "none of its choices",
        11: "failed request", 12: "not JSON",
    }.items():  # fmt: skip
        assert words in reasons[line]


def test_limit_counts_usable_records(tmp_path):
    good = {"question": "q", "response": "fine"}
    path = write(tmp_path / "some.jsonl", b"{", good, good, good)
    assert [record.line for record in read(path, 2).records] == [2, 3]


@pytest.mark.parametrize("lines", [[], [b"", b"  "], [b"{"], [{"a": 1}]])
def test_nothing_usable(tmp_path, lines):
    with pytest.raises(TaskError, match="no usable record"):
        read(write(tmp_path / "none.jsonl", *lines))


def test_missing_file(tmp_path):
    with pytest.raises(TaskError, match="No such file"):
        read(tmp_path / "none.jsonl")
