"""How likely the model found what it wrote: the same in both loops, over a server, and read off a finished thought."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.bench.oracle.exits import Thought, ended
from laconic.errors import NoLogprobs, UnmetNeed
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.replies import Said
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs, registry
from laconic.remote import RemoteEngine
from laconic.remote.writer import Written
from laconic.thinking.base import Action, Belief, Conclude, Continue, Controller, Inject, Probe, View
from laconic.thinking.exit.probed import ProbedExit
from laconic.thinking.exit.settled import Numbers, doubt
from tests import tiny
from tests.server import Manners
from tests.thinking.test_remote import MODELS, TEXTS, outside, requests

TEXT = tiny.text()
MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, DRAFT = CausalLM(tiny.noisy(MODEL, 0.0)), CausalLM(tiny.noisy(MODEL, 0.1))


@knobs
class Notes(Controller):
    """Notes what was written and how likely it was, asks now and then, and once writes something itself."""

    card = Card(paper="a test", lossless=False)
    needs = Needs(thinking=True, chances=True)
    name = "notes"
    closing = True
    seen: ClassVar[list[tuple[int, tuple[int, ...], tuple[float, ...]]]] = []

    def start(self, request: Request, text: Text) -> list[int]:
        return [request.sampling.seed, 0]

    def limit(self, state: list[int]) -> int:
        return 20

    def decide(self, state: list[int], view: View) -> Action:
        self.seen.append((state[0], tuple(view.written), tuple(view.chances)))
        state[1] += 1
        if view.closing:
            return Continue()
        if view.belief is None and state[1] % 3 == 1:
            return Probe("So {", "}", max_tokens=6)
        return Inject("Hm.\n\n", "a third look") if state[1] == 6 else Continue()


def noted(run: Any) -> dict[tuple[int, tuple[int, ...]], tuple[float, ...]]:
    Notes.seen.clear()
    run()
    assert all(len(written) == len(chances) for _, written, chances in Notes.seen)
    return {(seed, written): chances for seed, written, chances in Notes.seen}


def logits(tokens: Any) -> torch.Tensor:
    with torch.inference_mode():
        return MODEL(torch.tensor([list(tokens)])).logits[0, -1]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_both_loops_tell_controllers_the_same(temperature: float) -> None:
    asked = [
        Request(tuple(TEXT.encode(f"What is {i}+2?<think>\n")), Sampling(temperature, seed=i), Limits(70))
        for i in range(6)
    ]
    controllers = (Notes(),)
    slow = noted(lambda: [reference.decode(logits, TEXT, r, controllers, 512) for r in asked])
    assert len(slow) > 20
    assert any(1.0 in chances for chances in slow.values()), "what is injected is certain"
    methods = ({"drafter": "draft-model", "length": "constant:9"}, {"drafter": "suffix", "probes": "separate"})
    for batch, chosen in zip((3, 1), methods, strict=True):
        engine = Engine(TARGET, TEXT, Methods(verifier="match", think=controllers, **chosen), DRAFT)  # type: ignore[arg-type]
        fast = noted(lambda engine=engine, batch=batch: engine.run(asked, batch=batch))
        assert fast.keys() == slow.keys()
        for place, chances in slow.items():
            assert fast[place] == pytest.approx(chances, abs=1e-4)


def test_a_finished_thought_tells_them_too() -> None:
    engine = Engine.load("bundled", drafter="none")
    question = engine.request("What is 12 + 7?", limits=Limits(300))
    (result,) = engine.run([question])
    chances = Thought(engine.target, engine.text, question, result.tokens).chances
    assert len(chances) == len(result.tokens)
    with torch.inference_mode(), closing(engine.target.open()) as slot:
        rows = engine.target.score([chain([*question.prompt, *result.tokens])], [slot]).of(0).softmax(-1)
    before = len(question.prompt) - 1
    assert chances == pytest.approx([float(rows[before + i, t]) for i, t in enumerate(result.tokens)], abs=1e-4)


@pytest.mark.parametrize("manners", [Manners(), Manners(ids=False), Manners(ids=False, reason=False, shows_stop=False)])
@pytest.mark.parametrize("tags", ["one token", "several"])
def test_a_server_tells_them_too(tags: str, manners: Manners) -> None:
    engine = Engine(MODELS[tags], TEXTS[tags], Methods(drafter="none", think=(Notes(),)))
    here = noted(lambda: engine.run(requests(tags)))
    with outside(tags, (Notes(),), manners) as (_, remote):
        there = noted(lambda: remote.run(requests(tags), batch=2))
    assert here.keys() == there.keys()
    assert len(here) > 10
    for place, chances in here.items():
        assert there[place] == pytest.approx(chances, abs=1e-4)


def test_a_server_that_tells_none_is_an_error() -> None:
    with outside(think=(Notes(),), manners=Manners(logprobs=False)) as (_, engine):
        with pytest.raises(NoLogprobs, match="'notes' looks at probabilities"):
            engine.run(requests("one token"))
        with pytest.raises(UnmetNeed, match="logprobs=0"):
            RemoteEngine(engine.model, engine.text, (Notes(),), logprobs=0)


def test_tokens_that_are_not_the_servers_are_as_likely_as_the_least_likely_of_its_own() -> None:
    said = tuple(Said(piece, math.log(p), {}) for piece, p in (("ab", 0.5), ("c", 0.25), ("def", 0.8)))
    tokens = [TEXT.encode(letter)[0] for letter in "abcdef"]
    written = Written(tuple(tokens), ("ab", "c", "def"), said)
    assert written.chances(TEXT) == pytest.approx([0.5, 0.5, 0.25, 0.8, 0.8, 0.8])
    longer = Written((*tokens, 0), ("ab", "c", "def"), said)
    assert longer.chances(TEXT) == pytest.approx([0.5, 0.5, 0.25, 0.8, 0.8, 0.8, 1.0])
    assert Written((1, 2), ("a", "b"), None).chances(TEXT) is None
    assert Written((1, 2), ("a", "b"), said[:1]).chances(TEXT) == pytest.approx([0.5, 1.0]), "an end token"


class TestSettledMindsSlips:
    """A number written in doubt keeps an answer in doubt that looks sure."""

    def decided(self, spec: str, numbers: float, words: float = 1.0, answer: float = 0.999) -> Action:
        controller = registry.build("think", spec)
        assert isinstance(controller, ProbedExit)
        state = controller.start(None, TEXT)  # type: ignore[arg-type]
        written = TEXT.encode("So 7 + 8")
        chances = [numbers if piece in "78" else words for piece in "So 7 + 8"]
        assert len(chances) == len(written)
        view = View(8, ["So 7 + 8"], True, None, written, "", chances)
        assert isinstance(controller.decide(state, view), Probe)
        return controller.decide(state, replace(view, belief=Belief("15", (answer,), (0.1,), True, 1)))

    def test_numbers_count_and_words_do_not(self) -> None:
        assert isinstance(self.decided("settled", 1.0), Conclude)
        assert isinstance(self.decided("settled", 0.3), Continue)
        assert isinstance(self.decided("settled", 1.0, words=0.1), Conclude)
        assert isinstance(self.decided("settled:numbers=false", 0.3), Conclude)

    @pytest.mark.parametrize(("price", "stops"), [(1.01, True), (0.99, False)])
    def test_as_much_as_the_card_says(self, price: float, stops: bool) -> None:
        odds = (0.01 / 0.99 * (1 - 0.6**2)) ** (1 / 3)
        spec = f"settled:{price * odds / (1 + odds) / 10}"
        assert isinstance(self.decided(spec, 0.6, answer=0.99), Conclude) is stops

    def test_doubt_falls_with_every_probability_and_is_never_none(self) -> None:
        grid = [0.0, 1e-6, 0.01, 0.3, 0.7, 0.99, 0.9999, 1.0]
        for count, sure in ((0, 1.0), (1, 1.0), (1, 0.3), (9, 1.0), (9, 0.99), (9, 0.5), (400, 0.99999), (400, 0.0)):
            numbers = Numbers(count, sure)
            doubts = [doubt((0.9, p), numbers) for p in grid] + [doubt((1.0, p), numbers) for p in grid[-2:]]
            assert doubts == sorted(doubts, reverse=True)
            assert doubts[0] == 1.0
            assert 0.004 < doubts[-1] < 0.1
        doubts = [doubt((0.8,), Numbers(50, sure)) for sure in grid]
        assert doubts == sorted(doubts, reverse=True)

    def test_a_few_sure_numbers_say_little_and_none_say_nothing(self) -> None:
        """Odds of 1/9 against the answer: their square root is 1/3, a doubt of 1/4."""
        assert doubt((0.9,)) == doubt((0.9,), Numbers(1, 1.0)) == pytest.approx(0.25)
        doubts = [doubt((0.9,), Numbers(count, 1.0)) for count in range(12)]
        assert doubts == sorted(doubts, reverse=True)
        assert doubts[4] == pytest.approx((1 / 9 / 16) ** (1 / 3) / (1 + (1 / 9 / 16) ** (1 / 3)))
        assert doubts[10] == doubts[11], "and many no more than a model is believed"
        assert doubt((0.4,), Numbers(50, 1.0)) > 0.4, "sure numbers alone settle nothing"

    def test_numbers_only_drafted_end_no_probe_that_may_yet_settle(self) -> None:
        """Their probabilities are not known yet: they count as certain, so what is known later is never less doubt."""
        controller = registry.build("think", "settled:0.006")
        assert isinstance(controller, ProbedExit)
        state: Any = controller.start(None, TEXT)  # type: ignore[arg-type]
        written = TEXT.encode("So 1 2 3 4 5 6 7 8")
        ahead = controller.hopeless(state, View(9, ["So"], True, None, written, "", [1.0, 1.0]))
        there = controller.hopeless(state, View(9, ["So"], True, None, written, "", [1.0] * len(written)))
        slip = controller.hopeless(state, View(9, ["So"], True, None, written, "", [0.9] * len(written)))
        for prob in (0.5, 0.99, 0.995, 0.999, 0.9999):
            assert ahead([prob]) == there([prob]) <= slip([prob])
        assert [ahead([prob]) for prob in (0.9, 0.999)] == [True, False]
        assert slip([0.999])

    def test_real_runs_stop_where_finished_thoughts_say(self) -> None:
        engine = Engine.load("bundled", drafter="draft-model", think=())
        asked = [engine.request(f"What is {i + 37} * {i + 4} + {3 * i}?", limits=Limits(400)) for i in range(5)]
        free = engine.run(asked, batch=5)
        controller = registry.build("think", "settled:0.003")
        assert isinstance(controller, Controller)
        real = engine.using(think=(controller,)).run(asked, batch=2)
        places = [
            ended(controller, Thought(engine.target, engine.text, request, result.tokens)).thinking
            for request, result in zip(asked, free, strict=True)
        ]
        assert [r.usage.thinking if r.events else p for r, p in zip(real, places, strict=True)] == places
        assert any(r.events for r in real)
