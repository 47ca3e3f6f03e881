"""Replies as thought and answer, in every way of writing; files read problem by problem."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from laconic.errors import TaskError, TraceError
from laconic.training.traces.reading import Source, judged
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import Look, Steps, parts
from tests.training.traces.made import HARMONY, PLAIN, QUESTION, REPLY, STEPS, THINK, THOUGHT, WRONG, record, thought

ENDS = ("<|im_end|>", "<|return|>")
WRITTEN = {
    "think": f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}<|im_end|>",
    "opened by the prompt": f"{THOUGHT}\n</think>\n\n{REPLY}",
    "channels": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{REPLY}"
    "<|return|>",
    "no tags": f"{THOUGHT}\n\n{REPLY}",
}


def all_of(source: Source, text=THINK):
    drops: Counter[str] = Counter()
    return list(source.problems(source.survey(), Renderer(text), drops)), drops


def only(*files: Path) -> Source:
    return Source(tuple(("", str(path)) for path in files))


@pytest.mark.parametrize("text", [THINK, HARMONY, PLAIN], ids=["think", "channels", "plain"])
@pytest.mark.parametrize("way", WRITTEN)
def test_every_way_of_writing_is_read_for_every_model(way: str, text) -> None:
    assert parts(WRITTEN[way], text.format, ENDS) == (THOUGHT, REPLY)


@pytest.mark.parametrize(
    "cut", [f"<think>\n{THOUGHT}", f"<|channel|>analysis<|message|>{THOUGHT}", "<think>x</think>\n", ""]
)
def test_a_reply_that_was_cut_off_is_none(cut: str) -> None:
    assert parts(cut, THINK.format, ENDS) is None


def test_an_answer_that_is_taken_back_was_thought() -> None:
    assert parts("<think>a</think>\n\nHm, no.</think>\n\nb", THINK.format, ENDS) == ("a\n\nHm, no.", "b")


def test_steps_keep_their_places_in_the_text() -> None:
    steps = Steps.of("\n\n A.\n\n\nB\nb. \n \n\nC")
    assert steps.texts == ["A.", "B\nb.", "C"]
    assert (steps.upto(0), steps.upto(2), steps.upto(3)) == ("", "\n\n A.\n\n\nB\nb.", "\n\n A.\n\n\nB\nb. \n \n\nC")
    assert [steps.done(n) for n in (4, 5, 11, 12, 99)] == [0, 1, 1, 2, 3]


def test_traces_of_one_question_are_one_problem_wherever_they_stand(tmp_path: Path) -> None:
    path = record(tmp_path / "a.jsonl", thought(STEPS, "53"), thought(WRONG, "43"))
    record(path, thought(["1 + 1 = 2."], "2"), question="What is 1 + 1?", answer=2)
    record(path, f"<think>\n{THOUGHT}", thought(STEPS[:2], "53.0"))
    (small, (two,)), (big, traces) = all_of(only(path))[0]
    assert (small.question, small.answer, two.right) == ("What is 1 + 1?", "2", True)
    assert (big.question, big.answer) == (QUESTION, "53")
    assert [(t.thought, t.answer, t.right) for t in traces] == [
        (THOUGHT, "53", True),
        ("\n\n".join(WRONG), "43", False),
        ("\n\n".join(STEPS[:2]), "53", True),
    ]
    assert [t.where for t in traces] == ["a.jsonl:1", "a.jsonl:1", "a.jsonl:3"]
    assert len({t.id for t in traces}) == 3
    assert all_of(only(path))[1] == {"it was cut off": 1}
    assert traces[0].tokens == len(THINK.encode(f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}<|im_end|>"))


def test_memory_holds_one_problem_where_traces_stand_together(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    for at in range(30):
        record(path, thought(["x"], "1"), thought(["y"], "1"), question=f"Number {at}?", answer=1)
    source = only(path)
    survey, read = source.survey(), []
    written = type(source).written

    class Watched(Source):
        def written(self):
            for each in written(self):
                read.append(each)
                yield each

    for count, _ in enumerate(Watched(source.files).problems(survey, Renderer(THINK), Counter()), start=1):
        assert len(read) == 2 * count  # nothing is read ahead


def test_server_logs_and_messages_keep_the_system_message(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    reply = {"message": {"role": "assistant", "content": REPLY, "reasoning_content": THOUGHT}}
    log = {"request": {"messages": asked}, "response": {"choices": [reply]}, "answer": 53}
    chat = {"messages": [*asked, {"role": "assistant", "content": thought(STEPS, "53")}], "answer": "53"}
    long = {
        "messages": [*chat["messages"], {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
    }
    path.write_text("\n".join(map(json.dumps, (log, chat, long))) + "\nno json\n")
    source = only(path)
    ((problem, traces),), _ = all_of(source)
    assert list(problem.messages) == asked
    assert [(t.thought, t.reply) for t in traces] == [(THOUGHT, REPLY)] * 2
    assert source.survey().unusable["a conversation of several turns"] == 1
    assert sum(source.survey().unusable.values()) == 2


def test_our_own_recordings_bring_tokens_and_what_probes_found(tmp_path: Path) -> None:
    text = f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}<|im_end|>"
    ends = [len(THINK.encode("<think>\n" + "\n\n".join(STEPS[:n]) + "\n\n")) for n in (1, 2, 3)]
    glances = [
        {
            "tokens": at,
            "thinking": at,
            "answer": answer,
            "complete": answer != "5",
            "probs": [],
            "doubt": 0,
            "promise": 0,
        }
        for at, answer in zip(ends, ("36", "53", "5"), strict=True)
    ]
    attempt = {"tokens": THINK.encode(text), "glances": glances, "finish": "stop"}
    path = tmp_path / "attempts.jsonl"
    path.write_text(
        json.dumps(
            {"id": "p", "question": QUESTION, "right": "53", "attempts": [attempt, {**attempt, "finish": "length"}]}
        )
    )
    ((problem, (found,)),), drops = all_of(only(path))
    assert (problem.answer, found.thought, found.reply, found.right) == ("53", THOUGHT, REPLY, True)
    assert [look.answer for look in found.looks] == ["36", "53", ""]
    assert [found.steps.done(look.chars) for look in found.looks] == [1, 2, 3]
    assert found.looks[0] == Look(len(STEPS[0]) + 2, "36")
    assert drops == {"it was cut off": 1}


def test_two_answers_to_one_question_are_an_error(tmp_path: Path) -> None:
    path = record(tmp_path / "a.jsonl", thought(STEPS, "53"))
    record(path, thought(STEPS, "53"), answer="53.0")
    only(path).survey()
    record(path, thought(STEPS, "53"), answer="54")
    with pytest.raises(TraceError, match=r"a.jsonl:3 says that the answer is '54'; .* '53'"):
        only(path).survey()


def test_an_answer_that_cannot_be_read_is_neither_right_nor_wrong() -> None:
    for right, answer, expected in [
        ("53", "53.0", True),
        ("53", "54 apples", False),
        ("53", "\\frac{400}{11}", False),
        ("53", "** Lori needs to work **53 hours**", None),
        ("53", "", None),
        (None, "53", None),
        ("Tuesday", "tuesday", True),
        ("Tuesday", "Monday", False),
        ("Tuesday", "It must be a Tuesday", None),
    ]:
        assert judged(right, answer) is expected, (right, answer)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot read"):
        only(tmp_path / "none.jsonl").survey()


def test_one_array_is_read_as_lines_are(tmp_path: Path) -> None:
    lines = record(tmp_path / "a.jsonl", thought(STEPS, "53"))
    array = tmp_path / "a.json"
    array.write_text(json.dumps([json.loads(lines.read_text())], indent=1))
    assert [t.thought for t in all_of(only(array))[0][0][1]] == [THOUGHT]
