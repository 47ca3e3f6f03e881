"""What a vLLM server says of its model and of laconic, and which requests it takes in."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from laconic import Format
from laconic.errors import LaconicError, MethodError, ModelError, RequestError, UnmetNeed
from laconic.models.text import Text
from laconic.vllm import workers
from laconic.vllm.admission import FAULT, admitting, hosted, marking, reporting
from laconic.vllm.asked import EXPECTED, OURS, PART, SEED, Asked, left_alone
from laconic.vllm.host import Host, Settings
from tests import tiny
from tests.vllm_fakes import END, TEXT, Params, configuration, fakes_of_methods, host, prompts, think
from tests.vllm_server import stand_ins

PROMPT = prompts(1)[0]


class Refused(ValueError):
    """What vLLM's servers answer with status 400."""


def test_settings_are_read() -> None:
    assert Settings.of(configuration()) == Settings.of(SimpleNamespace()) == Settings()
    given = Settings.of(configuration(think="settled", format="deepseek-r1", drafter="history", length="constant:3"))
    assert given == Settings("settled", {}, "deepseek-r1", "history", "constant:3")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"thnik": "settled"}, "Did you mean 'think'"),
        ({"think": ["settled"]}, "'think' is a text"),
        ("settled", "is a mapping, not 'settled'"),
    ],
)
def test_settings_that_cannot_be(given: Any, why: str) -> None:
    config = configuration()
    config.additional_config = {"laconic": given}
    with pytest.raises(RequestError, match=why):
        Host.of(config)


def test_a_host_is_what_the_configuration_says(tmp_path: Path) -> None:
    tiny.tokenizer().save_pretrained(tmp_path)
    config = configuration(context=99, v2=True, format="<a,/>")
    config.model_config.tokenizer = tmp_path
    made = Host.of(config)
    assert (made.context, made.rows, made.follows, Host.of(configuration()).follows) == (99, 264, False, True)
    assert (made.target.context, made.target.vocab_size) == (99, 264)
    assert (made.text.format.opens, made.text.format.closes) == ("<a", "/>")
    assert Host(str(tmp_path), 99, 264).text.format.closes == "</think>"
    holder = SimpleNamespace(vllm_config=config)
    assert hosted(holder) is hosted(holder)
    assert hosted(holder) == made


def test_the_token_of_a_failed_control() -> None:
    assert host(rows=264).fault == 263
    (pad,) = TEXT.encode("<|endoftext|>")
    assert host(rows=262).fault == pad
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = None
    assert host(Text(tokenizer), rows=262).fault == END


@pytest.mark.parametrize(
    ("methods", "workers"),
    [
        ("none", True),
        ("budget:24", True),
        ("budget:24,minimum=4,waits=1+loop-break", True),
        ("soft-landing:32", True),
        ("no-wait", True),
        ("settled", False),
        ("budget:24+settled", False),
        ("answer-confidence", False),
        ("answer-agreement:2", False),
    ],
)
def test_who_decides(methods: str, workers: bool) -> None:
    for follows in (True, False):
        made = host(follows=follows)
        asked = made.asked(think(methods))
        assert asked is not None
        assert made.in_workers(asked) == (workers and follows)


def test_whose_request_it_is() -> None:
    unknown = Text(tiny.tokenizer(), format=Format("", ""))
    budget = Params(thinking_token_budget=9)
    assert host().asked(Params()) is None
    assert host().asked(budget) == Asked(("budget:9",), own=False)
    assert host(unknown).asked(budget) is None
    assert host(think="loop-break").asked(Params()) == Asked(("loop-break",))
    with pytest.raises(UnmetNeed):
        host(unknown).asked(think("budget:9"))


@pytest.mark.parametrize(
    ("params", "error"),
    [
        (think("bugdet:9"), MethodError),
        (think("budget:-1"), MethodError),
        (think("concise-hint+chain-of-draft"), UnmetNeed),
        (think("budget:9", room=128), RequestError),
        (Params(extra_args={"laconic.thin": "x"}), RequestError),
    ],
)
def test_what_cannot_be_asked(params: Params, error: type[Exception]) -> None:
    with pytest.raises(error):
        host().asked(params)


def test_a_tokenizer_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        Host(str(tmp_path), 9, 9).asked(think("budget:9"))


