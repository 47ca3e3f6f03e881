"""Every means a controller has: the fast loop equals the slow one, whatever drafts, batches and tags there are."""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Sampling, reference
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.sequence import Sequence
from laconic.thinking.base import Action, Conclude, Continue, Controller, Inject, LogitRule, Place, Probe, View
from laconic.types import Question
from tests import tiny

TEXTS = {"one token": tiny.text(), "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))}
MODELS = {
    "one token": tiny.model(0, bias={**tiny.REASONER, "<|im_end|>": 4.0, "</think>": 3.0}),
    "several": tiny.model(0, bias={**tiny.REASONER, "<": 3.0, "/": 5.0, "a": 3.0, ">": 5.0}),
}


@dataclass
class Seen:
    """State of the controllers below: everything they were shown."""

    views: list[View] = field(default_factory=list)
    left: int = 2


@knobs
class Watcher(Controller):
    """Base of the controllers below."""

    card = Card(paper="a test", lossless=False)
    needs = Needs(thinking=True)
    name = "watcher"

    def start(self, request: Request, text: Text) -> Seen:
        return Seen()

    def decide(self, state: Seen, view: View) -> Action:
        return Continue()


@knobs
class Waits(Watcher):
    """Does not let the thought end at first."""

    closing: ClassVar[bool] = True

    def decide(self, state: Seen, view: View) -> Action:
        if not view.closing or not state.left:
            return Continue()
        state.left -= 1
        return Inject("Wait, ", f"it wanted to end by {view.closing}")


@knobs
class Lands(Watcher):
    """Blank lines, then closing braces grow likelier; end tokens and tags are ruled out for some time."""

    def rule(self, state: Seen) -> LogitRule:
        return self._rule

    def _rule(self, logits: torch.Tensor, place: Place) -> torch.Tensor | None:
        if place.phase != "thinking":
            return None
        changed = logits.clone()
        changed[: len(logits) // 2] += 0.02 * place.thinking
        changed[place.tokens[-1]] -= 1.0 + 0.1 * place.step
        return changed


@knobs
class Halves(Watcher):
    """Undoes some of what came before: rules are applied in their order."""

    def rule(self, state: Seen) -> LogitRule:
        return lambda logits, place: logits / 2 if place.answer % 3 else None


@knobs
class Short(Watcher):
    """A short answer."""

    def answer_limit(self, state: Seen) -> int:
        return 7


@knobs
class Peeks(Watcher):
    """Asks for the very next token, and for a word, and stops by what it hears."""

    def limit(self, state: Seen) -> int:
        return 5 + 6 * len(state.views)

    def decide(self, state: Seen, view: View) -> Action:
        if view.belief is None:
            if not view.boundary and view.thinking < self.limit(state):
                return Continue()
            state.views.append(view)
            text = "So " if len(state.views) % 2 else ""
            return Probe(text, "}", max_tokens=1 + len(text), close=False, watch="}")
        assert view.belief.watched is not None
        state.views.append(view)
        rank = view.belief.watched.rank
        return Conclude(f"a brace is number {rank}") if rank < 60 and len(state.views) > 4 else Continue()


CONTROLLERS: dict[str, tuple[Controller, ...]] = {
    "waits": (Waits(),),
    "rules": (Lands(), Halves()),
    "short": (Short(), Waits()),
    "peeks": (Peeks(),),
    "all": (Lands(), Waits(), Peeks(), Short()),
}
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"drafter": "none"},
    "chain": {"drafter": "draft-model", "length": "constant:6"},
    "tree": {"drafter": "draft-model", "shape": "best-first", "length": "constant:10"},
    "suffix": {"drafter": "suffix", "probes": "separate"},
}


def requests(tags: str, temperature: float) -> list[Request]:
    text = TEXTS[tags]
    return [
        Request(
            tuple(text.encode(f"What is {i}+{i}?" + f"{text.format.opens}\n" * (i % 3 > 0))),
            Sampling(temperature, seed=i),
            Limits(70, answer_room=0),
        )
        for i in range(6)
    ]


