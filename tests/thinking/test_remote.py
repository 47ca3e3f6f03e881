"""Over HTTP as inside: the same check points, beliefs, actions and text, whatever the server tells."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from laconic import Engine, Format, Limits, Methods, Request, Result, Sampling
from laconic.errors import BadReply, BadStatus, MethodError, NoLogprobs, RequestError, UnmetNeed, Unreachable
from laconic.models.remote import RemoteModel
from laconic.models.replies import Completion
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs, registry
from laconic.remote import RemoteEngine
from laconic.remote.loop import mixed
from laconic.remote.writer import Asking, Writer
from laconic.thinking.base import Action, Ban, Belief, Conclude, Continue, Controller, Inject, LogitRule, Probe, View
from tests import tiny
from tests.fakes import Hashed
from tests.server import Manners, Server, following

ASCII = {chr(code): 9.0 for code in range(32, 127)}
"""Bytes that are characters: what is written survives being sent as text."""
TEXTS = {"one token": tiny.text(), "several": Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<a", "/>"))}
BIASES = {
    "one token": {**ASCII, "\n\n": 12.5, "}": 13.0, "<|im_end|>": 8.0, "</think>": 9.5},
    "several": {**ASCII, "\n\n": 12.5, "}": 13.0, "<|im_end|>": 8.0, "/": 11.0},
}


MODELS = {tags: Hashed(TEXTS[tags], BIASES[tags]) for tags in BIASES}
EVERYTHING = 264
"""So many likeliest tokens are all there are, and entropies exact."""


@dataclass
class Seen:
    """State of the controllers below."""

    views: list[View] = field(default_factory=list)
    left: int = 2


@knobs
class Watcher(Controller):
    """Base of the controllers below."""

    card = Card(paper="a test", lossless=False)
    needs = Needs(thinking=True, probabilities=True)
    name = "watcher"

    def start(self, request: Request, text: Text) -> Seen:
        return Seen()


@knobs
class Waits(Watcher):
    """Does not let the thought end at first, nor at a length of 9."""

    closing: ClassVar[bool] = True

    def limit(self, state: Seen) -> int | None:
        return 9 if not state.views else None

    def decide(self, state: Seen, view: View) -> Action:
        if view.thinking == 9 and not state.views:
            state.views.append(view)
            return Inject("Hm, ", "nine tokens")
        if not view.closing or not state.left:
            return Continue()
        state.left -= 1
        return Inject("Wait, ", f"it wanted to end by {view.closing}")


@knobs
class Bans(Watcher):
    """Rules tokens out: one and the next after it often would be written, too; at times the text may not end."""

    def rule(self, state: Seen) -> LogitRule:
        return Ban(lambda place: range(40, 80) if place.step % 3 == 0 else [258, 259] if place.answer % 2 else ())

    def decide(self, state: Seen, view: View) -> Action:
        return Continue()


FOUND: list[tuple[str, Belief]] = []


@knobs
class Peeks(Watcher):
    """Asks in different ways, and tells all that it hears."""

    def limit(self, state: Seen) -> int:
        return 5 + 6 * len(state.views)

    def decide(self, state: Seen, view: View) -> Action:
        if view.belief is None:
            if not view.boundary and view.thinking < self.limit(state):
                return Continue()
            state.views.append(view)
            asked = len(state.views) % 4
            if asked == 0:
                return Probe("", "\n", max_tokens=1, close=False, watch="}")
            if asked == 1:
                return Probe("So {", ".", max_tokens=9, close=False, watch="a")
            hopeless = (lambda probs: len(probs) == 3) if asked == 2 else None
            return Probe("The answer is {", "}", max_tokens=12, hopeless=hopeless)
        FOUND.append((f"{view.thinking} {len(state.views)}", view.belief))
        return Conclude("heard enough") if len(state.views) > 7 else Continue()


@knobs
class Rules(Watcher):
    """Changes logits."""

    def rule(self, state: Seen) -> LogitRule:
        return lambda logits, place: logits * 2

    def decide(self, state: Seen, view: View) -> Action:
        return Continue()


THINK: dict[str, tuple[str | Controller, ...]] = {
    "free": (),
    "confidence": ("answer-confidence:0.2,product",),
    "agreement": ("answer-agreement:1,tokens=7,text=The sum is {",),
    "entropy": ("answer-entropy:threshold=1,looks=2",),
    "settled": ("settled:0.15",),
    "budget": ("budget:17",),
    "budget and exit": ("budget:30,landing=0", "answer-confidence:0.4"),
    "waits": (Waits(),),
    "bans": (Bans(), "budget:12"),
    "no waits": ("no-wait:words=a/e/t/1", "budget:40"),
    "waits, within a budget": ("budget:24", Waits()),
    "peeks": (Peeks(),),
}


def requests(tags: str, temperature: float = 0.0, n: int = 5) -> list[Request]:
    text = TEXTS[tags]
    return [
        Request(
            tuple(text.encode(f"What is {i}+{i}{'?' * i}" + f"{text.format.opens}\n" * (i % 3 > 0))),
            Sampling(temperature, seed=i),
            Limits(90, stop=("$%",) if i == 3 else (), answer_room=0 if i % 2 else None),
        )
        for i in range(n)
    ]


_INSIDE: dict[tuple[str, str], list[Result]] = {}


def inside(tags: str, think: str) -> list[Result]:
    if (tags, think) not in _INSIDE:
        engine = Engine(MODELS[tags], TEXTS[tags], Methods(drafter="none", think=THINK[think]))
        _INSIDE[tags, think] = engine.run(requests(tags))
    return _INSIDE[tags, think]


@contextmanager
def outside(
    tags: str = "one token", think: tuple[Any, ...] = (), manners: Manners | None = None, **options: Any
) -> Iterator[tuple[Server, RemoteEngine]]:
    extras = options.pop("extras", True)
    with Server(following(MODELS[tags].after), TEXTS[tags], manners or Manners()) as server:
        model = RemoteModel(server.url, "tiny", extras=extras, retries=options.pop("retries", 0))
        options = {"context": 512} | options
        with RemoteEngine(model, TEXTS[tags], think, **options) as engine:
            yield server, engine


def told(result: Result) -> tuple[Any, ...]:
    usage = result.usage
    return (
        *(result.tokens, result.text, result.thinking, result.answer, result.finish_reason, result.events),
        *(usage.prompt, usage.thinking, usage.answer, usage.injected),
    )


@pytest.mark.parametrize("tags", TEXTS)
@pytest.mark.parametrize("think", THINK)
def test_it_writes_what_the_engine_writes(think: str, tags: str) -> None:
    expected = [told(result) for result in inside(tags, think)]
    with outside(tags, THINK[think], logprobs=EVERYTHING if think == "entropy" else 20) as (server, engine):
        assert [told(result) for result in engine.run(requests(tags), batch=3)] == expected
        if think in ("confidence", "waits"):
            for asking in ({"piece": 7}, {"ahead": False}):
                other = RemoteEngine(engine.model, engine.text, THINK[think], context=512, **asking)
                assert [told(result) for result in other.run(requests(tags), batch=1)] == expected
        assert all(isinstance(body["prompt"], list) for body in server.seen)


@pytest.mark.parametrize("tags", TEXTS)
def test_the_cases_above_are_not_trivial(tags: str) -> None:
    made = {think: inside(tags, think) for think in THINK}
    texts = {think: [r.tokens for r in results] for think, results in made.items()}
    assert all(texts[think] != texts["free"] for think in THINK if think != "free")
    events = {(e.method, e.action) for results in made.values() for r in results for e in r.events}
    named = {"answer-confidence", "answer-agreement", "answer-entropy", "settled", "budget"}
    assert {(name, "conclude") for name in named} <= events
    reasons = {e.reason for results in made.values() for r in results for e in r.events}
    assert {"nine tokens", "it wanted to end by tag"} <= reasons
    assert any(r.finish_reason == "stop" for results in made.values() for r in results)


@pytest.mark.parametrize("tags", TEXTS)
def test_beliefs_are_the_same_up_to_rounding(tags: str) -> None:
    found: list[list[tuple[str, Belief]]] = []
    with outside(tags, (Peeks(),), logprobs=EVERYTHING) as (_, remote):
        for engine in (Engine(MODELS[tags], TEXTS[tags], Methods(drafter="none", think=(Peeks(),))), remote):
            FOUND.clear()
            engine.run(requests(tags), batch=1)
            found.append(list(FOUND))
    assert [(place, b.answer, b.complete) for place, b in found[0]] == [(p, b.answer, b.complete) for p, b in found[1]]
    assert len(found[0]) > 10
    assert {b.complete for _, b in found[0]} == {True, False}
    for (_, mine), (_, theirs) in zip(*found, strict=True):
        assert theirs.probs == pytest.approx(mine.probs, abs=1e-4)
        assert theirs.entropies == pytest.approx(mine.entropies, abs=1e-3)
        assert (mine.watched is None) == (theirs.watched is None)
        if mine.watched is not None and theirs.watched is not None:
            assert theirs.watched.prob == pytest.approx(mine.watched.prob, abs=1e-4)
            assert theirs.watched.rank == mine.watched.rank


MANNERS: dict[str, tuple[Manners, dict[str, Any]]] = {
    "ids, and no word of what ended it": (Manners(reason=False), {}),
    "ids without those of the stop string": (Manners(shows_stop=False), {}),
    "ids without the end token": (Manners(shows_end=False, shows_stop=False, reason=False), {}),
    "text and what ended it": (Manners(ids=False), {}),
    "text alone": (Manners(ids=False, reason=False), {}),
    "text without stop and end": (Manners(ids=False, reason=False, shows_stop=False, shows_end=False), {}),
    "it is sent text": (Manners(ids=False), {"send": "text"}),
    "it is sent text and the API's own fields": (Manners(ids=False, reason=False), {"send": "text", "extras": False}),
}


@pytest.mark.parametrize("manners", MANNERS)
@pytest.mark.parametrize(
    ("tags", "think"), [("one token", "confidence"), ("several", "waits"), ("one token", "budget")]
)
def test_it_writes_the_same_whatever_the_server_tells(tags: str, think: str, manners: str) -> None:
    expected = [told(result) for result in inside(tags, think)]
    told_by, options = MANNERS[manners]
    with outside(tags, THINK[think], told_by, **options) as (server, engine):
        assert [told(result) for result in engine.run(requests(tags), batch=3)] == expected
        assert {type(body["prompt"]) for body in server.seen} == {str if "send" in options else list}
        if options.get("extras") is False:
            known = {"model", "prompt", "max_tokens", "temperature", "top_p", "echo", "stop", "logprobs", "logit_bias"}
            assert all(set(body) <= known for body in server.seen)


def test_text_is_turned_into_ids_in_its_place() -> None:
    """SentencePiece tokenizers put a space before a text that is encoded alone."""

    class Spaced:
        """A token a character."""

        eos_token_id = 0
        chat_template = None

        def get_vocab(self) -> dict[str, int]:
            return {}

        def encode(self, text: str, **_: Any) -> list[int]:
            return list(map(ord, f" {text}"))

        def decode(self, tokens: Sequence[int], **_: Any) -> str:
            return "".join(map(chr, tokens)).removeprefix(" ")

    class Says:
        """A server that writes one text."""

        async def complete(self, prompt: Any, **_: Any) -> Completion:
            return Completion("cd", "length")

    writer = Writer(Says(), Text(Spaced()), Asking())  # type: ignore[arg-type]
    for before in ("ab", "ab" * 30):
        written = asyncio.run(writer.write(list(map(ord, f" {before}")), most=5, sampling=Sampling()))
        assert written.tokens == (ord("c"), ord("d"))
    with pytest.raises(RequestError, match="tokens"):
        Asking(send="ids")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=">= 0"):
        Asking(piece=-1)


def test_agreement_asks_for_no_probabilities_and_needs_none() -> None:
    with outside(think=THINK["agreement"], manners=Manners(logprobs=False), logprobs=0) as (server, engine):
        assert [told(r) for r in engine.run(requests("one token"))] == [
            told(r) for r in inside("one token", "agreement")
        ]
        assert not any("logprobs" in body for body in server.seen)


def test_probabilities_that_are_needed_and_not_given_are_an_error() -> None:
    with outside(think=("settled",), manners=Manners(logprobs=False)) as (_, engine):
        with pytest.raises(NoLogprobs, match=r"'settled' looks at probabilities.*answer-agreement"):
            engine.run(requests("one token"))
        with pytest.raises(UnmetNeed, match="logprobs=0"):
            RemoteEngine(engine.model, engine.text, ("budget:9", "answer-entropy"), logprobs=0)


def test_methods_that_read_probabilities_say_so() -> None:
    """Otherwise they would find none where a server could have given them."""
    import inspect

    for _, name, cls in registry.all():
        if issubclass(cls, Controller):
            source = inspect.getsource(cls)
            asks_itself = "reader.answer" in source  # a reader has probabilities, or says that it has none
            if re.search(r"belief\.(probs|entropies|watched|confidence)", source) and not asks_itself:
                assert cls.needs.probabilities, name


def test_what_needs_the_models_insides_is_refused_before_anything_is_sent() -> None:
    @knobs
    class Hidden(Watcher):
        """Looks inside."""

        needs = Needs(thinking=True, target_hidden=True)

    with outside() as (server, engine):
        with pytest.raises(UnmetNeed, match="hidden states"):
            engine.using(think=(Hidden(),))
        with pytest.raises(UnmetNeed, match="laconic runs itself"):
            engine.using(think=(Rules(),)).generate("Hm?", limits=Limits(9))
        with pytest.raises(MethodError, match="'drafter' cannot be chosen"):
            engine.using(drafter="suffix")
        with pytest.raises(RequestError, match="leaves no room"):
            engine.using(think=("budget:9",)).generate("Hm?", limits=Limits(9))
        assert not server.seen


def test_chosen_controllers_are_checked_too() -> None:
    @knobs
    class Chooses(Watcher):
        """Names another."""

        needs = Needs()

        def resolve(self, question: Any, reader: Any) -> Any:
            return (registry.build("think", "settled"),)

    with outside(think=(Chooses(),), logprobs=0) as (server, engine):
        with pytest.raises(UnmetNeed, match="'settled'"):
            engine.generate("Hm?", limits=Limits(20))
        assert not server.seen


def test_a_reader_hears_over_http_what_it_hears_inside() -> None:
    heard: list[Any] = []

    @knobs
    class Asks(Watcher):
        """Asks about the question."""

        def resolve(self, question: Any, reader: Any) -> Any:
            belief = reader.answer(question, Probe("So {", "}", max_tokens=4, close=False))
            heard.append(
                (*reader.chances(question, ["a", "{"]), *belief.probs, belief.answer, reader.write(question, 5))
            )
            return ()

    with outside(think=(Asks(),), logprobs=EVERYTHING) as (_, remote):
        local = Engine(MODELS["one token"], remote.text, Methods(drafter="none", think=(Asks(),)))
        for engine in (local, remote):
            engine.generate("Which?", limits=Limits(5))
    assert heard[1][:-2] == pytest.approx(heard[0][:-2], abs=1e-4)
    assert heard[1][-2:] == heard[0][-2:]


def test_pieces_are_sampled_with_seeds_of_their_own() -> None:
    with outside(think=("budget:40",)) as (server, engine):
        first, again = (engine.run(requests("one token", 0.8, 2), batch=2) for _ in range(2))
        assert [told(r) for r in first] == [told(r) for r in again]
        written = [body for body in server.seen if body["temperature"]]
        assert all(0 <= body["seed"] < 2**31 for body in written)
        assert len({body["seed"] for body in written}) == len({tuple(body["prompt"]) for body in written}) > 4
    assert len({mixed(seed, place) for seed in range(50) for place in range(50)}) == 2500


def test_a_token_in_place_of_a_banned_one_is_drawn_with_other_numbers() -> None:
    """The first numbers speak for the token that must not come."""
    with outside(think=THINK["bans"]) as (server, engine):
        engine.run(requests("one token", 0.8, 3), batch=1)
    first = {tuple(body["prompt"]): body["seed"] for body in server.seen if "logit_bias" not in body}
    again = [body for body in server.seen if "logit_bias" in body]
    assert again
    for body in again:
        assert body["seed"] != mixed(int(body.get("seed", 0)), len(body["prompt"]))
        assert body["seed"] not in first.values()


def test_many_requests_run_together_and_keep_their_order() -> None:
    with outside(think=("answer-agreement:2",), manners=Manners(delay=0.02), ahead=False) as (server, engine):
        prompts = [tiny.begun(f"What is {i}+{i}?") for i in range(7)]
        together = engine.generate_many(prompts, limits=Limits(25), batch=4)
        assert 2 <= server.most_busy <= 4
        assert 2 <= server.opened <= 4, "connections are kept"
        assert [r.tokens for r in together] == [engine.generate(p, limits=Limits(25)).tokens for p in prompts]
        with pytest.raises(RequestError, match="batch must be"):
            engine.run([], batch=0)


def test_the_thought_goes_on_while_a_probe_is_out() -> None:
    with outside(think=("answer-agreement:9",), manners=Manners(delay=0.05)) as (server, engine):
        engine.generate(tiny.begun("What is 1+1??"), limits=Limits(40))
        assert server.most_busy == 2


def test_streams_give_the_whole_text_step_by_step() -> None:
    with outside(think=("budget:20",)) as (server, engine):
        expected = engine.generate(tiny.begun("What is 1+1??"), limits=Limits(90))
        stream = engine.stream(tiny.begun("What is 1+1??"), limits=Limits(90))
        steps = list(stream)
        assert told(stream.result) == told(expected)
        assert sum((step.tokens for step in steps), ()) == expected.tokens
        assert server.seen[0]["max_tokens"] == 20
        assert {"thinking", "injected", "answer"} == {step.kind for step in steps}


def settle(server: Server) -> int:
    """Open connections, once those that are closing have closed."""
    end = time.monotonic() + 5
    while server.connections and time.monotonic() < end:
        time.sleep(0.01)
    return server.connections


def test_streams_that_are_left_and_runs_that_fail_leave_nothing_open() -> None:
    with outside(think=("answer-agreement:9",)) as (server, engine):
        stream = engine.stream(tiny.begun("Hm?"), limits=Limits(60))
        next(iter(stream))
        stream.close()
        assert stream.result.finish_reason == "cancelled"
        # Two of them: what the stream had under way as it was closed may still reach a busy server.
        server.manners.fault, server.manners.faults = "status", 2
        with pytest.raises(BadStatus):
            engine.run(requests("one token"), batch=4)
        engine.close()
        engine.close()
        assert settle(server) == 0
        assert not [thread for thread in threading.enumerate() if thread.name == "laconic-remote"]


async def others() -> int:
    """Tasks in this event loop beside the one that asks."""
    return len(asyncio.all_tasks()) - 1


def test_ctrl_c_ends_the_requests_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    import concurrent.futures

    waited = concurrent.futures.Future.result

    def interrupted(self: Any, timeout: float | None = None) -> Any:
        with pytest.raises(concurrent.futures.TimeoutError):
            waited(self, 0.3)
        raise KeyboardInterrupt

    with outside(manners=Manners(delay=1.5)) as (server, engine):
        with monkeypatch.context() as patch:
            patch.setattr(concurrent.futures.Future, "result", interrupted)
            begun = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                engine.run(requests("one token"), batch=3)
            assert time.monotonic() - begun < 1.4
        assert engine.model.wait(others()) == 0
        engine.close()
        assert server.opened == 3
        assert settle(server) == 0


@pytest.mark.parametrize(
    ("manners", "error", "says"),
    [
        (Manners(fault="status"), BadStatus, "answered 500: out of order"),
        (Manners(fault="text"), BadReply, "not JSON"),
        (Manners(fault="shape"), BadReply, "not a completion"),
        (Manners(fault="abort"), BadReply, "'abort'"),
        (Manners(fault="drop"), Unreachable, "no connection"),
    ],
)
def test_what_goes_wrong_at_the_server_is_said(manners: Manners, error: type[Exception], says: str) -> None:
    with outside(think=("budget:20",), manners=manners) as (_, engine), pytest.raises(error, match=says):
        engine.generate("Hm?", limits=Limits(30))


def test_a_server_whose_model_can_go_no_further_ends_the_text() -> None:
    with outside(context=None) as (server, engine):
        server.context = 40
        result = engine.generate(tiny.begun("Hm?"), limits=Limits(300))
        assert result.finish_reason == "length"
        assert len(result.tokens) + result.usage.prompt == 40


def test_load_asks_the_server_what_it_has(tmp_path: Any) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    with Server(following(MODELS["one token"].after), TEXTS["one token"], context=77) as server:
        with RemoteEngine.load(server.url, tokenizer=tmp_path, think=("budget:9",)) as engine:
            assert (engine.model.model, engine.target.context) == ("tiny", 77)
            assert engine.generate("Hm?", limits=Limits(30)).usage.thinking <= 9
            with pytest.raises(RequestError, match="77"):
                engine.request("long " * 40)
        server.name = ""
        with pytest.raises(RequestError, match="several models, or none"):
            RemoteEngine.load(server.url, tokenizer=tmp_path)
        with RemoteEngine.load(server.url, "any", tokenizer=tmp_path) as engine:
            assert engine.target.context > 10**6
        assert settle(server) == 0


def test_a_server_that_does_not_say_what_ended_a_text_is_asked_in_pieces_and_paid_tokens_are_counted() -> None:
    """Not for all the rest at once, most of which would be dropped and still cost."""
    manners = Manners(ids=False, reason=False, shows_stop=False, logprobs=False)
    request = replace(requests("one token")[1], limits=Limits(400))
    with outside(think=("answer-agreement:1",), manners=manners) as (server, engine):
        (result,) = engine.run([request])
        thinking = [body for body in server.seen if "stop" not in body]
        assert thinking
        assert not engine.writer.stops
        assert thinking[0]["max_tokens"] == 64 < server.seen[0]["max_tokens"]
        assert result.usage.dropped > 0


def test_the_results_of_finished_requests_outlive_a_failure() -> None:
    asked = requests("one token", n=3)
    with outside() as (server, engine):
        fine = engine.run(asked[:2])
        needed = len(server.seen)
        server.seen.clear()
        original = server.complete

        def breaks(body: dict[str, Any]) -> dict[str, Any]:
            return original(body) if len(server.seen) <= needed else {"text": 7, "finish_reason": "stop"}

        server.complete = breaks  # type: ignore[method-assign]
        with pytest.raises(BadReply, match="no text") as caught:
            engine.run(asked, batch=1)
        assert {at: told(result) for at, result in caught.value.results.items()} == {
            at: told(result) for at, result in enumerate(fine)
        }


def stripping(*replies: dict[str, Any], tags: str = "one token") -> Writer:
    """A writer whose server says these in turn, as text alone."""
    said = iter(replies)

    class Remote:
        url = "http://127.0.0.1/v1"

        async def complete(self, *args: Any, **options: Any) -> Completion:
            return Completion(**next(said))

    return Writer(Remote(), TEXTS[tags], Asking())  # type: ignore[arg-type]


def written(writer: Writer) -> str:
    result = asyncio.run(writer.write([65], most=64, sampling=Sampling()))
    return writer.text.decode(result.tokens)


def test_a_server_that_may_leave_out_the_tags_is_said_once() -> None:
    ended = {"text": "So 4.\n\nThe answer is 4.", "finish_reason": "stop"}
    writer = stripping(ended, ended)
    with pytest.warns(UserWarning, match=r"may leave out special tokens such as </think>.*format none"):
        assert written(writer) == "So 4.\n\nThe answer is 4.<|im_end|>"
    written(writer)  # warnings are errors here: it is not said again


def test_a_server_that_shows_the_tags_is_not_doubted() -> None:
    ended = {"text": "4.", "finish_reason": "stop"}
    shown = stripping({"text": "So 4.</think>\n\n4", "finish_reason": "length"}, ended)
    assert written(shown) == "So 4.</think>\n\n4"
    written(shown)
    written(stripping(ended, tags="several"))  # tags of plain characters cannot be left out
    written(stripping({"text": "So 4.", "finish_reason": "length"}))  # it may yet come


def test_words_of_a_tag_without_its_special_tokens_are_an_error() -> None:
    class Remote:
        url = "http://127.0.0.1/v1"

        async def complete(self, *args: Any, **options: Any) -> Completion:
            return Completion("We add.assistantfinal4", "stop")

    names = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")
    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(names)})
    format = Format("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>", bridge="")
    writer = Writer(Remote(), Text(tokenizer, format=format), Asking())  # type: ignore[arg-type]
    with pytest.raises(BadReply, match=r"leaves out special tokens such as <\|"):
        written(writer)


def test_what_is_dropped_is_what_was_paid_for_in_vain() -> None:
    for piece, most in ((0, 0), (16, 16)):  # steps end where they are to; the last piece of a thought may not
        with outside(think=("budget:60",), piece=piece) as (_, engine):
            (result,) = engine.run(requests("one token", n=1))
            assert result.tokens
            assert 0 <= result.usage.dropped <= most