def test_requests_of_workers_are_as_they_were_sent() -> None:
    made, params = host(context=60), think("budget:9", 5, temperature=0.7, top_k=-1, top_p=0.9, min_p=0.1, seed=-3)
    asked = made.asked(params)
    assert asked is not None
    request = made.request(asked, PROMPT, params)
    sampling, limits = request.sampling, request.limits
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.7, 0, 0.9, 0.1)
    assert sampling.seed == 2**63 - 3
    assert (limits.max_new_tokens, limits.answer_room, request.phase) == (60 - len(PROMPT), 5, "thinking")
    params.seed, params.max_tokens, params.extra_args = None, 20, {SEED: 40}
    assert made.request(asked, PROMPT, params, salt=2).sampling.seed == 42
    assert made.request(asked, PROMPT, params).limits.max_new_tokens == 20
    assert made.inside(("budget:9",)) is made.inside(("budget:9",))


class Processor:
    """vLLM's input processor: notes what it is given, and makes a request of a copy of the parameters."""

    def __init__(self, **options: Any) -> None:
        self._laconic_host = host(**options)
        self.seen: list[tuple[Any, ...]] = []

    def process(self, request_id: str, prompt: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
        self.seen.append((request_id, prompt, params, args, kwargs))
        mine = params.clone() if isinstance(params, Params) else None
        return SimpleNamespace(prompt_token_ids=prompt, sampling_params=mine)

    process_inputs = admitting(process, Refused)


def test_requests_of_the_workers_get_dice_and_a_token_of_failure() -> None:
    processor, seeds = Processor(), set()
    for params in (think("budget:9", stop_token_ids=[7]), Params(thinking_token_budget=9, stop_token_ids=[7])):
        request = processor.process_inputs("id", PROMPT, params, ("generate",), priority=1)
        made = request.sampling_params
        assert made.stop_token_ids == [7, 263]
        assert {**made.extra_args, SEED: 0} == {**(params.extra_args or {}), SEED: 0}
        assert params.stop_token_ids == [7]
        assert SEED not in (params.extra_args or {})
        assert processor.seen[-1] == ("id", PROMPT, params, (("generate",),), {"priority": 1})
        seeds.add(made.extra_args[SEED])
    assert len(seeds) == 2


def test_requests_of_others_stay_as_they_are() -> None:
    processor, part = Processor(), Params(extra_args={PART: OURS}, thinking_token_budget=9, ignore_eos=True)
    for params in (Params(ignore_eos=True), part, pooling := SimpleNamespace()):
        request = processor.process_inputs("id", PROMPT, params)
        assert processor.seen[-1][2] is params
        assert request.sampling_params == (None if params is pooling else params)


@pytest.mark.parametrize(
    ("params", "prompt", "options", "why"),
    [
        (think("settled"), PROMPT, {}, "in place of LLM"),
        (think("budget:9"), PROMPT, {"follows": False}, "in place of LLM"),
        (think("budget:9", ignore_eos=True), PROMPT, {}, "ignore_eos"),
        (think("budget:9", structured_outputs="json"), PROMPT, {}, "grammar of structured outputs"),
        (think("bugdet:9"), PROMPT, {}, "Did you mean 'budget'"),
        (think("budget:9", room=40, max_tokens=None), [65] * 30, {"context": 64}, "answer_room"),
        (Params(), PROMPT, {"think": "settled"}, "in place of LLM"),
    ],
)
def test_what_workers_cannot_do_is_refused(params: Params, prompt: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        Processor(**options).process_inputs("id", prompt, params)


@pytest.mark.parametrize("field", [{EXPECTED: 5}, {EXPECTED: [1, 10**9]}, {SEED: "x"}, {PART: 1}, {PART: 1, SEED: 1}])
def test_what_the_server_adds_is_not_taken_from_clients(field: dict[str, Any]) -> None:
    for fields in (field, {**field, "laconic.think": "budget:9"}):
        with pytest.raises(Refused, match="is not for clients"):
            Processor().process_inputs("id", PROMPT, Params(extra_args=fields))


@pytest.mark.parametrize(
    ("params", "think"),
    [
        (Params(thinking_token_budget=8192, max_tokens=100), ""),
        (Params(thinking_token_budget=9, ignore_eos=True), ""),
        (Params(thinking_token_budget=9, structured_outputs="json"), ""),
        (Params(max_tokens=20), "budget:64"),
        (Params(ignore_eos=True), "loop-break"),
    ],
)
def test_who_names_nothing_of_laconics_is_never_refused_for_it(
    params: Params, think: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins(monkeypatch)
    processor, before = Processor(think=think), copy.deepcopy(params)
    request = processor.process_inputs("id", PROMPT, params)
    assert params == before
    assert request.sampling_params == replace(params, extra_args=left_alone(params))
    assert host(think=think).asked(request.sampling_params) is None  # as its workers see it


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"think": "setled"}, "Did you mean 'settled'"),
        ({"efforts": {"low": "budget:many"}}, "valid integer"),
        ({"efforts": {"lo": "budget:9"}}, "Did you mean 'low'"),
        ({"think": "handbook:somewhere.md"}, "names a file"),
    ],
)
def test_settings_are_tried_out_at_start_up(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(LaconicError, match=why):
        host(**settings).check()
    assert "settled" in host(think="settled", efforts={"high": "none"}).check()


@pytest.mark.parametrize("name", ["laconic", "Laconic.think", "laconic_think", "laconic.thnk"])
def test_a_field_that_is_nearly_ours_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="no field of laconic's"):
        host().asked(Params(extra_args={name: "budget:9"}))


