"""Habits are read from plain text."""

from laconic.models.reasoner.habits import (
    copied_share,
    is_verbatim,
    rechecks,
    share_after_first_right,
    stated_results,
    steps,
)

THOUGHT = """Let me compute 12 * 13.

12 * 13 = 120 + 26 = 146. So the answer is 146.

Wait, let me check that by another route. 10 * 13 = 130, 2 * 13 = 26, 130 + 26 = 156.

So 156 now and 146 before. They differ.

Let me go slowly and do it a third way. 12 * 10 = 120, 12 * 3 = 36, 120 + 36 = 156. Compare 156 with 146 and \
156: 156 comes twice, so the answer is 156."""


def test_results_for_the_whole_problem_are_found_in_order_and_others_are_not() -> None:
    found = stated_results(THOUGHT)
    assert [stated.value for stated in found] == [146, 156, 156, 156]
    assert THOUGHT[: found[0].end_char].endswith("the answer is 146")
    assert stated_results("10 * 13 = 130, 2 * 13 = 26.") == []
    assert [stated.value for stated in stated_results("Good. The final answer is -12.")] == [-12]


def test_steps_are_paragraphs() -> None:
    assert len(steps(THOUGHT)) == 5
    assert steps("\n\n a \n\n\n\nb") == ["a ", "b"]


def test_the_share_after_the_first_right_result_counts_from_its_end() -> None:
    assert share_after_first_right("the answer is 5. abcd", 5, len) == len(". abcd") / len("the answer is 5. abcd")
    assert share_after_first_right(THOUGHT, 146, len) > share_after_first_right(THOUGHT, 156, len) > 0
    assert share_after_first_right(THOUGHT, 7, len) == 0


def test_rechecks_start_at_cue_words_after_a_result() -> None:
    checks = rechecks(THOUGHT)
    assert [check.split(".")[0] for check in checks] == [
        "Wait, let me check that by another route",
        "Let me go slowly and do it a third way",
    ]


def test_repeating_the_same_sums_in_other_words_is_copying() -> None:
    thought = "First 205 - 838 = -633. Then -633 + 505 = -128. So the answer is -128."
    again = "Wait, once more: 205 - 838 = -633, and -633 + 505 = -128."
    other = "Backwards: -128 - 505 = -633, -633 + 838 = 205."
    assert copied_share(again, thought) > 0.9
    assert is_verbatim(again, thought)
    assert copied_share(other, thought) < 0.5
    assert not is_verbatim(other, thought)
