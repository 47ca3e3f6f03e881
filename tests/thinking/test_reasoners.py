"""Reasoning over several calls, on engines that answer from a script; then on a small real model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from laconic import Engine, Limits, Methods, Result, Sampling
from laconic.errors import InvalidKnob, RequestError, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.memory.base import Reasoner, Solved
from laconic.thinking.memory.workspace import Draft, Workspace, answers, clip, ended, tail
from laconic.types import Usage
from tests import tiny

MARK = "\n</think>\n\n"


def reasoner(spec: str) -> Reasoner:
    made = registry.build("memory", spec)
    assert isinstance(made, Reasoner)
    return made


@dataclass
class Asked:
    """A call as the engine saw it."""

    prompt: str
    messages: Sequence[Any]
    sampling: Sampling
    limits: Limits
    thinking: bool


@dataclass
class Scripted:
    """An engine behind ``generate`` alone: replies in order, each cut to the call's limit; a character is a token."""

    replies: list[str]
    asked: list[Asked] = field(default_factory=list)

    def generate(self, prompt: Any, *, sampling: Any = None, limits: Any = None, thinking: bool = True) -> Result:
        self.asked.append(Asked(prompt[-1]["content"], prompt, sampling, limits, thinking))
        reply = self.replies[len(self.asked) - 1]
        text = reply[: limits.max_new_tokens]
        thought, closed, answer = text.partition(MARK) if thinking else ("", "x", text)
        usage = Usage(prompt=len(self.asked[-1].prompt), thinking=len(thought), answer=len(text) - len(thought))
        reason = "stop" if len(text) == len(reply) else "length"
        return Result(text, thought, answer if closed else "", tuple(range(len(text))), reason, usage)  # type: ignore[arg-type]


def solve(spec: str, replies: list[str], most: int = 4000, **sampling: Any) -> tuple[Solved, Scripted]:
    engine = Scripted(replies)
    return reasoner(spec).solve("What is 2+2?", engine, sampling=Sampling(**sampling), limits=Limits(most)), engine


def kinds(found: Solved) -> list[str]:
    return [round.kind for round in found.rounds]


class TestInftyThink:
    def test_the_next_segment_sees_the_question_and_the_summary_and_nothing_else(self) -> None:
        found, engine = solve(
            "infty-think:segment=80,workspace=40",
            ["SECRET first part. " * 10, "two and two make four.", f"So it is 4.{MARK}The answer is 4."],
        )
        assert kinds(found) == ["segment", "merge", "segment"]
        first, merge, second = engine.asked
        assert first.prompt == "What is 2+2?"
        assert "SECRET" in merge.prompt
        assert merge.prompt.startswith("What is 2+2?")
        assert not merge.thinking
        assert merge.limits.max_new_tokens == 40
        assert second.thinking
        assert "two and two make four." in second.prompt
        assert second.prompt.startswith("What is 2+2?")
        assert "SECRET" not in second.prompt
        assert found.answer == "The answer is 4."

    def test_the_notes_stay_bounded_and_the_context_a_saw_tooth(self) -> None:
        found, engine = solve("infty-think:segment=300,workspace=20,merge=tail,rounds=6", ["word " * 200] * 7)
        segments = [asked for asked in engine.asked if asked.thinking]
        assert len(segments) == 6
        assert len({len(asked.prompt) for asked in segments[1:]}) == 1, "the prompt no longer grows"
        assert all(len(round.notes) <= 3 * 20 for round in found.rounds), "without a tokenizer three characters a token"
        assert found.context < 700 < found.sequential

    def test_a_segment_that_answers_is_the_end_of_it(self) -> None:
        found, engine = solve("infty-think:segment=80", [f"Easy.{MARK}4"])
        assert kinds(found) == ["segment"]
        assert (found.answer, len(engine.asked), found.result) == ("4", 1, found.rounds[0].results[0])

    def test_when_the_rounds_run_out_it_answers_from_its_notes(self) -> None:
        found, engine = solve("infty-think:segment=30,rounds=2,merge=tail,answer=50", ["so four. " * 9] * 2 + ["4."])
        assert kinds(found) == ["segment", "segment", "answer"]
        assert not engine.asked[-1].thinking
        assert "so four." in engine.asked[-1].prompt
        assert engine.asked[-1].limits.max_new_tokens == 50
        assert found.answer == "4."

    def test_when_the_tokens_run_out_it_still_answers(self) -> None:
        # 100 + 100 leave 60: no room for a segment of 100 and an answer of 50.
        found, _ = solve("infty-think:segment=100,merge=tail,answer=50", ["so four. " * 40] * 2 + ["4."], most=260)
        assert kinds(found) == ["segment", "segment", "answer"]
        assert found.sequential <= 260

    @pytest.mark.parametrize("most", [190, 260, 390, 777])
    @pytest.mark.parametrize("merge", ["summary", "tail", "answers"])
    def test_the_limit_holds_whatever_is_written(self, most: int, merge: str) -> None:
        spec = f"infty-think:segment=100,workspace=40,merge={merge},answer=50"
        found, _ = solve(spec, ["so four. " * 100] * 30, most=most)
        assert found.sequential <= most
        assert kinds(found)[-1] == "answer"

    def test_a_thought_that_ended_where_its_answer_did_not_fit_is_asked_for_the_answer_alone(self) -> None:
        found, _ = solve(
            "infty-think:segment=40,merge=tail", [f"It must be four.{MARK}The answer is 4, as " + "x" * 99, "4"]
        )
        assert kinds(found) == ["segment", "answer"]

    def test_a_model_that_writes_no_summary_leaves_the_end_of_its_segment(self) -> None:
        found, _ = solve("infty-think:segment=60,rounds=1", ["First this. Then that. " * 9, "  ", "4"])
        assert found.rounds[1].notes.endswith("Then that. First this.")

    def test_every_call_has_a_seed_of_its_own_and_the_first_the_questions(self) -> None:
        _, engine = solve("infty-think:segment=30,rounds=3", ["so. " * 20] * 7, seed=5, temperature=1.0)
        seeds = [asked.sampling.seed for asked in engine.asked]
        assert seeds[0] == 5
        assert len(set(seeds)) == len(seeds) == 7

    def test_usage_is_the_sum_of_all_calls(self) -> None:
        found, engine = solve("infty-think:segment=80,rounds=2", ["long. " * 30, "notes", f"yes{MARK}4"])
        assert found.usage.generated == 80 + 5 + len(f"yes{MARK}4")
        assert found.usage.prompt == sum(len(asked.prompt) for asked in engine.asked)
        assert found.as_dict()["usage"]["thinking"] == found.usage.thinking


