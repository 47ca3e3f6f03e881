"""Routers: which mode they choose, what modes do, what a reader says, and that routed runs equal the slow loop."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Sampling, reference
from laconic.engine import policies
from laconic.errors import HeadError, InvalidKnob, LaconicError, RequestError, UnknownMethod, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.reading import Reading
from laconic.thinking.base import Belief, Controller, Probe
from laconic.thinking.route.base import Router
from laconic.thinking.route.difficulty import load
from laconic.types import Question
from tests import routes, tiny
from tests.fakes import FakeModel

OPENS = tiny.TEMPLATE.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
"""Opens the thought in the prompt, with a switch."""
NO_SWITCH = tiny.TEMPLATE.split("{% if enable_thinking")[0] + "<a\n{% endif %}"
"""Opens the thought in the prompt, with no switch."""
TEXTS = {
    "one token": tiny.text(template=OPENS),
    "several": Text(tiny.tokenizer(tags_as_tokens=False, template=NO_SWITCH), format=Format("<a", "/>")),
}
MODELS = {
    "one token": tiny.model(0, bias={**tiny.REASONER, "<|im_end|>": 4.0, "</think>": 3.0}),
    "several": tiny.model(0, bias={**tiny.REASONER, "<": 3.0, "/": 5.0, "a": 3.0, ">": 5.0}),
}
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"drafter": "none"},
    "chain": {"drafter": "draft-model", "length": "constant:6"},
    "tree": {"drafter": "draft-model", "shape": "best-first", "length": "constant:10"},
    "suffix": {"drafter": "suffix", "probes": "separate"},
}


def question(text: str = "What is 1+1?", **changes: Any) -> Question:
    return Question(({"role": "user", "content": text},), **changes)


def engine(tags: str = "one token", **methods: Any) -> Engine:
    chosen = Methods(verifier="match", **{"drafter": "none", **methods})
    return Engine(target(tags), TEXTS[tags], chosen, CausalLM(tiny.noisy(MODELS[tags], 0.1)))


def target(tags: str = "one token") -> CausalLM:
    return CausalLM(tiny.noisy(MODELS[tags], 0.0))


def logits(tags: str) -> reference.Logits:
    def after(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return MODELS[tags](torch.tensor([list(tokens)])).logits[0, -1]

    return after


# Specs


@pytest.mark.parametrize(
    "spec",
    [
        "cascade:threshold=0.9,hard=[budget:tokens=64+settled]",
        "cascade:easy=[],hard=[sampling:temperature=0.5+max-tokens:tokens=9+say:text=Take care.]",
        "route-by-length:easy=[cascade:hard=[budget:tokens=5+free]+free]",
        "route-by-word:words=Easy/Medium/Hard",
        "route-by-chance:share=0.25,seed=3",
        "route-by-trigger:threshold=0.1,trigger=<long>",
    ],
)
def test_specs_round_trip(spec: str) -> None:
    built = registry.build("think", spec)
    assert built.spec() == spec
    assert registry.build("think", built.spec()) == built


def test_a_mode_is_a_list_of_controllers() -> None:
    built: Any = registry.build("think", "cascade:0.9,[],hard=[ budget:64 + settled ]")
    assert (built.easy, [c.name for c in built.hard]) == ((), ["budget", "settled"])
    default: Any = registry.build("think", "cascade")
    assert ([c.spec() for c in default.easy], default.hard) == (["no-thinking"], ())
    assert [policy.name for policy in built.walk()] == ["cascade", "budget", "settled"]


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("cascade:easy=no-thinking", InvalidKnob, "in brackets"),
        ("cascade:easy=[no-thinking+]", InvalidKnob, "empty spec"),
        ("cascade:easy=[nothink]", UnknownMethod, "Did you mean 'no-thinking'"),
        ("cascade:threshold=1.5", InvalidKnob, "less than or equal to 1"),
        ("route-by-word:words=easy/hard", InvalidKnob, "words"),
        ("route-by-probe", InvalidKnob, "laconic fit difficulty"),
        ("route-by-chance:2", InvalidKnob, "less than or equal to 1"),
        ("max-tokens:0", InvalidKnob, "greater than 0"),
        ("sampling:top_p=0", InvalidKnob, "greater than 0"),
        ("say", InvalidKnob, "text"),
    ],
)
def test_bad_specs_say_what_is_wrong(spec: str, error: type[LaconicError], says: str) -> None:
    with pytest.raises(error) as raised:
        registry.build("think", spec)
    assert says in str(raised.value)


# Choices


@dataclass
class Scripted:
    """A reader that says what it was told to, and remembers what was asked."""

    probs: list[float] = field(default_factory=list)
    belief: Belief | None = None
    state: torch.Tensor | None = None
    asked: list[Question] = field(default_factory=list)
    options: Sequence[str] = ()
    probe: Probe | None = None

    def hidden(self, question: Question) -> torch.Tensor:
        self.asked.append(question)
        assert self.state is not None
        return self.state

    def chances(self, question: Question, options: Sequence[str]) -> list[float]:
        self.asked.append(question)
        self.options = options
        return self.probs

    def thought(self, question: Question) -> float:
        self.asked.append(question)
        return self.probs[0]

    def answer(self, question: Question, probe: Probe) -> Belief:
        self.asked.append(question)
        self.probe = probe
        assert self.belief is not None
        return self.belief

    def write(self, question: Question, max_tokens: int) -> str:
        raise NotImplementedError


def choice(spec: str, reader: Scripted | None = None, asked: str = "What is 1+1?") -> str:
    router = registry.build("think", spec)
    assert isinstance(router, Router)
    return router.choose(question(asked), reader or Scripted()).mode


def belief(*probs: float, complete: bool = True) -> Belief:
    return Belief("7", probs, (0.0,) * len(probs), complete, 1)


@pytest.mark.parametrize(
    ("spec", "found", "mode"),
    [
        ("cascade", belief(0.95, 0.95), "easy"),
        ("cascade", belief(0.94, 0.95), "hard"),
        ("cascade:0.95,aggregate=product", belief(0.96, 0.96), "hard"),
        ("cascade:0.92,aggregate=product", belief(0.96, 0.96), "easy"),
        ("cascade:0.7,aggregate=min", belief(0.69, 1.0, 1.0), "hard"),
        ("cascade:0.7,aggregate=min", belief(0.71, 0.71, 0.71), "easy"),
        ("cascade:0", belief(1.0, complete=False), "hard"),
    ],
)
def test_a_cascade_keeps_an_answer_it_is_sure_of(spec: str, found: Belief, mode: str) -> None:
    reader = Scripted(belief=found)
    assert choice(spec, reader) == mode
    assert not reader.asked[0].thinking
    assert reader.probe is not None
    assert not reader.probe.close


@pytest.mark.parametrize(
    ("probs", "mode"), [([0.3, 0.2, 0.1], "easy"), ([0.001, 0.002, 0.0], "normal"), ([0.1, 0.1, 0.2], "hard")]
)
def test_the_likeliest_word_chooses(probs: list[float], mode: str) -> None:
    reader = Scripted(probs)
    assert choice("route-by-word:words=Easy/Medium/Hard", reader) == mode
    assert tuple(reader.options) == ("Easy", "Medium", "Hard")
    assert "easy or medium or hard" in reader.asked[0].asked()
    assert not reader.asked[0].thinking


def test_words_without_any_probability_still_choose() -> None:
    assert choice("route-by-word", Scripted([0.0, 0.0, 0.0])) == "easy"


@pytest.mark.parametrize(("prob", "mode"), [(0.3, "hard"), (0.29, "easy")])
def test_the_wish_to_think_is_held_against_a_threshold(prob: float, mode: str) -> None:
    for spec in ("route-by-trigger:0.3", "route-by-trigger:0.3,trigger=<long>"):
        reader = Scripted([prob])
        assert choice(spec, reader) == mode
        assert reader.asked[0].thinking
        assert list(reader.options) == (["<long>"] if "long" in spec else [])


def test_length_is_that_of_the_question() -> None:
    assert [choice("route-by-length:5", asked=text) for text in ("1234", "12345")] == ["easy", "hard"]


def test_chance_sends_the_share_it_was_told_to_and_the_same_questions_again() -> None:
    def easy(spec: str) -> list[bool]:
        return [choice(spec, asked=f"What is {i}?") == "easy" for i in range(2000)]

    # A share of 0.3 of 2,000 deviates by 0.01; six times that is next to impossible.
    assert sum(easy("route-by-chance:0.3")) / 2000 == pytest.approx(0.3, abs=0.06)
    assert easy("route-by-chance:0.3") == easy("route-by-chance:0.3") != easy("route-by-chance:0.3,seed=1")
    assert (sum(easy("route-by-chance:0")), sum(easy("route-by-chance:1"))) == (0, 2000)


def test_the_probe_says_what_its_network_says(tmp_path: Path) -> None:
    model = target()
    made = routes.probe(model, TEXTS["one token"], units=5)
    made.save(tmp_path)
    torch.manual_seed(3)
    modes = set()
    for state in 3 * torch.randn(40, model.hidden_size):
        expected = made.network(state).softmax(-1)
        best = ("easy", "normal", "hard")[int(expected.argmax())]
        assert load(tmp_path)(state.to(torch.bfloat16)) == pytest.approx(expected.tolist(), abs=0.2)
        assert choice(f"route-by-probe:{tmp_path}", Scripted(state=state)) == best
        unsure = float(expected.max()) < 0.6
        assert choice(f"route-by-probe:{tmp_path},sure=0.6", Scripted(state=state)) == ("normal" if unsure else best)
        modes.add((best, unsure))
    assert len(modes) > 4


# Modes


def test_modes_change_sampling_limits_words_and_thinking() -> None:
    spec = "route-by-length:1,hard=[sampling:0.7,top_p=0.9+max-tokens:20+say:Be brief.+no-thinking]"
    made = engine(think=(spec,))
    asked = made.request("Why?", sampling=Sampling(0.2, top_k=5, seed=3), limits=Limits(90, ("x",)))
    fitted = made.fitted(asked)
    assert fitted.sampling == Sampling(0.7, top_k=5, top_p=0.9, seed=3)
    assert fitted.limits == Limits(20, ("x",))
    prompt = made.text.decode(fitted.prompt)
    assert "Why?\n\nBe brief.<|im_end|>" in prompt
    assert prompt.endswith("<think>\n\n</think>\n\n")
    assert [(e.method, e.reason) for e in fitted.events] == [
        ("route-by-length", "hard: the question has 4 characters"),
        ("sampling", "temperature 0.7, top_p 0.9"),
        ("max-tokens", "at most 20 tokens"),
        ("say", "said 'Be brief.'"),
        ("no-thinking", "thinking is switched off"),
    ]
    (result,) = made.run([asked])
    assert (result.usage.thinking, result.events) == (0, fitted.events)


def test_a_limit_is_never_raised_and_nothing_said_changes_nothing() -> None:
    made = engine(think=("max-tokens:50", "sampling", "free"))
    fitted = made.fitted(made.request("Why?", limits=Limits(30)))
    assert (fitted.limits, fitted.events) == (Limits(30), ())


def test_free_thinks_as_without_a_controller() -> None:
    for result, free in zip(
        engine(think=("free",)).generate_many(routes.QUESTIONS, limits=Limits(60)),
        engine().generate_many(routes.QUESTIONS, limits=Limits(60)),
        strict=True,
    ):
        assert result.text.startswith(free.text)  # the same, or the end of a thought that the model had forgotten


@pytest.mark.parametrize("tags", TEXTS)
def test_thinking_is_off_with_a_switch_and_without_one(tags: str) -> None:
    plain = engine(tags).generate_many(routes.QUESTIONS, limits=Limits(30, answer_room=0))
    assert all(r.usage.thinking for r in plain)
    results = engine(tags, think=("no-thinking",)).generate_many(routes.QUESTIONS, limits=Limits(30))
    assert [r.usage.thinking for r in results] == [0] * len(routes.QUESTIONS)
    assert all(r.usage.answer for r in results)


def test_a_template_without_a_switch_is_given_an_empty_thought() -> None:
    bare = Text(tiny.tokenizer(template=None), format=Format("<think>", "</think>"))
    assert bare.decode(bare.prompt("Hi", thinking=False)) == "Hi<think>\n\n</think>\n\n"
    several = TEXTS["several"]
    assert several.decode(several.prompt("Hi")).endswith("assistant\n<a\n")
    assert several.decode(several.prompt("Hi", thinking=False)).endswith("assistant\n<a\n\n/>\n\n")


@pytest.mark.parametrize("tags", TEXTS)
def test_a_thought_that_is_opened_all_the_same_is_closed_at_once(tags: str) -> None:
    """Prompts of bare tokens cannot be rewritten."""
    text, controller = TEXTS[tags], registry.build("think", "no-thinking")
    assert isinstance(controller, Controller)
    asked = [Request(tuple(text.encode(f"{q}{text.format.opens}\n")), limits=Limits(40)) for q in routes.QUESTIONS]
    expected = [reference.decode(logits(tags), text, r, (controller,), 512) for r in asked]
    for methods in METHODS.values():
        found = engine(tags, think=(controller,), **methods).run(asked, batch=3)
        assert [(list(r.tokens), r.finish_reason) for r in found] == expected
        assert all(r.usage.thinking <= 1 for r in found)


# Whole runs

ROUTES = {
    "length": "route-by-length:15,hard=[sampling:0.9+budget:12],easy=[no-thinking+max-tokens:20]",
    "chance": "route-by-chance:0.5,easy=[answer-confidence:0.02+say:Be quick.]",
    "cascade": "cascade:0.2,hard=[budget:9]",
    "word": "route-by-word:words=a/b/c,normal=[budget:5],hard=[free]",
    "nested": "route-by-length:9,hard=[route-by-chance:0.5,easy=[budget:7]+max-tokens:33]",
}


@pytest.mark.parametrize(("tags", "temperature"), [("one token", 0.9), ("several", 0.0)])
@pytest.mark.parametrize("route", [*ROUTES, "probe"])
def test_routed_runs_equal_the_reference_loop(route: str, temperature: float, tags: str, tmp_path: Path) -> None:
    spec = ROUTES.get(route) or routes.spec(tmp_path, target(tags), TEXTS[tags]) + ",normal=[budget:8],hard=[budget:20]"
    made = engine(tags, think=(spec, "max-tokens:40"))
    asked = [
        made.request(q, sampling=Sampling(temperature, seed=i), limits=Limits(45))
        for i, q in enumerate(routes.QUESTIONS)
    ]
    fitted = [made.fitted(request) for request in asked]
    expected = [reference.decode(logits(tags), TEXTS[tags], request, (), 512) for request in fitted]
    for name, batch in (("plain", 4), ("chain", 1), ("chain", 4), ("tree", 4), ("suffix", 4)):
        found = engine(tags, think=(spec, "max-tokens:40"), **METHODS[name]).run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in found] == expected, (name, batch)
        assert all(r.events[: len(f.events)] == f.events for r, f in zip(found, fitted, strict=True))


def test_the_cases_above_take_different_modes(tmp_path: Path) -> None:
    for spec in (*ROUTES.values(), routes.spec(tmp_path, target(), TEXTS["one token"])):
        made = engine(think=(spec,))
        modes = {made.fitted(made.request(q)).events[0].reason.split(":")[0] for q in routes.QUESTIONS}
        assert len(modes) > 1, spec


# What a reader says


@pytest.mark.parametrize("thinking", [True, False])
def test_a_reader_says_what_the_model_says(thinking: bool) -> None:
    made = engine()
    made.target.keep_hidden = True  # type: ignore[attr-defined]
    for text in ("Why?", "What is one and one and one? " * 3):  # read in one pass, and in two
        asked, reading = question(text, thinking=thinking), Reading(made)
        prompt = list(made.text.prompt(asked.messages, thinking=thinking))
        with torch.inference_mode():
            whole = MODELS["one token"](torch.tensor([prompt]), output_hidden_states=True)
        torch.testing.assert_close(reading.hidden(asked), whole.hidden_states[-1][0, -1], atol=1e-5, rtol=1e-4)
        chances = whole.logits[0, -1].softmax(-1)
        first = [made.text.encode(word)[0] for word in ("easy", "hard", "\n\n")]
        assert reading.chances(asked, ("easy", "hard", "\n\n")) == pytest.approx(chances[first].tolist(), rel=1e-4)
        assert reading.usage.prompt == len(prompt), "read once"
        assert reading.usage.target_passes == 1
        assert reading.usage.prefill_passes == (len(prompt) > 64)


@pytest.mark.parametrize(
    "probe", [Probe("x", "}", close=False), Probe("", "}", guess="ab", close=False), Probe("y", "}")]
)
def test_a_quick_answer_is_that_of_the_reference(probe: Probe) -> None:
    made, asked = engine(), question(thinking=probe.close)
    reading = Reading(made)
    found = reading.answer(asked, probe)
    expected = reference.answer(logits("one token"), made.text, made.prompt(asked), probe)
    assert (found.answer, found.complete) == (expected.answer, expected.complete)
    assert found.probs == pytest.approx(expected.probs, rel=1e-3)
    assert reading.usage.target_passes == found.passes
    assert reading.cost().startswith(f"{len(made.prompt(asked))} prompt tokens read and ")


def test_a_reader_writes_the_greedy_answer_without_any_controller() -> None:
    made = engine(think=("max-tokens:5",), drafter="draft-model")
    reading, asked = Reading(made), question(sampling=Sampling(1.0), thinking=False)
    free = engine().generate("What is 1+1?", thinking=False, limits=Limits(25))
    assert reading.write(asked, 25) == free.answer
    assert reading.usage.answer == free.usage.answer


def test_how_likely_a_thought_is() -> None:
    text = tiny.text()
    made = Engine(CausalLM(tiny.model(0, bias={"<think>": 6.0})), text, Methods(drafter="none"))
    prob = Reading(made).thought(question())
    assert prob == Reading(made).chances(question(), ["<think>"])[0]
    routed = made.using(think=(f"route-by-trigger:{prob}",))
    assert "hard" in routed.fitted(routed.request("What is 1+1?")).events[0].reason
    with pytest.raises(UnmetNeed, match="template opens the thought"):
        Reading(engine()).thought(question())


def test_a_reader_refuses_what_it_cannot_answer() -> None:
    made = engine()
    with pytest.raises(RequestError, match="begin with tokens of their own"):
        Reading(made).chances(question(), ("high", "hard"))
    with pytest.raises(RequestError, match="empty word"):
        Reading(made).chances(question(), ("a", ""))
    with pytest.raises(RequestError, match="no room"):
        Reading(made).answer(question("x" * 450), Probe("", "}", max_tokens=60, close=False))
    with pytest.raises(UnmetNeed, match="hidden states"):
        Reading(Engine(FakeModel.random(0, vocab=264), TEXTS["one token"], Methods(drafter="none"))).hidden(question())


def test_what_reading_cost_is_told_once_and_only_where_something_was_read() -> None:
    made = engine(think=("cascade", "route-by-length:1"))
    events = made.fitted(made.request("Why?")).events
    told = [e for e in events if e.method == "reader"]
    assert len(told) == 1
    assert told[0] is events[-1]
    assert "prompt tokens read" in told[0].reason
    made = engine(think=("route-by-length:1",))
    assert [e.method for e in made.fitted(made.request("Why?")).events] == ["route-by-length"]


def test_requests_of_bare_tokens_are_answered_as_if_nothing_was_chosen() -> None:
    made = engine(think=("cascade",))
    bare = replace(made.request("Why?", limits=Limits(20)), question=None)
    assert made.run([bare])[0].text.startswith(engine().run([bare])[0].text)


# Needs


def test_needs_of_modes_are_checked_before_a_run(tmp_path: Path) -> None:
    spec = f"route-by-length:9,hard=[{routes.spec(tmp_path, target(), TEXTS['one token'])}]"
    made = engine(think=(spec,))
    assert [p.name for p in policies(made.plan)][-4:] == ["no-thinking", "route-by-probe", "no-thinking", "full"]
    assert made.target.keep_hidden  # type: ignore[attr-defined]
    bare = tiny.text(tags_as_tokens=False, template=None)
    with pytest.raises(UnmetNeed, match="'route-by-length' needs a model with a thinking phase"):
        Engine(target(), bare, Methods(drafter="none", think=("route-by-length:9",)))
    with pytest.raises(UnmetNeed, match="hidden states"):
        Engine(FakeModel.random(0, vocab=264), TEXTS["one token"], Methods(drafter="none", think=(spec,)))


def test_a_probe_that_is_missing_damaged_or_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"no trained probe at .*laconic fit difficulty"):
        engine(think=(f"route-by-probe:{tmp_path / 'nowhere'}",))
    spec = routes.spec(tmp_path, target(), TEXTS["one token"])
    with pytest.raises(HeadError, match="another target"):
        Engine(CausalLM(tiny.model(7)), TEXTS["one token"], Methods(drafter="none", think=(spec,)))
    about = tmp_path / "difficulty" / "difficulty.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"inputs": 5}))
    with pytest.raises(HeadError, match="damaged"):
        engine(think=(spec,))
