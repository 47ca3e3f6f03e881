"""Scores of traces: each by hand on small texts, then read off a real model."""

from __future__ import annotations

import math
import random

import pytest
import torch

from laconic import Engine, Limits, Methods, Sampling
from laconic.bench import scores as reading
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from laconic.thinking.scores.cues import counts, first_sentence, reflections
from laconic.thinking.scores.graph import failed_step_fraction, graph
from laconic.thinking.scores.redundancy import loops, near_duplicates, repeated, repeated_share
from laconic.thinking.scores.score import score
from laconic.thinking.scores.surprise import first_token_surprisal, high_windows, window_entropy
from laconic.thinking.scores.trace import Trace, starts, steps
from tests import tiny


def failed(*steps: str) -> list[bool]:
    return [node.failed for node in graph(steps)]


class TestStepGraph:
    def test_a_straight_thought_fails_nowhere(self) -> None:
        assert failed("First 2 + 2 = 4.", "Then 4 + 1 = 5.", "So the answer is 5.") == [False] * 3
        assert [node.parent for node in graph(["a", "b", "c"])] == [-1, 0, 1]
        assert failed_step_fraction([]) == 0.0

    def test_what_is_refused_at_the_start_of_a_step_is_the_branch_before(self) -> None:
        found = graph(["Let x = 3.", "Then 2x = 5.", "Wait, that's wrong. 2x = 6.", "So the answer is 6."])
        assert [node.failed for node in found] == [True, True, False, False]
        assert [node.parent for node in found] == [-1, 0, 1, 2]
        assert found[2].branch == found[3].branch != found[0].branch

    def test_what_is_refused_at_the_end_of_a_step_is_its_own_branch(self) -> None:
        found = failed(
            "So 7 is prime.", "Alternatively, try 9 = 3 * 3. This doesn't work.", "Alternatively, the answer is 7."
        )
        assert found == [False, True, False]

    def test_a_branch_left_without_a_result_is_given_up(self) -> None:
        open_, closed = "Alternatively, think of pairs.", "Alternatively, in pairs it is 8."
        last = "Another way would be to count."
        assert failed("So it is 8.", open_, "Many of them.", last) == [False, True, True, False]
        assert failed("So it is 8.", closed, "Many of them.", last) == [False] * 4
        found = graph(["So it is 8.", open_, "Many of them.", last])
        assert [node.parent for node in found] == [-1, 0, 1, 0], "beside the branch that it leaves"
        assert [node.role for node in found] == ["trunk", "branch", "branch", "branch"]

    def test_a_check_that_fails_fails_what_it_checks(self) -> None:
        good = ("So the answer is 4.", "Let me check that. 4 + 4 = 8. They agree.")
        bad = ("So the answer is 5.", "Let me check that. 4 + 4 = 8. They differ.", "Hmm, so let me start over. 4.")
        assert failed(*good) == [False, False]
        assert failed(*bad) == [True, True, False]
        assert [node.role for node in graph(bad)] == ["trunk", "check", "branch"]

    @pytest.mark.parametrize(
        "said",
        [
            "Let me make sure I didn't make a mistake.", "If that's wrong, I must go back.", "Is it not possible?",
            "Maybe this is wrong.", "Let me check whether it doesn't work.", "x cannot be negative.",
        ],
    )  # fmt: skip
    def test_a_failure_that_is_only_feared_is_none(self, said: str) -> None:
        assert failed("So it is 4.", f"Fine. {said}", "So the answer is 4.") == [False] * 3

    @pytest.mark.parametrize(
        "said",
        [
            "So 4 cannot be right.", "But that's incorrect.", "That is a contradiction.", "I made a mistake there.",
            "This does not make sense.", "Hmm, that does not fit, so 4 is wrong.", "That's a dead end.",
            "This way it is 3, and before it was 4: not the same.",
        ],
    )  # fmt: skip
    def test_ways_to_give_up(self, said: str) -> None:
        assert failed("So it is 4.", f"Hence. {said}", "Alternatively it is 3.") == [True, True, False]


