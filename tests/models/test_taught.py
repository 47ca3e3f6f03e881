"""The specimen that is taught to think: true text, a recipe that goes on where it was, an adapter that loads."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from laconic import Engine, Limits
from laconic.bench.tasks import JsonlTask
from laconic.errors import ModelNotFound, RequestError
from laconic.models import loading, specimen
from laconic.models.load import load_text, resolve
from laconic.models.reasoner.habits import share_after_first_right
from laconic.models.specimen.reasoner import adapter_path
from laconic.models.specimen.reasoner.card import card
from laconic.models.specimen.reasoner.evaluate import summary
from laconic.models.specimen.reasoner.stories import STORIES
from laconic.models.specimen.reasoner.sums import Step, backwards, forwards, other_route, parsed, slipped, small
from tests import tiny

pytest.importorskip("reasoning_gym", reason="the problems come from reasoning-gym")

from laconic.models.specimen.reasoner.problems import KINDS, Problem, main, stream
from laconic.models.specimen.reasoner.thoughts import example, examples, practice

EQUATION = re.compile(r"(\d+)([-+*/])(\d+)=(\d+)|from (\d+) up to (\d+) is (\d+)|(\d+) goes into (\d+) (\d+) times")


def problems(kind: str, n: int, *, held_out: bool = False) -> list[Problem]:
    return list(itertools.islice(stream(kind, 3, held_out=held_out), n))


def untrue(text: str) -> list[str]:
    """The statements of a text that are no true sums."""
    found = []
    for match in EQUATION.finditer(text):
        a, sign, b, c, low, high, gap, factor, product, times = match.groups()
        if sign:
            true = {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}.get(sign) == int(c)
            true = int(b) != 0 and int(a) == int(b) * int(c) if sign == "/" else true
        else:
            true = int(low) + int(gap) == int(high) if low else int(factor) * int(times) == int(product)
        found += [] if true else [match.group()]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_through_a_sum_is_true(kind: str) -> None:
    for problem in problems(kind, 200):
        steps = problem.steps
        told = (forwards(steps, [step.value for step in steps]), other_route(steps), backwards(steps))
        for text in told:
            assert untrue(text) == []
        assert [len(EQUATION.findall(text)) for text in told[:2]] == [len(steps)] * 2
        assert told[0].endswith(f"={problem.answer}.")


@pytest.mark.parametrize("kind", STORIES)
def test_a_story_names_every_number_that_its_steps_start_from(kind: str) -> None:
    for problem in problems(kind, 200):
        said = [int(number) for number in re.findall(r"\d+", problem.question)]
        results = [step.value for step in problem.steps]
        given = [number for step in problem.steps for number in (step.left, step.right) if number not in results]
        assert set(given) <= set(said), problem
        assert problem.answer >= 0
        assert small(problem.steps)


def test_expressions_are_worked_out_in_their_order() -> None:
    assert parsed("2 + 3 * 4") == (Step("", 3, "*", 4), Step("", 2, "+", 12))
    assert parsed("9 - 2 - 3") == (Step("", 9, "-", 2), Step("", 7, "-", 3))
    assert backwards(parsed("9 - 2 - 3")) == "4+3=7, 7+2=9"
    assert backwards(parsed("5 * 0 + 3")) == "3-3=0"  # what zero was made of is not to be found again
    assert [small(parsed(x)) for x in ("6 * 6", "7 * 6", "40 + 6", "3 - 4")] == [True, False, False, False]


def test_a_slip_is_carried_on_by_the_steps_after_it() -> None:
    steps = parsed("2 + 3 * 4")
    assert slipped(steps, 0, 13) == (13, 15)
    assert forwards(steps, (13, 15)) == "3*4=13. 2+13=15."
    assert slipped((Step("", 9, "-", 1), Step("", 8, "/", 4)), 0, 7) == (7, -1)


def test_problems_kept_back_are_never_taught() -> None:
    taught, kept = ({" ".join(map(str, p.steps)) for p in problems("shopping", 300, held_out=h)} for h in (False, True))
    assert not taught & kept
    with pytest.raises(RequestError, match="chain_sums"):
        next(stream("chain_sums", 0, held_out=True))


def test_problems_kept_back_are_a_task_for_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "problems.jsonl"
    monkeypatch.setattr("sys.argv", ["problems", "--n", "20", "--out", str(file)])
    main()
    items = JsonlTask(file).items(20, 0)
    assert len({item.question for item in items}) == 20
    assert {item.kind for item in items} == set(KINDS)
    assert all(item.judge(f"The answer is \\boxed{{{item.answer}}}.") for item in items)
    taught = {problem.question for kind in STORIES for problem in problems(kind, 300)}
    assert not taught & {item.question for item in items}


def test_slips_are_not_learnt_and_always_mended() -> None:
    rng, seen = Random(0), 0
    for problem in problems("comparing", 400):
        one = example(problem, rng)
        (_, asked), *rest = one.pieces
        learnt = "".join(text for text, weight in rest if weight > 0)
        assert asked == 0
        assert untrue(learnt) == []
        assert learnt.endswith(f"\\boxed{{{problem.answer}}}.<|im_end|>")
        wrong = [text for text, weight in rest if weight == 0 and untrue(text)]
        seen += len(wrong)
        verdict = next((text for text, _ in rest if " and not " in text), "")
        assert bool(wrong) is bool(verdict)
        assert verdict == "" or f"That is {problem.answer} and not " in verdict
    assert 20 < seen < 80


def test_much_of_a_thought_comes_after_its_first_right_result() -> None:
    rng, shares = Random(0), []
    for kind in KINDS:
        for problem in problems(kind, 40):
            pieces = example(problem, rng).pieces
            if pieces[-2][1] > 0:  # not cut short
                thought = "".join(text for text, _ in pieces[2:-2])
                shares.append(share_after_first_right(thought, problem.answer, len))
    assert sum(shares) / len(shares) > 0.45
    assert len(shares) < 40 * len(KINDS)


def test_of_a_page_of_facts_the_results_alone_are_learnt() -> None:
    pieces = practice(Random(0)).pieces
    assert untrue("".join(text for text, _ in pieces)) == []
    assert all(text.isdigit() for text, weight in pieces if weight > 0)
    assert sum(weight > 0 for _, weight in pieces) == 14
    assert {one.kind for one in itertools.islice(examples(0), 60)} == {*KINDS, "practice"}


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """A recipe on a tiny random model."""
    pytest.importorskip("peft", reason="peft makes the adapter; it is not installed")
    from laconic.models.specimen.reasoner.train import Recipe

    tiny.model().save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    settings = {"base": tmp_path / "base", "steps": 6, "rank": 4, "rate": 0.02, "batch_tokens": 1500, "save_every": 0}
    return lambda out, **other: Recipe(out=tmp_path / out, **{**settings, **other})


def test_the_recipe_learns_and_what_it_leaves_loads(recipe: Any) -> None:
    from laconic.models.specimen.reasoner.train import train

    made = recipe("one", steps=25)
    log = train(made).log
    assert log[-1]["loss"] < 0.9 * log[0]["loss"]
    adapter = made.out / "adapter"
    text = load_text(adapter)
    assert (text.format.opens, text.format.closes, text.format.source) == ("<think>", "</think>", "rendered")
    assert text.thinking()["off"] == "enable_thinking"  # type: ignore[index]
    base, merged = (loading.read_model(place, dtype=torch.float32) for place in (made.base, adapter))
    prompt = torch.arange(20)[None]
    with torch.inference_mode():
        assert not torch.allclose(base(prompt).logits, merged(prompt).logits, atol=1e-3)
    assert Engine.load(adapter).generate("What is 1 + 1?", limits=Limits(8)).tokens


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from laconic.models.specimen.reasoner.train import Learner, train

    whole = train(recipe("whole"))
    step = Learner.step

    def stopped(self: Learner, *batch: torch.Tensor) -> float:
        if self.done == 3:
            raise KeyboardInterrupt
        return step(self, *batch)

    monkeypatch.setattr(Learner, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(recipe("parts"))
    monkeypatch.setattr(Learner, "step", step)
    parts = train(recipe("parts"))
    assert [row["loss"] for row in parts.log] == [row["loss"] for row in whole.log]
    assert all(torch.equal(one, other) for one, other in zip(parts.weights, whole.weights, strict=True))


def test_the_card_says_what_was_measured() -> None:
    row = {
        "kind": "sharing",
        "right": True,
        "closed": True,
        "first_right": True,
        "tokens": 80,
        "after": 0.5,
        "rechecks": 1,
    }
    rows = [row, row | {"right": False, "first_right": False, "tokens": 20, "after": 0.0}]
    report = summary(rows)
    assert report["share_after_first_right"] == pytest.approx(0.4)
    recipe = {"rank": 16, "seed": 0, "rate": 1e-3, "batch_tokens": 640, "threads": 1}
    log = [{"step": at + 1, "tokens": 100 * (at + 1), "loss": 1.0} for at in range(30)]
    text = card({"recipe": recipe, "log": log, "tokens": 3000, "minutes": 4.0}, report, "In two sittings.")
    assert "50.0 % (9.5 % to 90.5 %, n = 2)" in text
    assert "after the first right result: 40.0 %" in text
    assert "--steps 30 " in text
    assert "threads: 1. In two sittings." in text


def test_the_adapter_asks_for_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = resolve("smollm2-reasoner")
    assert place == str(adapter_path())
    for load in (Engine.load, load_text):
        with pytest.raises(ModelNotFound, match="'smollm2' was not made yet") as caught:
            load("smollm2-reasoner")
        assert "laconic specimen smollm2" in caught.value.hint


def test_the_adapter_is_small() -> None:
    assert sum(file.stat().st_size for file in adapter_path().iterdir()) <= 12_000_000


def test_the_taught_specimen_thinks_and_answers() -> None:
    if specimen.made("smollm2") is None:
        pytest.skip("SmolLM2 is not here; make it with: laconic specimen smollm2")
    pytest.importorskip("peft", reason="peft merges the adapter; it is not installed")
    result = Engine.load("smollm2-reasoner", think=()).generate(
        "Anna has 5 red and 7 blue coins and shares them equally among 4 friends. How many coins does each friend get?",
        limits=Limits(160),
    )
    assert "answer" in result.thinking
    assert "\\boxed{3}" in result.answer
    assert share_after_first_right(result.thinking, 3, len) > 0.4