class TestRefinement:
    DRAFTS = (
        f"long way round, {'x' * 60}{MARK}The answer is 4.",
        f"short{MARK}The answer is 4.",
        f"no{MARK}The answer is 5.",
    )

    def test_drafts_are_distilled_and_the_last_round_answers(self) -> None:
        found, engine = solve("pdr:width=3,workspace=60", [*self.DRAFTS, "Two say 4, one says 5.", f"Check.{MARK}4."])
        assert kinds(found) == ["draft", "merge", "draft"]
        assert [len(round.results) for round in found.rounds] == [3, 1, 1]
        assert all(text.partition(MARK)[0] in engine.asked[3].prompt for text in self.DRAFTS)
        assert "Two say 4, one says 5." in engine.asked[4].prompt
        assert "long way round" not in engine.asked[4].prompt
        assert found.answer == "4."

    def test_what_one_waits_for_is_the_longest_draft_of_each_round(self) -> None:
        found, _ = solve("pdr:width=3,merge=answers", [*self.DRAFTS, f"ok{MARK}4."])
        longest, last = max(map(len, self.DRAFTS)), len(f"ok{MARK}4.")
        assert found.sequential == longest + last
        assert found.usage.generated == sum(map(len, self.DRAFTS)) + last

    def test_greedy_drafts_are_sampled_and_the_answer_is_not(self) -> None:
        _, engine = solve("pdr:width=3,merge=answers,temperature=0.9", [*self.DRAFTS, f"ok{MARK}4."])
        assert [asked.sampling.temperature for asked in engine.asked] == [0.9, 0.9, 0.9, 0.0]
        assert len({asked.sampling.seed for asked in engine.asked}) == 4
        _, engine = solve("pdr:width=3,merge=answers", [*self.DRAFTS, f"ok{MARK}4."], temperature=0.3)
        assert {asked.sampling.temperature for asked in engine.asked} == {0.3}

    def test_one_draft_is_sequential_refinement(self) -> None:
        replies = [f"draft {i} says.{MARK}The answer is {i}." for i in range(3)]
        knobs = "merge=tail,rounds=3,segment=300,workspace=90"
        (one, first), (other, second) = (
            solve(f"pdr:width=1,{knobs}", replies),
            solve(f"sequential-refine:{knobs}", replies),
        )
        assert [a.prompt for a in first.asked] == [a.prompt for a in second.asked]
        assert one.answer == other.answer == "The answer is 2."
        assert "draft 1" in first.asked[2].prompt
        assert "draft 0" not in first.asked[2].prompt

    def test_a_last_draft_that_is_cut_off_is_asked_for_its_answer(self) -> None:
        found, _ = solve("pdr:width=2,merge=answers,segment=40", [f"a{MARK}The answer is 4."] * 2 + ["x. " * 99, "4"])
        assert kinds(found) == ["draft", "draft", "answer"]
        assert "The answer is 4." not in found.rounds[0].results[0].thinking
        assert found.answer == "4"