def test_reflections_are_steps_that_open_with_a_cue() -> None:
    told = ["It is 4.", "Wait, is it?", "It is. Wait no more.", "Just to be safe, add again.", "Let me check 4 again."]
    assert reflections(told) == (3, 0.6)
    assert reflections([]) == (0, 0.0)
    found = {name: count for name, count in counts("Wait. Hmm, but wait! But no.").items() if count}
    assert found == {"wait": 2, "hmm": 1, "but": 1}
    assert first_sentence("It is 3.5 here. And") == "It is 3.5 here."


class TestRedundancy:
    def test_repeated_ngrams(self) -> None:
        assert repeated([1, 2, 3, 1, 2, 3, 1], 3) == 2
        assert repeated_share([1, 2, 3, 1, 2, 3, 1], 3) == 2 / 5
        assert repeated_share([1, 2], 3) == 0.0
        assert repeated_share("aaaa", 2) == 2 / 3

    def test_steps_that_are_nearly_the_same(self) -> None:
        step = "so one takes the first of the two numbers and adds it to 7"
        assert near_duplicates([step, step.replace("adds", "then adds"), "other"], 0.5) == pytest.approx(1 / 3)
        assert near_duplicates([step, step.upper()]) == 0.5
        assert near_duplicates([step, step.replace("first", "last")]) == 0.0
        assert near_duplicates(["yes", "Yes"]) == 0.5
        assert near_duplicates([]) == 0.0

    def test_loops_are_long_steps_three_times(self) -> None:
        assert loops(["a long step that comes again", "A  long step that comes again"] * 2) == 1
        assert loops(["a long step that comes again"] * 2 + ["short"] * 5) == 0


class TestProbabilities:
    def test_windows_are_means_over_what_follows(self) -> None:
        assert window_entropy([1.0, 3.0, 0.0, 0.0], 2) == [2.0, 1.5, 0.0, 0.0]
        assert window_entropy([1.0, 3.0], 9) == [2.0, 3.0]
        assert window_entropy([], 2) == []
        assert high_windows([1.0, 3.0, 0.0, 2.0], 1.5, 2) == [0, 3]
        with pytest.raises(RequestError, match="window"):
            window_entropy([1.0], 0)

    def test_a_lone_uncertain_token_is_no_high_window(self) -> None:
        assert high_windows([0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0], 0.6, 4) == []
        assert high_windows([0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0], 0.6, 4) == [0, 1, 2]

    def test_first_tokens_of_steps(self) -> None:
        assert first_token_surprisal([-1.0, -2.0, -3.0], [0, 2]) == [1.0, 3.0]
        with pytest.raises(RequestError, match="outside"):
            first_token_surprisal([-1.0], [1])


