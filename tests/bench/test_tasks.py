import pytest

from laconic.bench.tasks import BundledTask, GymTask, JsonlTask, draw, kinds, load
from laconic.errors import TaskError


def write(path, *lines):
    path.write_text("\n".join(lines))
    return path


def test_jsonl(tmp_path):
    path = write(
        tmp_path / "mine.jsonl",
        '{"question": "2+3?", "answer": 5}',
        "",
        '{"question": "Q", "answer": "x", "kind": "odd"}',
    )
    first, second = JsonlTask(path).items(10, seed=0)
    assert (first.id, first.kind, first.question, first.answer) == ("mine/1", "mine", "2+3?", "5")
    assert (second.id, second.kind) == ("mine/3", "odd")
    assert first.judge(r"So \boxed{5.0}")
    assert not first.judge(r"So \boxed{6}")
    assert not first.judge("")
    assert [item.id for item in JsonlTask(path).items(1, seed=9)] == ["mine/1"]


def test_a_file_without_any_answer_is_for_speed_alone(tmp_path):
    path = write(
        tmp_path / "speed.jsonl",
        '{"question_id": 81, "category": "writing", "turns": ["Compose a post.", "Rewrite it."]}',
        '{"prompt": "Translate: Haus"}',
        '{"question": "Why?"}',
    )
    items = JsonlTask(path).items(5, seed=0)
    assert [(item.question, item.kind) for item in items] == [
        ("Compose a post.", "writing"),
        ("Translate: Haus", "speed"),
        ("Why?", "speed"),
    ]
    assert [item.judge("anything") for item in items] == [None] * 3
    with pytest.raises(TaskError, match="line 1: no 'question'"):
        JsonlTask(write(tmp_path / "bad.jsonl", '{"turns": []}'))


def test_any_data_set_of_reasoning_gym():
    pytest.importorskip("reasoning_gym")
    (task,) = load("gym:letter_counting")
    items = task.items(6, seed=2)
    assert len({item.question for item in items}) == 6
    assert items == task.items(6, seed=2)
    assert {item.kind for item in items} == {"gym:letter_counting"}
    for item in items:
        assert item.judge(f"The answer is {item.answer}.")
        assert not item.judge("The answer is 99.")
    with pytest.raises(TaskError, match="letter_countin") as caught:
        GymTask("letter_countin")
    assert "letter_counting" in caught.value.hint


def test_kinds_and_files_together(tmp_path):
    path = write(tmp_path / "mine.jsonl", '{"question": "2+3?", "answer": 5}')
    assert [task.name for task in load(f"gcd,{path}")] == ["gcd", "mine"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
        ('{"question": "x"}', "line 2: no 'answer'"),
        ('{"question": " ", "answer": 1}', "line 2: no 'question'"),
        ('{"question": "x", "answer": null}', "line 2: no 'answer'"),
        ('{"question": "x", "answer": true}', "line 2: no 'answer'"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = write(tmp_path / "bad.jsonl", '{"question": "a", "answer": "b"}', line)
    with pytest.raises(TaskError, match=message):
        JsonlTask(path)


def test_unreadable_files(tmp_path):
    with pytest.raises(TaskError, match="No such file"):
        load(str(tmp_path / "none.jsonl"))
    with pytest.raises(TaskError, match="holds no problems"):
        load(str(write(tmp_path / "empty.jsonl", "")))
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="UTF-8"):
        load(str(tmp_path / "bytes.jsonl"))


def test_unknown_kinds_get_a_guess():
    with pytest.raises(TaskError) as caught:
        load("chain_sum,chain_sun")
    assert "'chain_sun'" in caught.value.message
    assert "Did you mean 'chain_sum'?" in caught.value.hint
    with pytest.raises(TaskError, match="no task"):
        load(" , ")


def test_all_kinds_by_default():
    assert [task.name for task in load(None)] == kinds()
    assert len(kinds()) >= 6
    assert [task.name for task in load("gcd, lcm,gcd")] == ["gcd", "lcm"]


def test_bundled_problems_are_held_out_and_repeatable():
    pytest.importorskip("reasoning_gym")
    items = BundledTask("chain_sum").items(5, seed=3)
    assert items == BundledTask("chain_sum").items(5, seed=3)
    assert items != BundledTask("chain_sum").items(5, seed=4)
    assert len({item.question for item in items}) == 5
    for item in items:
        assert item.judge(f"The answer is \\boxed{{{item.answer}}}.")
        assert not item.judge(f"The answer is \\boxed{{{int(item.answer) + 1}}}.")


class Counting:
    def __init__(self, name, most=100):
        self.name, self.most = name, most

    def items(self, n, seed):
        return [f"{self.name}{i}" for i in range(min(n, self.most))]


def test_draw_spreads_evenly_and_takes_turns():
    assert draw([Counting("a"), Counting("b"), Counting("c")], 7, 0) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2"]
    assert draw([Counting("a"), Counting("b")], 1, 0) == ["a0"]
    assert draw([Counting("a", most=2)], 9, 0) == ["a0", "a1"]
    for n in (0, -3):
        with pytest.raises(TaskError, match="must be > 0"):
            draw([Counting("a")], n, 0)