def test_a_budget_is_vllms_own_where_the_workers_do_not_ask() -> None:
    params = Params(thinking_token_budget=9)
    assert Processor(follows=False).process_inputs("id", PROMPT, params).sampling_params == params


def test_a_prompt_that_is_still_being_sent_is_refused() -> None:
    with pytest.raises(Refused, match="still being sent"):
        Processor().process_inputs("id", PROMPT, think("budget:9"), resumable=True)
    assert Processor().process_inputs("id", PROMPT, Params(), resumable=True).sampling_params == Params()


class State:
    """vLLM's state of a request in its server."""

    def completion(self, tokens: list[int], finish: str | None, stop: Any) -> Any:
        return SimpleNamespace(token_ids=tokens, finish_reason=finish, stop_reason=stop)

    _new_completion_output = reporting(completion)


@marking
def new_state(tokenizer: Any, request: Any, extra: int) -> State:
    assert (tokenizer, extra) == ("tokenizer", 1)
    return State()


@pytest.mark.parametrize(
    ("mine", "finish", "stop", "told"),
    [
        (True, "stop", 263, ("error", FAULT)),
        (True, "stop", 7, ("stop", 7)),
        (True, "stop", None, ("stop", None)),
        (True, "length", None, ("length", None)),
        (True, None, None, (None, None)),
        (False, "stop", 263, ("stop", 263)),
    ],
)
def test_a_failed_control_is_told_as_an_error(mine: bool, finish: Any, stop: Any, told: tuple[Any, Any]) -> None:
    params = think("budget:9", stop_token_ids=[7]) if mine else Params(stop_token_ids=[7, 263])
    request = Processor().process_inputs("id", PROMPT, params)
    state = new_state("tokenizer", request, extra=1)
    output = state._new_completion_output([1], finish, stop)
    assert (output.finish_reason, output.stop_reason) == told


def test_states_of_pooling_requests_are_left_alone() -> None:
    state = new_state("tokenizer", SimpleNamespace(sampling_params=None), extra=1)
    assert not hasattr(state, "laconic_fault")


def test_a_method_of_someone_else_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes_of_methods(monkeypatch)
    assert host().asked(think("faulty:ruling=true")) == Asked(("faulty:ruling=true",))


def test_an_engine_whose_tokenizer_cannot_be_read_is_left_to_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Text:
        raise ValueError("no such tokenizer")

    monkeypatch.setattr("laconic.vllm.host.load_text", broken)
    config = configuration()
    there = workers.holding(lambda *_, **__: None, lambda: config)()
    assert not there.has_tracked_requests()
    assert Host.of(config).asked(Params(thinking_token_budget=9)) is None
    config.additional_config = {"laconic": {"think": "settled"}}
    with pytest.raises(ValueError, match="no such tokenizer"):  # here something was asked
        workers.holding(lambda *_, **__: None, lambda: config)()
