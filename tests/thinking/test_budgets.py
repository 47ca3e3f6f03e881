"""Budgets: where they close, what they leave to the answer, and that nothing makes them give way."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Sampling, reference
from laconic.bench.fit.effort import free_lengths, quantile
from laconic.errors import InvalidKnob, RequestError, TaskError, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.thinking.base import Ban, Conclude, Continue, Controller, Inject, Place, View
from laconic.thinking.budget import tag
from laconic.thinking.budget.effort import PERCENT, TOKENS
from laconic.thinking.budget.lengths import load
from tests import tiny

TEXTS = {"one token": tiny.text(), "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))}
MODELS = {
    "one token": tiny.model(0, bias={**tiny.REASONER, "<|im_end|>": 4.0, "</think>": 2.0}),
    "several": tiny.model(0, bias={**tiny.REASONER, "<|im_end|>": 3.0, "<": 3.0, "/": 3.0, "a": 3.0, ">": 3.0}),
}
TEXT = TEXTS["one token"]
THINK = {
    "budget": ("budget:12,text=OK.\n,answer=6,minimum=10,waits=2",),
    "soft-landing": ("soft-landing:20,text=OK.\n,minimum=5,waits=1,hottest=100",),
    "end-temperature": ("end-temperature:3",),
    "none": ("effort:none",),
    "low": ("effort:low,answer=5,text=",),
    "all": ("end-temperature:0.5", "soft-landing:25,text=", "answer-agreement:2"),
}


def built(spec: str) -> Any:
    controller = registry.build("think", spec)
    assert isinstance(controller, Controller)
    return controller


def request(limit: int = 500, prompt: str = "Why?<think>\n", text: Text = TEXT) -> Request:
    return Request(tuple(text.encode(prompt)), limits=Limits(limit))


def place(written: str, thinking: int = 0, phase: str = "thinking", text: Text = TEXT) -> Place:
    return Place(phase, thinking, 0, 0, text.encode(written))


def ruled(spec: str, at: Place, logits: torch.Tensor, text: Text = TEXT) -> torch.Tensor | None:
    controller = built(spec)
    before = logits.clone()
    changed = controller.rule(controller.start(request(text=text), text))(logits, at)
    assert torch.equal(logits, before)
    return changed


class TestDecisions:
    def test_close_at_the_budget_and_at_the_end_of_a_step_when_landing(self) -> None:
        budget = built("budget:50,landing=0.2,text=Done.")
        state = budget.start(request(), TEXT)
        assert (budget.limit(state), budget.answer_limit(state)) == (50, None)
        assert budget.decide(state, View(39, ["a"], True)) == Continue()
        assert budget.decide(state, View(40, ["a"], False)) == Continue()
        assert budget.decide(state, View(40, ["a"], True)).text == "Done."
        assert budget.decide(state, View(50, ["a"], False)).text == "\n\nDone."
        assert built("soft-landing:50").decide(state, View(50, ["a"], False)).reason == "budget of 50 tokens is spent"
        soft = built("soft-landing:50")
        assert soft.decide(soft.start(request(), TEXT), View(49, ["a"], True)) == Continue()

    def test_a_thought_that_ends_too_early_goes_on_so_many_times(self) -> None:
        budget = built("budget:50,minimum=20,waits=2,landing=1")
        state = budget.start(request(), TEXT)
        view = View(9, ["a"], False, written=TEXT.encode("so.\n"), closing="tag")
        assert budget.decide(state, View(19, ["a"], True)) == Continue(), "landing waits for the minimum"
        assert budget.decide(state, replace(view, thinking=20)) == Continue()
        assert budget.decide(state, view) == Inject("Wait", "9 of at least 20 tokens; wait 1 of 2")
        action = budget.decide(state, replace(view, written=TEXT.encode("so"), closing="end"))
        assert isinstance(action, Inject)
        assert action.text == "\n\nWait", "the word begins a line"
        assert budget.decide(state, view) == Continue(), "a model that insists is let go"
        assert isinstance(budget.decide(state, View(20, ["a"], True)), Conclude)

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ("budget:10,minimum=11", "11 is more than the budget of 10"),
            ("soft-landing:10,minimum=11", "11 is more than the budget of 10"),
            ("effort:low,minimum=5000", "5000 is more than the budget of 1024"),
            ("effort:none,minimum=1", "1 is more than the budget of 0"),
            ("budget:0", "greater than 0"),
            ("budget:9,answer=0", "greater than 0"),
            ("budget:9,wait=", "at least 1 character"),
            ("soft-landing:9,hottest=1", "greater than 1"),
            ("end-temperature:0", "greater than or equal to 0.01"),
            ("effort:huge", "'none', 'minimal'"),
            ("effort:low,lengths=/nowhere.json", "no lengths of thoughts"),
        ],
    )
    def test_nonsense_is_refused(self, spec: str, words: str) -> None:
        with pytest.raises(InvalidKnob, match=words):
            built(spec)

    def test_a_request_must_leave_room_for_all_parts(self) -> None:
        """40 of thought, "\\n\\n" OK. tag "\\n\\n" (1 + 3 + 1 + 1), two waits of 1 + 4, 7 of the answer."""
        budget = built("budget:40,answer=7,text=OK.,minimum=3,waits=2")
        budget.start(request(40 + 6 + 10 + 7), TEXT)
        with pytest.raises(
            RequestError, match="40 thinking tokens, 16 that hand over to the answer, and 7 of"
        ) as error:
            budget.start(request(40 + 6 + 10 + 6), TEXT)
        assert "Raise max_new_tokens to 63" in error.value.hint
        with pytest.raises(RequestError, match="leaves no room for an answer"):
            built("budget:40").start(request(40), TEXT)


class TestRules:
    LOGITS = torch.linspace(-3, 3, 264)

    @pytest.mark.parametrize(
        ("text", "written", "ruled_out"),
        [
            (TEXT, "<think>so</think>", True),
            (TEXT, "<think>so</think>\n\n \n", True),
            (TEXT, "<think>so</think>\n\n4", False),
            (TEXT, "<think>so</think>" + " \n" * 60, True),
            (TEXTS["several"], "<aso/>\n", True),
            (TEXTS["several"], "<aso/>\n4>", False),
        ],
    )
    @pytest.mark.parametrize("spec", ["budget:9", "soft-landing:9", "end-temperature:2", "effort:none", "effort:max"])
    def test_no_end_before_the_answer(self, spec: str, text: Text, written: str, ruled_out: bool) -> None:
        changed = ruled(spec, place(written, phase="answer", text=text), self.LOGITS, text)
        if not ruled_out:
            assert changed is None
            return
        assert changed is not None
        assert set((changed == -math.inf).nonzero()[:, 0].tolist()) == set(text.eos)

    def test_nothing_else_is_touched(self) -> None:
        for spec in ("budget:9", "soft-landing:40", "effort:low", "end-temperature:1"):
            assert ruled(spec, place("<think>so", 3), self.LOGITS) is None
            assert ruled(spec, place("Hm", phase="before"), self.LOGITS) is None

    def test_where_only_end_tokens_are_possible_they_stay(self) -> None:
        only = torch.full((264,), -math.inf)
        only[sorted(TEXT.eos)] = 0.0
        assert ruled("budget:9", place("<think>so</think>", phase="answer"), only) is None

    @pytest.mark.parametrize("temperature", [0.25, 1.5, 3.0, 50.0])
    def test_the_tag_has_its_probability_to_the_power_of_one_over_the_temperature(self, temperature: float) -> None:
        changed = ruled(f"end-temperature:{temperature}", place("<think>so", 3), self.LOGITS + 7)
        assert changed is not None
        close, p = TEXT.close_token, self.LOGITS.softmax(-1)
        odds = p[close] ** (1 / temperature) / (1 - p[close])
        assert float(changed.softmax(-1)[close] / (1 - changed.softmax(-1)[close])) == pytest.approx(float(odds), 1e-3)
        others = [i for i in range(264) if i != close]
        assert torch.equal(changed[others], (self.LOGITS + 7)[others])

    def test_a_tag_that_has_begun_goes_on(self) -> None:
        text = TEXTS["several"]
        first, second = text.encode("/>")
        for written, token in (("<aso", first), ("<aso/", second), ("<aso//", second), ("<a/ ", first)):
            changed = ruled("end-temperature:3", place(written, 3, text=text), self.LOGITS, text)
            assert changed is not None
            assert (changed != self.LOGITS).nonzero()[:, 0].tolist() == [token]
        assert tag.Tag(text).begun(text.encode("x/>")) == 0
        forced = ruled("effort:none", place("<aso/", 3, text=text), self.LOGITS, text)
        assert forced is not None
        assert (forced > -math.inf).nonzero()[:, 0].tolist() == [second]

    def test_a_ruled_out_tag_stays_ruled_out(self) -> None:
        logits = self.LOGITS.clone()
        logits[TEXT.close_token] = -math.inf
        assert ruled("end-temperature:3", place("<think>so", 3), logits) is None

    def test_the_landing_rises_evenly_to_the_last_place_where_the_tag_fits(self) -> None:
        soft = built("soft-landing:22,landing=0.5,hottest=1024")
        heats = [soft.temperature(n, 2) for n in range(23)]
        assert heats[:10] == [1.0] * 10
        assert [math.log2(h) for h in heats[10:21]] == pytest.approx([10 * i / 11 for i in range(1, 12)])
        assert heats[21:] == [1.0, 1.0], "the tag would not fit"
        late = built("soft-landing:22,landing=0.5,minimum=20")
        assert [late.temperature(n, 2) for n in (19, 20, 21)] == [1.0, pytest.approx(20.0), 1.0]
        assert built("soft-landing:1").temperature(0, 2) == 1.0

    def test_a_tag_keeps_the_temperature_at_which_it_was_begun(self) -> None:
        text = TEXTS["several"]
        second = text.encode("/>")[1]
        fresh = ruled("soft-landing:10,landing=1", place("<aso", 4, text=text), self.LOGITS, text)
        begun = ruled("soft-landing:10,landing=1", place("<aso/", 5, text=text), self.LOGITS, text)
        heat = built("soft-landing:10,landing=1").temperature(4, 2)
        for changed, token in ((fresh, text.encode("/>")[0]), (begun, second)):
            assert changed is not None
            by = float(changed[token] - self.LOGITS[token])
            surprise = float(self.LOGITS.logsumexp(-1) - self.LOGITS[token])
            assert by == pytest.approx((1 - 1 / heat) * surprise, rel=1e-4)


@pytest.mark.parametrize("tags", TEXTS)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("think", THINK)
def test_equals_the_reference_loop(think: str, temperature: float, tags: str) -> None:
    model, text = MODELS[tags], TEXTS[tags]

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    asked = [
        Request(
            tuple(text.encode(f"What is {i}+{i}?" + f"{text.format.opens}\n" * (i % 3 > 0))),
            Sampling(temperature, seed=i),
            Limits(45),
        )
        for i in range(4)
    ]
    controllers = tuple(built(spec) for spec in THINK[think])
    expected = [reference.decode(logits, text, r, controllers, 512) for r in asked]
    models = CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.1))
    for batch, methods in (
        (1, {"drafter": "draft-model", "length": "constant:6"}),
        (4, {"drafter": "draft-model", "shape": "best-first", "length": "constant:8"}),
        (3, {"drafter": "suffix", "probes": "separate"}),
    ):
        made = Engine(models[0], text, Methods(think=controllers, **methods), models[1])  # type: ignore[arg-type]
        found = made.run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in found] == expected, (methods, batch)


@pytest.mark.parametrize(("written", "thinking"), [("<aso/>", 6), ("/><aso/>", 0)])
def test_a_tag_of_several_tokens_opens_a_thought_where_the_reply_begins_with_it(written: str, thinking: int) -> None:
    from laconic.transcript import Transcript

    text = TEXTS["several"]
    prompt = text.encode("Hm")
    transcript = Transcript(text, Request(tuple(prompt)), list(prompt))
    for token in text.encode(written):
        transcript.push(token)
    assert (transcript.phase, transcript.thinking) == ("answer", thinking)


class TestEffort:
    TARGET = CausalLM(tiny.noisy(MODELS["one token"], 0.0))

    def engine(self, *think: str) -> Engine:
        return Engine(self.TARGET, TEXT, Methods(think=think))

    @pytest.fixture
    def measured(self, tmp_path: Path) -> Path:
        engine = self.engine()
        asked = [replace(request(60), sampling=Sampling(0.9, seed=i)) for i in range(9)]
        said: list[str] = []
        made = free_lengths(engine, asked, "tiny", batch=4, after=said.append)
        assert said[-1] == "9 of 9 thoughts"
        free = [r.usage.thinking for r in engine.run(asked)]
        assert made.mean == pytest.approx(sum(free) / 9, abs=0.06)
        assert made.quantiles["50"] == sorted(free)[4]
        assert made.quantiles["95"] == max(free)
        made.save(tmp_path / "new" / "effort.json")
        return tmp_path / "new" / "effort.json"

    def test_levels_are_quantiles_of_the_model_or_round_numbers(self, measured: Path) -> None:
        known = load(measured)
        for level, percent in PERCENT.items():
            spec = f"effort:{level},lengths={measured}"
            made = built(spec)
            assert (made.tokens, built(f"effort:{level}").tokens) == (known.enough_for(percent), TOKENS[level])
            assert registry.build("think", made.spec()) == made
            self.engine(spec)
        assert (built("effort:none").tokens, built("effort:max").tokens) == (0, None)

    def test_a_level_gives_way_to_the_limit_of_the_request(self) -> None:
        assert built("effort:medium").start(request(1000), TEXT).most == 750
        assert built("effort:medium").start(request(9000), TEXT).most == 4096
        assert built("effort:medium,answer=100,text=").start(request(1000), TEXT).most == 1000 - 100 - 3
        with pytest.raises(RequestError, match="leaves no room"):
            built("effort:medium,answer=100").start(request(100), TEXT)
        assert built("effort:max").start(request(100), TEXT).most is None

    def test_no_effort_switches_thinking_off_or_closes_at_once(self) -> None:
        engine = self.engine("effort:none")
        (switched,) = engine.generate_many(["Why?"], limits=Limits(30))
        (opened,) = engine.run([request(30)])  # made of no question: nobody could switch anything off
        for result, thinking in ((switched, 0), (opened, 1)):
            assert (result.usage.thinking, result.thinking) == (thinking, "")
            assert result.answer
        assert [event.action for event in switched.events] == ["prepare"]
        assert not engine.fitted(engine.request("Why?", thinking=False)).events, "nothing was left to switch off"

    def test_a_file_of_another_model_is_refused(self, measured: Path) -> None:
        spec = f"effort:low,lengths={measured}"
        with pytest.raises(InvalidKnob, match="another model, 'tiny'") as error:
            Engine(CausalLM(tiny.noisy(MODELS["several"], 0.0)), TEXT, Methods(think=(spec,)))
        assert "laconic fit effort" in error.value.hint

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda old: "{", "does not hold lengths"),
            (lambda old: json.dumps({**old, "n": "many"}), "n: Input should be a valid integer"),
            (lambda old: json.dumps({k: v for k, v in old.items() if k != "quantiles"}), "quantiles: Field required"),
            (lambda old: json.dumps({**old, "quantiles": {"5": 3}}), "missing or out of order"),
            (lambda old: json.dumps({**old, "quantiles": {**old["quantiles"], "95": 1}}), "missing or out of order"),
        ],
    )
    def test_a_damaged_file_is_refused(self, measured: Path, change: Any, words: str) -> None:
        old = json.loads(measured.read_text())
        old["quantiles"] = {str(percent): 10 + percent for percent in (5, 10, 25, 50, 75, 90, 95)}
        measured.write_text(change(old))
        with pytest.raises(InvalidKnob, match=words):
            built(f"effort:low,lengths={measured}")

    def test_models_that_do_not_think_have_no_lengths(self) -> None:
        bare = Engine(self.TARGET, tiny.text(tags_as_tokens=False, template=None), Methods())
        with pytest.raises(UnmetNeed, match="no thinking phase"):
            free_lengths(bare, [request(9)], "tiny")
        quiet = replace(request(9), prompt=tuple(TEXT.encode("<think>\n\n</think>\n\n")))
        with pytest.raises(TaskError, match="none of 1 problems"):
            free_lengths(self.engine(), [quiet], "tiny")

    def test_quantiles_are_enough(self) -> None:
        assert [quantile([5, 1, 4, 2, 3], p) for p in (5, 20, 21, 50, 90, 100)] == [1, 1, 2, 3, 5, 5]
        assert quantile([0, 0], 50) == 1


def budgets() -> Any:
    path = Path(__file__).parents[2] / "scripts" / "budgets.py"
    spec = importlib.util.spec_from_file_location("budgets_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_budgets_hold_for_random_requests() -> None:
    """A few hundred of the ten thousand that scripts/budgets.py tries."""
    script = budgets()
    counted, kinds, wrong = script.trial(300, seed=3)
    assert not wrong, wrong[0]
    assert counted["requests"] >= 300
    seen = ("conclude by budget", "conclude by soft-landing", "inject by budget", "conclude by loop", "opened")
    assert all(counted[name] for name in (*seen, "answer cut at its budget", "budget spent to the last token"))
    assert all(kinds[name] for name in (*script.FORMS, *script.DRAFTERS, "best-first", "greedy", "sampled"))


def test_the_script_would_see_a_budget_that_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from laconic.sequence import Sequence as Running
    from laconic.thinking.budget.capped import Capped

    script = budgets()
    monkeypatch.setattr(Capped, "limit", lambda self, state: None)
    assert script.trial(32, seed=3)[0]["thinking over budget"]
    monkeypatch.undo()
    for module in ("thinking.budget.capped.answered", "thinking.budget.end_temperature.answered"):
        monkeypatch.setattr(f"laconic.{module}", lambda text: Ban(lambda place: ()))
    monkeypatch.setattr(Running, "owe", lambda self: None)
    monkeypatch.setattr(Running, "ends_unanswered", lambda self, token: False)
    assert script.trial(96, seed=3)[0]["missing answer"]
    monkeypatch.undo()
    monkeypatch.setattr(Running, "full", lambda self, context: self.generated >= self.request.limits.max_new_tokens)
    assert script.trial(32, seed=3)[0]["answer over budget"]