def draft(thinking: str, answer: str = "", tokens: int = 9) -> Draft:
    return Draft(thinking, answer, bool(answer), bool(answer), tokens)


class TestWorkspace:
    def test_text_only_distillation_counts_answers_and_keeps_the_shortest_conclusion(self) -> None:
        drafts = [
            draft("a\n\nso I get four, the long way.", "The answer is 4.", 30),
            draft("b\n\nso it is four.", r"\boxed{4.0}", 20),
            draft("c\n\nfive it is.", "5", 3),
            draft("d. The answer is 4"),
        ]
        text, keep = answers("", drafts)
        assert text.splitlines()[0] == "Answers so far: 4 (3 of 4); 5 (1 of 4)."
        assert "so it is four." in text
        assert "five it is" not in text
        assert "long way" not in text
        assert keep == "start"

    def test_without_any_answer_the_notes_grow_by_the_end_of_the_draft(self) -> None:
        assert answers("Earlier.", [draft("one\n\ntwo.")])[0] == "Earlier.\n\ntwo."

    def test_the_tail_is_the_end_of_the_shortest_whole_draft(self) -> None:
        drafts = [draft("short", tokens=1), draft("whole", "4", 20), draft("longer whole", "4", 30)]
        assert tail("gone", drafts) == ("whole\n\n4", "end")

    @pytest.mark.parametrize("keep", ["start", "end"])
    def test_clip_keeps_whole_sentences_and_never_more_than_it_may(self, keep: Any) -> None:
        text = "One two. Three four five! Six\nseven. Eight nine ten eleven."
        count: Callable[[str], int] = lambda s: len(s.split())  # noqa: E731
        for most in range(1, 15):
            cut = clip(text, most, count, keep)
            assert cut
            assert count(cut) <= most
            assert text.startswith(cut) if keep == "start" else text.endswith(cut)
        assert clip(text, 5, count, "start") == "One two. Three four five!"
        assert clip(text, 5, count, "end") == "seven. Eight nine ten eleven."
        assert clip("unbroken" * 9, 10, len, "end") == ("unbroken" * 9)[-10:]

    def test_a_cut_thought_ends_with_its_last_whole_sentence(self) -> None:
        assert ended("One. Two.\n\nTry v =") == "One. Two."
        assert ended("only a part") == "only a part"
        assert ended("3.5 and 4") == "3.5 and 4"

    def test_a_workspace_of_nothing_is_refused(self) -> None:
        with pytest.raises(InvalidKnob, match="holds nothing"):
            Workspace(0, tail, len)


@pytest.mark.parametrize(("spec", "rounds"), [("pdr", 2), ("sequential-refine", 3)])
def test_by_default_all_rounds_of_refinement_fit_into_the_default_limits(spec: str, rounds: int) -> None:
    made = reasoner(spec)
    longest = "x. " * 999
    engine = Scripted([longest] * 20)
    found = made.solve("Hm?", engine, limits=Limits())
    assert kinds(found).count("draft") == rounds
    assert found.sequential <= Limits().max_new_tokens


@pytest.mark.parametrize(
    "spec",
    [
        "pdr:width=0", "pdr:rounds=1", "pdr:workspace=0", "pdr:temperature=0", "sequential-refine:rounds=1",
        "infty-think:segment=0", "infty-think:workspace=0", "infty-think:rounds=0", "infty-think:merge=vote",
        "infty-think:place=nowhere", "infty-think:answer=0",
    ],
)  # fmt: skip
def test_knobs_that_make_no_sense_are_refused(spec: str) -> None:
    with pytest.raises(InvalidKnob):
        reasoner(spec)


def test_a_budget_too_small_for_a_segment_is_refused_before_any_call() -> None:
    engine = Scripted([])
    with pytest.raises(RequestError, match="too small for a segment of 512 tokens, notes of 128 and an answer"):
        reasoner("infty-think").solve("Hm?", engine, limits=Limits(600))
    assert not engine.asked


