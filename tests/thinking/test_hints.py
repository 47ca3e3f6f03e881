"""Hints: words in the question, words written into the thought, and words that the thought may not hold."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Sampling, reference
from laconic.errors import InvalidKnob, RequestError
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.thinking.base import Belief, Continue, Controller, Inject, Place, Probe, View
from laconic.thinking.hint.cues import Cues, begins_with
from laconic.types import Question
from tests import tiny


class Pieces:
    """A tokenizer whose tokens are the pieces of a list; text is encoded by the longest piece that fits."""

    eos_token_id = None
    chat_template: ClassVar[str | None] = None

    def __init__(self, *pieces: str, written: Sequence[str] = ()) -> None:
        self.pieces = pieces
        self.written = list(written) or list(pieces)

    def get_vocab(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.written)}

    def encode(self, text: str, **_: Any) -> list[int]:
        made = []
        while text:
            fits = [i for i, piece in enumerate(self.pieces) if text.startswith(piece)]
            made.append(max(fits, key=lambda i: len(self.pieces[i]), default=-1))
            text = text[len(self.pieces[made[-1]]) if fits else 1 :]
        return made

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return "".join(self.pieces[token] for token in tokens)


ENGLISH = (
    "wait", " Wait", "Wait,", " waiter", "WAIT!", ".Wait", "but", " but", " distri", "ion", " ", "\n\n", "so", "che",
    "ck", " let", " me", " che", "-check", " double", "<think>", "</think>", "B", "ut", " o", "er", ", ", "Hmm",
)  # fmt: skip


def text_of(*pieces: str, **options: Any) -> Text:
    return Text(Pieces(*pieces, **options), format=Format("<think>", "</think>"))


def completed(text: Text, words: Sequence[str], before: str) -> set[str]:
    ids = Cues(text, words).completing(text.encode(before))
    return {text.piece(int(token)) for token in ids}


@pytest.mark.parametrize(
    ("words", "before", "expected"),
    [
        (["wait"], "so", {" Wait", ".Wait"}),  # nothing that would go on with "so"
        (["wait"], "so ", {" Wait", ".Wait", "wait", "Wait,", "WAIT!"}),
        (["wait"], "", {" Wait", ".Wait", "wait", "Wait,", "WAIT!"}),
        (["but"], " distri", {" but"}),
        (["but"], ", ", {"but", " but"}),
        (["but"], ", B", {" but", "ut"}),
        (["but"], " oB", {" but"}),  # inside a word
        (["check"], " che", {"ck", "-check"}),
        (["check"], " double", {"-check"}),
        (["double-check"], " double", {"-check"}),
        (["double-check"], "so", set()),
        (["let me check"], " let me che", {"ck"}),
        (["let me check"], " che", set()),
        (["let me"], "so let", {" me"}),
        (["wait", "hmm"], "so ", {" Wait", ".Wait", "wait", "Wait,", "WAIT!", "Hmm"}),
        (["think"], " ", set()),  # the tags are no words
        (["however"], " ", set()),
    ],
)
def test_which_tokens_complete_a_cue(words: list[str], before: str, expected: set[str]) -> None:
    assert completed(text_of(*ENGLISH), words, before) == expected


def test_completing_agrees_with_looking_for_the_words_in_the_text() -> None:
    """Against the plain definition: the text with the token holds one more whole cue, which ends in that token."""
    words, text, rng = ["wait", "but", "check", "let me", "double-check"], text_of(*ENGLISH), random.Random(0)
    cues = Cues(text, words)
    pattern = re.compile(rf"(?<![^\W_])(?=({'|'.join(map(re.escape, words))})(?![^\W_]))")
    seen = 0
    for _ in range(400):
        before = [rng.randrange(len(ENGLISH)) for _ in range(rng.randrange(6))]
        written = text.decode(before).lower()
        expected = set()
        for token, piece in enumerate(ENGLISH):
            found = pattern.finditer(written + piece.lower())
            ends = [match.end(1) for match in found if match.end(1) > len(written)]
            if ends and not re.search(r"[^\W_]", (written + piece.lower())[ends[-1] :]):
                expected.add(token)
        assert set(cues.completing(before)) == expected, (written, expected)
        seen += len(expected)
        last = rng.randrange(1, 5)
        spans = [cues.completing(before[:at]) for at in range(len(before))]
        assert cues.among(before, last) == any(before[at] in spans[at] for at in range(len(before))[-last:])
    assert seen > 1000


def test_a_blank_that_decoding_loses_is_known_from_the_vocabulary() -> None:
    text = text_of("so", "wait", "wait", written=("▁so", "▁wait", "wait"))
    assert Cues(text, ["wait"]).completing([0]) == (1,)


def test_written_words_that_begin_with_a_cue() -> None:
    words = ("wait", "but", "let me check")
    assert [begins_with(w, words) for w in ("Wait, so", "**But** x", "Let me check it", "wait")] == [
        "wait", "but", "let me check", "wait",
    ]  # fmt: skip
    assert not any(begins_with(w, words) for w in ("Waiter", "so wait", "", "Let me chec", "button"))


def controller(spec: str) -> Controller:
    made = registry.build("think", spec)
    assert isinstance(made, Controller)
    return made


def ruled(spec: str, before: str, *, thinking: int, phase: str = "thinking") -> dict[str, float] | None:
    """What a rule adds to the logits of each piece, where it does."""
    text, mine = text_of(*ENGLISH), controller(spec)
    rule = mine.rule(mine.start(Request((0,)), text))
    assert rule is not None
    logits = torch.zeros(len(ENGLISH) + 4)
    place = Place(phase, thinking, 0, 0, text.encode(before))
    made = rule(logits, place)
    assert not logits.any(), "in place"
    again = rule(logits, place)
    if made is None:
        assert again is None
        return None
    assert again is not None
    assert torch.equal(made, again)
    return {ENGLISH[int(i)]: float(made[i]) for i in made.nonzero()[:, 0]}


def test_no_wait_bans_inside_the_thought_alone() -> None:
    assert ruled("no-wait:but/wait", "so", thinking=3) == dict.fromkeys((" Wait", ".Wait", " but"), -math.inf)
    assert ruled("no-wait:but/wait", "so", thinking=3, phase="answer") is None
    assert ruled("no-wait:but/wait", "so", thinking=0, phase="before") is None
    assert ruled("no-wait:double-check", "so", thinking=3) is None, "nothing to ban here"


@pytest.mark.parametrize(
    ("before", "thinking", "active"),
    [
        ("so so so so so", 5, True),  # the thought itself is young
        ("so so so so so so so so", 8, False),
        ("so so wait so so", 20, True),
        ("wait so so so so so so so so", 20, False),  # long ago
        ("so so so but so so so", 20, False),  # no switch
    ],
)
def test_switching_is_penalised_while_a_line_of_thought_is_young(before: str, thinking: int, active: bool) -> None:
    made = ruled("switch-penalty:2.5,beta=6,words=wait", before, thinking=thinking)
    assert made == ({" Wait": -2.5, ".Wait": -2.5} if active else None)


def test_the_penalty_begins_anew_with_every_switch() -> None:
    """beta tokens from the switch on: the last of them is under the penalty, the next one is not."""
    text = text_of("so ", "wait ")
    mine = controller("switch-penalty:beta=4,words=wait")
    rule = mine.rule(mine.start(Request((0,)), text))
    assert rule is not None
    written = [0] * 6 + [1] + [0] * 8
    active = [rule(torch.zeros(2), Place("thinking", at, 0, 0, written[:at])) is not None for at in range(len(written))]
    assert active == [at < 4 or 7 <= at < 11 for at in range(len(written))]


def belief(answer: str) -> Belief:
    return Belief(answer, (0.9,), (0.1,), False, 1)


def view(thinking: int, boundary: bool = True, found: Belief | None = None, written: int = 0) -> View:
    return View(thinking, ("a",), boundary, found, (0,) * (written or thinking))


def test_confidence_is_written_where_doubt_would_follow() -> None:
    mine = controller("confidence-injection:Sure./Clear.,words=wait/let me check,most=3")
    state = mine.start(Request((0,), limits=Limits(500)), tiny.text())
    assert isinstance(mine.decide(state, view(10, boundary=False)), Continue)
    asked = mine.decide(state, view(20))
    assert asked == Probe("", "\n", max_tokens=len("Let me check"), close=False)
    assert isinstance(mine.decide(state, view(20, found=belief("So x = 3, wait"))), Continue)
    written = []
    for thinking in range(30, 90, 10):
        action = mine.decide(state, view(thinking))
        if isinstance(action, Probe):
            action = mine.decide(state, view(thinking, found=belief("Wait, is")))
            assert isinstance(action, Inject)
            written.append(action.text)
    assert written == ["Sure.\n\n", "Clear.\n\n", "Sure.\n\n"]


def test_confidence_may_begin_the_next_step() -> None:
    mine = controller("confidence-injection:So it is,apart=false")
    state = mine.start(Request((0,)), tiny.text())
    action = mine.decide(state, view(9, found=belief("Hmm, no")))
    assert action == Inject("So it is", "the next step would begin with 'hmm'")


def test_confidence_stops_where_no_phrase_fits() -> None:
    mine = controller("confidence-injection:Sure.")
    state = mine.start(Request((0,), limits=Limits(50)), tiny.text())
    assert isinstance(mine.decide(state, view(43)), Probe)  # five letters and a blank line, and one token more
    assert isinstance(mine.decide(state, view(44)), Continue)
    with pytest.raises(RequestError, match="6 tokens"):
        mine.start(Request((0,), limits=Limits(6)), tiny.text())


def hints(spec: str, ends: Sequence[int], room: int = 4000) -> list[int]:
    """Thinking tokens at which a hint is written, if steps end at ``ends``."""
    mine = controller(spec)
    state = mine.start(Request((0,), limits=Limits(room)), tiny.text())
    made = []
    for thinking in ends:
        assert isinstance(mine.decide(state, view(thinking - 1, boundary=False)), Continue)
        if isinstance(action := mine.decide(state, view(thinking)), Inject):
            assert action.text.endswith("!\n\n")
            made.append(thinking)
    return made


def test_hints_come_at_the_papers_intervals() -> None:
    every = range(1, 12000)
    found = hints("concise-hint", every, room=20000)
    assert found[0] == 128
    assert all(b - a == int(min(1024, 128 + 0.2 * a)) for a, b in pairwise(found))
    assert found[-1] - found[-2] == 1024
    assert hints("concise-hint:first=10,growth=0,longest=50", range(1, 45)) == [10, 20, 30, 40]
    assert hints("concise-hint:first=10,growth=1,longest=15", range(1, 60)) == [10, 25, 40, 55]


def test_a_hint_waits_for_the_end_of_a_step_and_for_room() -> None:
    assert hints("concise-hint:first=10,growth=0", [7, 19, 20, 28, 29]) == [19, 29]
    whole = len("make answer concise!") + 1
    assert hints("concise-hint:first=10,growth=0", [20, 40], room=40 + whole) == [20]
    assert hints("concise-hint:first=10,growth=0", [20, 40], room=41 + whole) == [20, 40]
    with pytest.raises(RequestError, match=f"{whole} tokens"):
        hints("concise-hint", [], room=whole)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("chain-of-draft:7", "at most 7 words"),
        ("token-budget:90", "fewer than 90 tokens"),
        ("be-concise:Be quick.", "Be quick."),
    ],
)
def test_words_are_added_to_the_question(spec: str, said: str) -> None:
    question = Question(({"role": "user", "content": "Why?"},))
    asked = controller(spec).prepare(question)
    assert asked.asked().startswith("Why?\n\n")
    assert said in asked.asked()
    (event,) = asked.events
    assert (event.method, event.action) == (spec.split(":")[0], "prepare")
    system = controller(f"{spec},role=system").prepare(question)
    assert system.asked() == "Why?"
    assert system.messages[0]["role"] == "system"
    assert said in system.messages[0]["content"]


def test_words_need_no_thinking_phase() -> None:
    plain = Engine(CausalLM(tiny.model(0)), tiny.text(tags_as_tokens=False, template=None), Methods(drafter="none"))
    assert not plain.text.format.thinks
    told = plain.using(think=("be-concise:Hush.",))
    result = told.generate("Why?", limits=Limits(5))
    assert [e.method for e in result.events] == ["be-concise"]
    assert result.usage.prompt == len(told.text.encode("Why?\n\nHush."))


@pytest.mark.parametrize("name", ["no-wait", "switch-penalty"])
def test_words_that_cannot_be_spelled_are_refused(name: str) -> None:
    mine = controller(f"{name}:words=hmm")
    with pytest.raises(RequestError, match=rf"'{name}'.*hmm.*words="):
        mine.start(Request((0,)), text_of("a", "b", "</think>"))


@pytest.mark.parametrize(
    "spec",
    [
        "no-wait:words=wait//but", "no-wait:words=", "no-wait:words=wait!", "switch-penalty:alpha=-1",
        "switch-penalty:beta=0", "concise-hint:first=0", "concise-hint:text=", "concise-hint:growth=-0.1",
        "confidence-injection:most=0", "confidence-injection:phrases=", "chain-of-draft:0", "token-budget:0",
        "be-concise:text=", "be-concise:role=model",
    ],
)  # fmt: skip
def test_knobs_are_checked(spec: str) -> None:
    with pytest.raises(InvalidKnob):
        registry.build("think", spec)


def test_specs_survive_a_round_trip() -> None:
    for spec in (
        "no-wait:words=wait/let me check",
        "switch-penalty:alpha=2.0,words=instead",
        "confidence-injection:phrases=A/B c",
    ):
        assert registry.build("think", spec).spec() == spec


TEXTS = {"one token": tiny.text(), "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))}
LETTERS = "bcdefghijklmnopqrstuvwxyz"
BIAS = {LETTERS: 3.0, "\n\n": 5.0, "}": 4.0}
MODELS = {
    "one token": tiny.model(0, bias={**BIAS, "</think>": 1.5}),
    "several": tiny.model(0, bias={**BIAS, "/": 5.0, "a": 3.0, ">": 5.0}),
}
CUES = "/".join(LETTERS)
RUNS = {
    "no-wait": (f"no-wait:words={CUES}",),
    "switch-penalty": (f"switch-penalty:alpha=4,beta=5,words={CUES}",),
    "concise-hint": ("concise-hint:text=be brief!,first=6",),
    "confidence-injection": (f"confidence-injection:phrases=sure/ok,words={CUES},most=2",),
    "all": (
        f"switch-penalty:alpha=4,words={CUES}",
        "concise-hint:text=go,first=9",
        f"confidence-injection:ok,words={CUES}",
    ),
}
METHODS: dict[str, tuple[int, dict[str, Any]]] = {
    "chain": (4, {"drafter": "draft-model", "length": "constant:6"}),
    "tree": (1, {"drafter": "draft-model", "shape": "best-first", "length": "constant:10"}),
    "suffix": (4, {"drafter": "suffix", "probes": "separate"}),
}
"""How many requests at once, and by which methods."""


def requests(tags: str, temperature: float) -> list[Request]:
    text = TEXTS[tags]
    return [
        Request(tuple(text.encode(f"What is {i}+{i}?{text.format.opens}\n")), Sampling(temperature, seed=i), Limits(44))
        for i in range(4)
    ]


def engine(tags: str, **methods: Any) -> Engine:
    model = MODELS[tags]
    models = CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.1))
    return Engine(models[0], TEXTS[tags], Methods(verifier="match", **methods), models[1])


@pytest.mark.parametrize("tags", TEXTS)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("think", RUNS)
def test_equals_the_reference_loop(think: str, temperature: float, tags: str) -> None:
    model, controllers = MODELS[tags], tuple(controller(spec) for spec in RUNS[think])

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    asked = requests(tags, temperature)
    expected = [reference.decode(logits, TEXTS[tags], r, controllers, 512) for r in asked]
    for name, (batch, methods) in METHODS.items():
        found = engine(tags, think=controllers, **methods).run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in found] == expected, name


@pytest.mark.parametrize("tags", TEXTS)
def test_the_cases_above_are_not_trivial(tags: str) -> None:
    made = {
        name: engine(tags, think=specs, drafter="none").run(requests(tags, 0.9), batch=5)
        for name, specs in {"free": (), **RUNS}.items()
    }
    assert all([r.tokens for r in made[name]] != [r.tokens for r in made["free"]] for name in RUNS)
    for name in ("concise-hint", "confidence-injection"):
        assert any(e.action == "inject" and e.method == name for r in made[name] for e in r.events)
    banned = re.compile(rf"(?<![^\W_])(?:{CUES.replace('/', '|')})(?![^\W_])", re.IGNORECASE)
    assert any(banned.search(r.thinking) for r in made["free"])
    for result in made["no-wait"]:
        # A letter that begins a longer word cannot be told from a word of one letter, so none begins with one.
        thought = result.text.partition(TEXTS[tags].format.closes)[0]
        assert not re.search(r"(?<![^\W_])[b-zB-Z]", thought.replace("<think>", "").replace("<|im_start|>", ""))
