"""Where a thought states its answer; cue words, repeats and loops."""

import pytest

from laconic.bench.replay.records import Recording, Turn
from laconic.bench.replay.statements import final_answer
from laconic.bench.replay.thoughts import measure, split, summary
from laconic.bench.replay.tokens import Splitter
from laconic.thinking.statements import statements


@pytest.mark.parametrize(
    ("sentence", "answer", "stated", "concluding"),
    [
        ("3 times 60 is 180, times 3 is 540.", "540", True, False),
        ("So that would be 540 meters per week.", "540", True, True),
        (r"\boxed{540}", "540", True, True),
        (r"\(180 \times 3 = 540\)", "540", True, False),
        ("Therefore, she earned $1,540 in total.", "540", False, False),
        ("540 is larger than 60.", "540", False, False),  # Not the last number.
        ("He ran 540 meters.", "540", False, False),  # No word of a result.
        ("The pace is 3, and he ran 540 meters.", "540", False, False),  # It belongs to another number.
        ("540 meters is what he ran.", "540", False, False),  # It comes too late.
        ("So 540 meters are 3 times 180.", "540", False, False),
        ("The answer is 540.5.", "540", False, False),
        ("The answer is 5400.", "540", False, False),
        ("So the total is 1,540.", "1540", True, True),
        ("x = 1/2", "1/2", True, False),
        (r"So x = \frac{1}{2}", r"\frac{1}{2}", True, True),
        ("So w = (4 + 2) + (-2i - 3i) = 6 - 5i", "6 - 5i", True, True),
        ("So she is facing east.", "east", True, True),
        ("So is it north, south, east, or west?", "east", False, False),
        ("So she is heading northeast.", "east", False, False),
    ],
)
def test_rule(sentence, answer, stated, concluding):
    found = list(statements(sentence, answer))
    assert bool(found) == stated
    assert any(statement.concluding for statement in found) == concluding


def test_places_are_ends_of_steps():
    thought = "First, 2 + 3 = 5. Hmm.\n\nWait, 2 + 3 is 6?\n\nSo the answer is 5. Yes.\n\nDone."
    found = list(statements(thought, "5"))
    assert [(s.step, thought[: s.end].count("\n\n"), s.concluding) for s in found] == [(0, 0, False), (2, 2, True)]
    assert thought[: found[0].end].endswith("Hmm.")
    assert thought[: found[1].end].endswith("Yes.")


@pytest.mark.parametrize(
    ("reply", "right", "answer"),
    [
        (r"It is \boxed{\$1{,}200 \text{ dollars}}.", None, "1200"),
        (r"\boxed{90^\circ}", "90", "90"),
        ("The answer is 12 hours.", None, "12"),
        ("The answer is B.", None, "B"),
        ("The answer is **B**.", None, "B"),
        ("I compare them.\n\nB", None, "B"),
        ("North it is, I think.\n\nnorth east", None, "north east"),
        ("That is how it goes.", None, ""),
        ("The answer is that nobody can really know it for sure.", None, ""),
        ("Both ways give the same number, which is 366.", "366", "366"),
        ("Both ways give the same number, which is 366.", "365", ""),
        ("Both ways give the same number, which is 366.", None, ""),
        (r"\boxed{6 - 5i}", "6-5i", "6-5i"),
        (r"\boxed{6 - 5i}", None, "6 - 5i"),
        ("", "3", ""),
    ],
)
def test_final_answer(reply, right, answer):
    assert final_answer(reply, right) == answer


def test_thought_and_reply():
    assert split("<think>\nA</think>B") == ("\nA", "B")
    assert split("A</think>B") == ("A", "B")  # The template wrote the opening tag.
    assert split("[THINK]A[/THINK]B") == ("A", "B")
    assert split("no thought") is None


def recording(name, thought, reply=r"\boxed{5}", answer="5"):
    return Recording(name, 1, (Turn("[assistant]\n", f"{thought}</think>{reply}"),), answer)


def test_measure_counts_tokens_from_the_step_on():
    thought = "Let me see. 2 + 3 = 5.\n\nWait. So it is 5.\n\nBut let me check: so again it is 5.\n\nHmm."
    tokenizer = Splitter()
    found = measure(recording("a", thought), tokenizer)
    assert found.tokens == len(tokenizer.encode(thought))
    assert found.stated == len(tokenizer.encode(thought.split("\n\n")[0]))
    assert found.concluded == len(tokenizer.encode(thought.partition("\n\nBut")[0]))
    assert (found.steps, found.restated, found.right) == (4, 1, True)
    assert found.cues == {
        "wait": 1, "hmm": 1, "alternatively": 0, "but": 1, "actually": 0, "let me check": 1, "hold on": 0,
        "another way": 0,
    }  # fmt: skip


def test_repeats_and_loops():
    step = "Let me try the next candidate again with care, number by number, until it fits."
    words = len(Splitter().encode(step))
    found = measure(recording("a", "\n\n".join([step] * 4)), Splitter())
    assert found.loops == 1
    assert found.repeated == found.tokens - (words + 1) - 15  # The second copy is seen from its 16th token on.
    assert measure(recording("a", "\n\n".join([step] * 2)), Splitter()).loops == 0


def test_summary_pools_over_all_thoughts():
    early = recording("early", "So it is 5.\n\n" + "and on and on " * 20)
    never = recording("never", "Who knows " * 30)
    silent = Recording("silent", 3, (Turn("[assistant]\n", "5"),), "5")
    vague = recording("vague", "Who knows", reply="Nobody can say what that would be in the end.", answer=None)
    found = summary([early, never, silent, vague], Splitter())
    assert (found["n"], found["without_thought"]) == (3, ["silent"])
    assert found["without_answer"] == ["vague"]
    assert found["never_stated"] == ["never"]
    assert (found["concluded"]["share"], found["concluded"]["n"]) == (0.5, 2)
    # A thought that never says so saves nothing but counts in full.
    sizes = [measure(r, Splitter()) for r in (early, never, vague)]
    after = sizes[0].tokens - sizes[0].concluded
    assert found["concluded"]["after"]["share"] == pytest.approx(after / sum(t.tokens for t in sizes))
    assert found["concluded"]["after"]["per_thought"]["median"] == pytest.approx(after / sizes[0].tokens)
    assert summary([silent], Splitter()) is None