def engine(tags: str, **methods: Any) -> Engine:
    model = MODELS[tags]
    models = CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.1))
    return Engine(models[0], TEXTS[tags], Methods(verifier="match", **methods), models[1])


@pytest.mark.parametrize("tags", TEXTS)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("think", CONTROLLERS)
def test_equals_the_reference_loop(think: str, temperature: float, tags: str) -> None:
    model = MODELS[tags]

    def logits(tokens: Seq[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    asked = requests(tags, temperature)
    expected = [reference.decode(logits, TEXTS[tags], r, CONTROLLERS[think], 512) for r in asked]
    for name, methods in METHODS.items():
        for batch in (1, 4):
            found = engine(tags, think=CONTROLLERS[think], **methods).run(asked, batch=batch)
            assert [(list(r.tokens), r.finish_reason) for r in found] == expected, (name, batch)


@pytest.mark.parametrize("drafter", ["none", "draft-model"])
@pytest.mark.parametrize("tags", TEXTS)
@pytest.mark.parametrize("think", ["waits", "all"])
def test_what_was_streamed_is_never_taken_back(think: str, tags: str, drafter: str) -> None:
    """Also not the first tokens of a tag that is refused once it is whole."""
    taken = 0
    for request in requests(tags, 0.9):
        loop = engine(tags, think=CONTROLLERS[think], drafter=drafter).loop()
        sequence, steps = loop.add(request), []
        while not sequence.done:
            loop.step()
            steps += sequence.drain()
        result = sequence.result()
        assert [token for step in steps for token in step.tokens] == list(result.tokens)
        taken += sum(event.reason == "it wanted to end by tag" for event in result.events)
    assert taken or think != "waits"


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_drafts_are_made_by_the_same_rules(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that drafts for itself is never refused; without the rules it would be."""
    model, asked = CausalLM(MODELS["several"]), requests("several", temperature)
    methods = Methods(verifier="match", think=CONTROLLERS["rules"], **METHODS["chain"])
    made = Engine(model, TEXTS["several"], methods, model)
    results = made.run(asked, batch=3)
    passes = sum(r.usage.target_passes for r in results)
    assert passes == sum(math.ceil(len(r.tokens) / 7) for r in results)
    monkeypatch.setattr(Sequence, "ruled", lambda self, logits, path: logits)
    blind = made.run(asked, batch=3)
    assert [r.tokens for r in blind] == [r.tokens for r in results]
    assert passes < 0.9 * sum(r.usage.target_passes for r in blind)


@pytest.mark.parametrize("tags", TEXTS)
def test_the_cases_above_are_not_trivial(tags: str) -> None:
    made = {
        think: engine(tags, think=controllers, drafter="none").run(requests(tags, 0.9), batch=6)
        for think, controllers in {"free": (), **CONTROLLERS}.items()
    }
    texts = {think: [r.tokens for r in results] for think, results in made.items()}
    assert all(texts[think] != texts["free"] for think in CONTROLLERS)
    reasons = {e.reason for results in made.values() for r in results for e in r.events}
    assert "it wanted to end by tag" in reasons
    assert any(reason.startswith("a brace") for reason in reasons)
    assert any(r.finish_reason == "length" and len(r.tokens) < 70 for r in made["short"])
    for result in made["short"]:
        assert result.usage.answer <= 7


def test_a_thought_that_ends_without_its_tag_is_closed_and_answered() -> None:
    """The model writes the end token inside its thought; with a controller, any controller, it answers all the same."""
    asked = requests("one token", 0.9)
    free = engine("one token", drafter="none").run(asked)
    cut = [i for i, r in enumerate(free) if r.finish_reason == "stop" and r.thinking and "</think>" not in r.text]
    assert cut
    found = engine("one token", drafter="draft-model", think=(Watcher(),)).run(asked)
    for i in cut:
        assert "</think>" in found[i].text
        assert [(e.method, e.action) for e in found[i].events] == [("loop", "conclude")]
        assert found[i].text.startswith(free[i].text)


def test_what_stood_in_the_tokens_of_a_tag_stays_when_the_tag_is_taken_back() -> None:
    """A tag may begin inside a token: the words before it are the thought's own."""

    class Words:
        """Four tokens: one of them ends a sentence and begins the tag."""

        pieces: ClassVar[list[str]] = ["so", " it.</a", ">", "Wait ", "!"]
        eos_token_id = 4
        chat_template = None

        def get_vocab(self) -> dict[str, int]:
            return {piece: i for i, piece in enumerate(self.pieces)}

        def encode(self, text: str, **_: Any) -> list[int]:
            made = []
            while text:
                token = max((i for i, p in enumerate(self.pieces) if text.startswith(p)), key=lambda i: -i, default=-1)
                made.append(token if token >= 0 else 100 + ord(text[0]))
                text = text[len(self.pieces[token]) if token >= 0 else 1 :]
            return made

        def decode(self, tokens: Seq[int], **_: Any) -> str:
            return "".join(self.pieces[t] if t < 100 else chr(t - 100) for t in tokens)

    from laconic.transcript import Mark, Transcript

    text = Text(Words(), format=Format("<a>", "</a>"))
    transcript = Transcript(text, Request(tuple(text.encode("<a>"))), list(text.encode("<a>")), keep_steps=True)
    marks = [transcript.push(token) for token in (0, 0, 1, 2)]
    assert marks[-1] is Mark.CLOSED
    point, left = transcript.before_the_end()
    assert (point.length, left) == (3 + 2, " it.")


@knobs
class Asks(Watcher):
    """Rewrites the question."""

    words: int = 5

    def prepare(self, question: Question) -> Question:
        return question.saying(f"In at most {self.words} words.", "asks", "to be brief")


@knobs
class Chooses(Watcher):
    """Others act in its place, by the question."""

    def resolve(self, question: Question, reader: Any) -> Seq[Controller]:
        return (Asks(words=3), Short()) if "hard" in question.asked() else ()


def test_controllers_rewrite_the_question_and_name_others_for_it() -> None:
    made = engine("one token", drafter="none")
    asked = [made.request(question, limits=Limits(30)) for question in ("a hard one", "an easy one")]
    hard, easy = (made.using(think=(Chooses(),)).fitted(request) for request in asked)
    assert "a hard one\n\nIn at most 3 words." in TEXTS["one token"].decode(hard.prompt)
    assert [type(c).__name__ for c in hard.controllers or ()] == ["Asks", "Short"]
    assert (easy.prompt, easy.controllers) == (asked[1].prompt, ())
    first, second = made.using(think=(Chooses(), Waits())).run(asked)
    assert [e.reason for e in first.events][:1] == ["to be brief"]
    assert first.usage.answer <= 7
    assert second.tokens == made.using(think=(Waits(),)).run([replace(asked[1])])[0].tokens


def test_a_question_may_have_a_word_for_the_system() -> None:
    plain = Question(({"role": "user", "content": "Why?"},))
    told = plain.saying("Be brief.", "m", "r", role="system").saying("Now.", "m", "r", role="system")
    assert [dict(m) for m in told.messages] == [
        {"role": "system", "content": "Be brief.\n\nNow."},
        {"role": "user", "content": "Why?"},
    ]
    assert (told.asked(), len(told.events)) == ("Why?", 2)


def test_a_request_that_a_controller_refuses_leaves_no_slot_behind() -> None:
    made = engine("one token", think=("budget:500",))
    with pytest.raises(RequestError, match="leaves no room"):
        made.run([made.request("Why?", limits=Limits(30))])
    assert isinstance(made.target, CausalLM)
    assert made.target.slots == []