class TestTrace:
    @pytest.mark.parametrize(
        "given",
        [
            {"tokens": (1, 2), "logprobs": (-1.0,)},
            {"logprobs": (0.5,)},
            {"logprobs": (math.nan,)},
            {"entropies": (-1.0,)},
            {"entropies": (math.inf,)},
            {"tokens": (1, 2), "starts": (1, 0)},
            {"tokens": (1, 2), "starts": (2,)},
        ],
    )
    def test_numbers_that_cannot_be_are_refused(self, given: dict[str, tuple[float, ...]]) -> None:
        with pytest.raises(RequestError):
            Trace("a", ("a",), **given)  # type: ignore[arg-type]

    def test_starts_are_where_the_steps_begin_however_the_text_is_cut(self) -> None:
        source = random.Random(4)
        for _ in range(300):
            text = "".join(source.choices(["a", "b ", ".", "\n", "\n\n", " "], k=source.randint(0, 25)))
            cuts = sorted(source.sample(range(len(text) + 1), min(6, len(text) + 1)))
            pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            holder = [at for at, piece in enumerate(pieces) for _ in piece]
            expected, offset = set(), 0
            for part in text.split("\n\n"):
                if part.strip():
                    expected.add(holder[offset + len(part) - len(part.lstrip())])
                offset += len(part) + 2
            assert starts(pieces) == sorted(expected)
            assert len(starts(list(text))) == len(steps(text))
        assert starts(["A.\n\n", "B.\n\nC", "\n\nD"]) == [0, 1, 2]

    def test_a_text_alone_has_the_scores_of_a_text(self) -> None:
        found = score(Trace.of("It is 4.\n\nWait, that's wrong. It is 5.\n\nSo the answer is 5."))
        assert (found.steps, found.reflections, found.failed_steps) == (3, 1, 1 / 3)
        assert found.length == 21
        assert (found.surprisal, found.entropy, found.high_entropy, found.first_token) == (None,) * 4
        empty = score(Trace.of(""))
        assert (empty.length, empty.steps, empty.failed_steps, empty.near_duplicates) == (0, 0, 0.0, 0.0)

    def test_probabilities_add_their_scores(self) -> None:
        given = Trace("a\n\nb", ("a", "b"), (1, 2, 3), (-1.0, -2.0, -3.0), (1.0, 0.0, 2.0), (0, 2))
        found = score(given)
        assert (found.length, found.surprisal, found.entropy, found.first_token) == (3, 2.0, 1.0, 3.0)
        assert found.high_entropy == 1.0


MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, TEXT = CausalLM(MODEL), tiny.text()


def test_a_reading_gives_the_models_own_probabilities() -> None:
    engine = Engine(TARGET, TEXT, Methods(drafter="none"))
    request = engine.request("2+2?", sampling=Sampling(1.0, seed=3), limits=Limits(60))
    prompt = (*request.prompt, *TEXT.encode("<think>\n"))
    tokens = engine.run([request])[0].tokens
    found = reading.trace(TARGET, TEXT, prompt, tokens)
    with torch.no_grad():
        rows = torch.log_softmax(
            tiny.model(0, bias=tiny.REASONER)(torch.tensor([[*prompt, *tokens]])).logits[0].double(), -1
        )
    for at, token in enumerate(tokens):
        row = rows[len(prompt) - 1 + at]
        assert found.logprobs[at] == pytest.approx(float(row[token]), abs=1e-3)
        assert found.entropies[at] == pytest.approx(float(-(row.exp() * row).sum()), abs=1e-3)
    assert found.tokens == tokens
    assert found.starts
    assert all(TEXT.piece(tokens[start]).strip() for start in found.starts)
    assert score(found).surprisal is not None


def test_tags_are_no_part_of_the_text() -> None:
    tokens = TEXT.encode("<think>\nOne.\n\nTwo.\n</think>\n\n")
    found = reading.trace(TARGET, TEXT, TEXT.encode("2+2?"), tokens)
    assert found.steps == ("One.", "Two.")
    assert [TEXT.piece(tokens[start]) for start in found.starts] == ["O", "T"]


def test_readings_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(RequestError, match="no thought"):
        reading.trace(TARGET, TEXT, [1], [])
    with pytest.raises(RequestError, match="context is 512"):
        reading.trace(TARGET, TEXT, [1] * 300, [2] * 300)


def test_auc_is_the_share_of_ordered_pairs() -> None:
    source = random.Random(2)
    for _ in range(50):
        values = [source.randint(0, 5) for _ in range(12)]
        flags = [source.random() < 0.5 for _ in values]
        true = [v for v, f in zip(values, flags, strict=True) if f]
        false = [v for v, f in zip(values, flags, strict=True) if not f]
        if not true or not false:
            assert reading.auc(values, flags) is None
            continue
        pairs = [(a > b) + (a == b) / 2 for a in true for b in false]
        assert reading.auc(values, flags) == pytest.approx(sum(pairs) / len(pairs))
    interval = reading.auc_interval([1, 2, 3, 4, 5, 6], [False, False, False, True, True, True])
    assert interval == (1.0, 1.0)
    assert reading.auc_interval([1.0], [True]) is None