def test_notes_inside_the_thought_need_an_engine_that_can_write_there() -> None:
    with pytest.raises(UnmetNeed, match="place=prompt"):
        solve("infty-think:segment=20,merge=tail,place=thought", ["so. " * 20] * 3)


MODEL = CausalLM(tiny.model(3, bias=tiny.REASONER | {"</think>": -2.0, "<|im_end|>": -1.0, "<think>": 6.0}))
ENGINE = Engine(MODEL, tiny.text(), Methods(drafter="suffix", length="constant:4"))
SPECS = [
    f"{name},workspace=24,answer=12,merge={merge},place={place}"
    for name in ("infty-think:segment=30,rounds=3", "pdr:width=3,segment=40", "sequential-refine:segment=30")
    for merge in ("summary", "answers", "tail")
    for place in ("prompt", "thought")
]


@pytest.mark.parametrize("spec", SPECS)
def test_on_a_real_model_bounds_hold_and_runs_repeat(spec: str) -> None:
    found = reasoner(spec).solve("2+2?", ENGINE, sampling=Sampling(0.8, seed=4), limits=Limits(150))
    again = reasoner(spec).solve("2+2?", ENGINE, sampling=Sampling(0.8, seed=4), limits=Limits(150))
    assert found.text == again.text
    assert found.rounds[-1].results[-1] is found.result
    assert found.sequential <= 150
    for round in found.rounds:
        assert len(ENGINE.text.encode(round.notes)) <= 24
    total = sum(result.usage.generated for round in found.rounds for result in round.results)
    assert found.usage.generated == total


def test_a_first_segment_with_room_is_the_plain_run() -> None:
    sampling = Sampling(0.8, seed=2)
    found = reasoner("infty-think:segment=60,rounds=1,answer=12").solve("2+2?", ENGINE, sampling=sampling)
    plain = ENGINE.generate("2+2?", sampling=sampling, limits=Limits(60, answer_room=0))
    assert found.rounds[0].results[0].tokens == plain.tokens


def test_drafts_of_a_batch_are_those_of_their_seeds_alone() -> None:
    found = reasoner("pdr:width=3,segment=40,workspace=24,answer=12,merge=tail").solve(
        "2+2?", ENGINE, sampling=Sampling(0.8, seed=4)
    )
    for i, result in enumerate(found.rounds[0].results):
        alone = ENGINE.generate("2+2?", sampling=Sampling(0.8, seed=4 + 7919 * i), limits=Limits(40, answer_room=0))
        assert result.tokens == alone.tokens
    assert len({result.tokens for result in found.rounds[0].results}) == 3


def test_notes_in_the_thought_are_part_of_it_and_are_not_counted_as_written() -> None:
    spec = "infty-think:segment=30,rounds=2,workspace=24,answer=12,merge=tail,place=thought"
    found = reasoner(spec).solve("2+2?", ENGINE, sampling=Sampling(0.8, seed=4))
    first, second, last = found.rounds
    plain = len(ENGINE.text.prompt("2+2?"))
    assert first.results[0].usage.prompt == plain
    opening = f"<think>\n{first.notes}\n\n"
    assert second.results[0].usage.prompt == plain + len(ENGINE.text.encode(opening))
    assert second.results[0].usage.thinking == 30
    closing = f"<think>\n{second.notes}\n\n</think>\n\n"
    assert last.results[0].usage.prompt == plain + len(ENGINE.text.encode(closing))
    assert last.results[0].usage.thinking == 0


def test_the_engines_controllers_act_in_every_segment() -> None:
    engine = ENGINE.using(think=("budget:10",))
    found = reasoner("infty-think:segment=40,rounds=2,workspace=24,answer=12,merge=tail").solve(
        "2+2?", engine, sampling=Sampling(0.8, seed=4)
    )
    assert any(event.method == "budget" for event in found.rounds[0].results[0].events)
    assert found.rounds[0].results[0].usage.thinking <= 10


def test_what_does_not_fit_into_the_context_is_refused() -> None:
    with pytest.raises(RequestError, match="do not fit into the model's context of 512"):
        reasoner("infty-think:segment=64,workspace=500").solve("2+2?", ENGINE)


def test_a_model_without_a_thinking_phase_is_refused() -> None:
    bare = Engine(MODEL, tiny.text(tags_as_tokens=False, template=None), Methods(drafter="none"))
    with pytest.raises(UnmetNeed, match="'pdr' needs a model with a thinking phase"):
        reasoner("pdr").solve("2+2?", bare)
