"""Rules that go by a trained head: what is kept on disk, what is refused, and the rules themselves."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.errors import HeadError, InvalidKnob, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.speculation.base import Context, Go, Latest, Node
from laconic.speculation.heads import About, AcceptanceHead, load
from laconic.speculation.length.ada_eagle import AdaEAGLE
from laconic.speculation.length.specdec_pp import SpecDecPP
from laconic.speculation.pace import Pace
from tests import heads, tiny
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of

WEIGHTS, ABOUT = "head.safetensors", "head.json"

MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, DRAFT, TEXT = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1)), tiny.text()
METHODS = ("specdec++", "ada-eagle")


def requests(temperature: float, most: int = 40) -> list[Request]:
    prompts = [f"What is {i}+{i}?<think>\n" for i in range(4)]
    return [Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i), Limits(most)) for i, p in enumerate(prompts)]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_read_again(method: str, tmp_path: Path) -> None:
    made = heads.head(method, TARGET, DRAFT)
    made.save(tmp_path)
    found = load(tmp_path, method)
    assert found.about == made.about
    x = torch.randn(made.about.inputs)
    assert found(x) == made(x)
    assert found(x.bfloat16()) == pytest.approx(made(x), abs=0.2)


def test_the_acceptance_head_is_the_papers_with_inputs_brought_to_scale() -> None:
    head = AcceptanceHead(3, 1)
    head.standard.settle(torch.tensor([[0.0, 0.0, 1.0], [2.0, 4.0, 1.0]]))
    layer, last = head.body[0].linear, head.body[1]
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3) * 2)
        layer.bias.zero_()
        last.weight.fill_(1.0)
        last.bias.fill_(0.25)
    z = [1 / math.sqrt(2), -1 / math.sqrt(2), 0.0]
    expected = sum(v + 2 * v / (1 + math.exp(-2 * v)) for v in z) + 0.25
    assert float(head(torch.tensor([2.0, 0.0, 1.0])).detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_one_input_at_a_time_gives_what_a_batch_gives(method: str) -> None:
    made = heads.head(method, TARGET, DRAFT)
    x = torch.cat([torch.randn(20, made.about.inputs) * 3, torch.full((1, made.about.inputs), -1e4)])
    with torch.inference_mode():
        expected = made.head(x)
    assert [made(row) for row in x] == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_heads_that_do_not_fit_are_refused_by_name(method: str, tmp_path: Path) -> None:
    spec = heads.spec(tmp_path, method, TARGET, DRAFT)
    Engine(TARGET, TEXT, Methods(drafter="draft-model", length=spec), DRAFT)
    other = CausalLM(tiny.noisy(MODEL, 0.3))
    pair = (TARGET, other) if method == "specdec++" else (other, DRAFT)
    with pytest.raises(HeadError, match=f"another .*{pair[method == 'specdec++'].fingerprint()}") as error:
        Engine(pair[0], TEXT, Methods(drafter="draft-model", length=spec), pair[1])
    assert f"laconic fit {method}" in error.value.hint
    wrong = next(name for name in METHODS if name != method)
    with pytest.raises(HeadError, match=re.escape(f"trained for '{method}'")):
        Engine(TARGET, TEXT, Methods(drafter="draft-model", length=spec.replace(method, wrong, 1)), DRAFT)


@pytest.mark.parametrize("method", METHODS)
def test_missing_and_damaged_heads_say_where_one_comes_from(method: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidKnob, match="'head'") as missing:
        build("length", method)
    assert f"laconic fit {method}" in missing.value.hint
    with pytest.raises(HeadError, match="no trained head at") as absent:
        build("length", f"{method}:head={tmp_path / 'nowhere'}").suits(TARGET, DRAFT)
    assert f"laconic fit {method}" in absent.value.hint
    made = heads.head(method, TARGET, DRAFT)
    for file, content in (
        (WEIGHTS, b"nonsense"),
        (ABOUT, b"{"),
        (ABOUT, json.dumps({"method": method}).encode()),
        (ABOUT, b"[]"),
    ):
        made.save(tmp_path)
        (tmp_path / file).write_bytes(content)
        with pytest.raises(HeadError, match="is damaged"):
            load(tmp_path, method)
    made.save(tmp_path)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps(about | {"layers": about["layers"] + 1}))
    with pytest.raises(HeadError, match="is damaged"):
        load(tmp_path, method)


def saying(policy: object, *chances: float, state: Literal["at", "before"] = "at") -> None:
    """Let the head of ``policy`` say ``chances[i]`` at the state that holds i."""
    odds = [math.inf if p == 1 else -math.inf if p == 0 else math.log(p / (1 - p)) for p in chances]
    about = heads.head("specdec++", TARGET, DRAFT, state=state).about
    vars(policy)["_trained"] = Said(about, odds)


@dataclass
class Said:
    """In place of a trained head."""

    about: About
    odds: list[float]

    def __call__(self, hidden: torch.Tensor) -> float:
        return self.odds[int(hidden[0])]


def drafted(policy, state, count: int, path=None) -> int:
    """Tokens of a draft of at most ``count``; the state at token d holds d, so a question comes with the one before."""
    policy.budget(state)
    for depth in range(count):
        hidden = torch.tensor([float(depth - 1)])
        if policy.go_on(state, Node(depth, None, 0.5, path, hidden)) is Go.STOP:
            return depth
    return count


@pytest.mark.parametrize(
    ("chances", "threshold", "length"),
    [
        ((0.9, 0.9, 0.9, 0.9), 0.25, 3),  # 0.9, 0.81, 0.729: the third is verified still, and the last of all
        ((0.9, 0.9, 0.9, 0.9), 0.35, 4),
        ((0.4, 0.9, 0.9, 0.9), 0.7, 4),  # 1 - 0.4, 1 - 0.36, 1 - 0.324 = 0.676
        ((0.4, 0.8, 0.9, 0.9), 0.7, 3),  # 1 - 0.4 * 0.8 * 0.9 = 0.712
        ((0.29, 1.0, 1.0, 1.0), 0.7, 1),
        ((0.0, 1.0, 1.0, 1.0), 1.0, 4),
        ((1.0, 1.0, 1.0, 1.0), 0.0, 4),
        ((0.999, 1.0, 1.0, 1.0), 0.0, 1),
    ],
)
def test_drafts_while_a_refusal_is_unlikely_enough(chances: tuple[float, ...], threshold: float, length: int) -> None:
    policy = build("length", f"specdec++:head=x,threshold={threshold}")
    saying(policy, *chances)
    state = policy.start(context_of([1]), Pace())
    assert drafted(policy, state, 4) == length
    assert drafted(policy, state, 4) == length, "each draft begins anew"
    assert policy.budget(state) == 20


def test_by_the_state_before_a_token_it_is_left_out_itself() -> None:
    policy = build("length", "specdec++:head=x,threshold=0.35")
    saying(policy, 0.9, 0.9, 0.9, 0.8, state="before")  # by index, so the state that holds -1 says 0.8
    state = policy.start(context_of([1]), Pace())
    assert drafted(policy, state, 4) == 2, "0.8 * 0.9 = 0.72; 0.648 with the third"
    assert drafted(policy, state, 4) == 2
    saying(policy, 0.9, 0.9, 0.9, 0.6, state="before")
    assert drafted(policy, state, 4) == 0
    saying(policy, 0.9, 0.5, state="before")
    tree = [policy.go_on(state, Node(1, None, 0.5, path, torch.tensor([0.0]))) for path in (0.73, 0.71)]
    assert tree == [Go.ON, Go.STOP], "0.73 * 0.9 = 0.657"


def test_in_a_tree_the_less_sure_of_head_and_drafter_counts() -> None:
    policy = build("length", "specdec++:head=x,threshold=0.5")
    saying(policy, 0.4, 0.9)
    state = policy.start(context_of([1]), Pace())

    def go(at: int, path: float) -> Go:
        return policy.go_on(state, Node(2, None, 0.5, path, torch.tensor([float(at)])))

    assert [go(1, 0.8), go(0, 0.8), go(1, 0.45), go(1, 0.8)] == [Go.ON, Go.STOP, Go.STOP, Go.ON]


def test_states_that_nobody_gives_are_an_error_and_not_a_guess() -> None:
    policy = build("length", "specdec++:head=x")
    saying(policy, 0.5)
    state = policy.start(context_of([1]), Pace())
    assert policy.go_on(state, Node(0, None, 0.5)) is Go.ON
    with pytest.raises(UnmetNeed, match="hidden states"):
        policy.go_on(state, Node(1, None, 0.5))
    with pytest.raises(UnmetNeed, match="hidden states"):
        build("length", "ada-eagle:head=x").start(context_of([1]), Pace())


@pytest.mark.parametrize(("said", "budget"), [(-3.0, 1), (0.4, 1), (2.6, 3), (7.4, 7), (99.0, 12)])
def test_as_many_are_drafted_as_are_expected_to_be_accepted(said: float, budget: int, tmp_path: Path) -> None:
    policy = build("length", f"{heads.spec(tmp_path, 'ada-eagle', TARGET, DRAFT)},maximum=12")
    context = context_of([1])
    context.latest = Latest()
    state = policy.start(context, Pace())
    assert policy.budget(state) == 3, "the mean of training, while there is no state"
    trained = policy._trained
    with torch.no_grad():
        trained.head.body[-1].weight.zero_()
        trained.head.body[-1].bias.fill_(said)
    context.latest.hidden = context.latest.embedding = torch.zeros(TARGET.hidden_size)
    assert policy.budget(state) == budget
    context.latest.forget()
    assert policy.budget(state) == 3
    assert not policy.judges
    both = build("length", "ada-eagle:head=x,threshold=0.4")
    assert both.judges
    assert [both.go_on(state, Node(0, None, c)) for c in (0.4, 0.39)] == [Go.ON, Go.STOP]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("shape", ["chain", "best-first", "dyspec", "best-first:per_level=4,depth=3"])
@pytest.mark.parametrize(("method", "state"), [(METHODS[0], "at"), (METHODS[0], "before"), (METHODS[1], "at")])
def test_output_is_that_of_plain_decoding(
    method: str, state: str, shape: str, temperature: float, tmp_path: Path
) -> None:
    plain = Engine(TARGET, TEXT, Methods(drafter="none")).run(requests(temperature))
    spec = heads.spec(tmp_path, method, TARGET, DRAFT, state=state)
    engine = Engine(TARGET, TEXT, Methods(drafter="draft-model", length=spec, shape=shape), DRAFT)
    for batch in (1, 3):
        found = engine.run(requests(temperature), batch=batch)
        assert [r.tokens for r in found] == [r.tokens for r in plain]
    assert sum(r.usage.drafted for r in found) > 0


def states_seen(monkeypatch: pytest.MonkeyPatch, methods: Methods, text: object = TEXT) -> list[tuple[Context, int]]:
    """Run requests and check every state that a length policy was shown against a pass over the whole text."""
    original, seen = tiny.model(0, bias=tiny.REASONER), []
    contexts: dict[int, Context] = {}
    start, budget = AdaEAGLE.start, AdaEAGLE.budget

    def started(self, context, pace):
        contexts[id(context.latest)] = context
        return start(self, context, pace)

    def asked(self, state):
        context = contexts[id(state)]
        if state.hidden is not None:
            with torch.inference_mode():
                made = original(torch.tensor([context.tokens[:-1]]), output_hidden_states=True)
            torch.testing.assert_close(state.hidden, made.hidden_states[-1][0, -1], atol=1e-4, rtol=1e-4)
            assert torch.equal(state.embedding, original.get_input_embeddings().weight[context.tokens[-1]])
        seen.append((context, state.hidden is not None))
        return budget(self, state)

    monkeypatch.setattr(AdaEAGLE, "start", started)
    monkeypatch.setattr(AdaEAGLE, "budget", asked)
    Engine(TARGET, text, methods, DRAFT).run(requests(0.8, 100), batch=3)
    return seen


@pytest.mark.parametrize("shape", ["chain", "best-first"])
@pytest.mark.parametrize("think", [(), ("budget:9",), ("answer-confidence:threshold=0.05",)])
def test_the_state_is_that_of_the_text_as_it_stands(
    think: tuple[str, ...], shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through accepted drafts, refusals, limits, probes and what a controller takes back and writes."""
    spec = heads.spec(tmp_path, "ada-eagle", TARGET, DRAFT)
    seen = states_seen(monkeypatch, Methods("draft-model", spec, shape, think=think))
    known = sum(known for _, known in seen)
    assert known > len(seen) / 2
    firsts = len({id(context) for context, _ in seen})
    assert len(seen) - known >= firsts
    if think == ("budget:9",):  # after the other one the expected answer is drafted, and no length is asked for
        assert len(seen) - known > firsts, "what a controller wrote makes the state unknown"


def test_models_that_show_no_states_are_refused(tmp_path: Path) -> None:
    fake = FakeModel.random(0, vocab=264)
    for method in METHODS:
        spec = heads.spec(tmp_path, method, TARGET, DRAFT)
        with pytest.raises(UnmetNeed, match=re.escape(f"'{method}' looks at")):
            Engine(fake, TEXT, Methods(drafter="draft-model", length=spec), fake)
    with pytest.raises(UnmetNeed, match="draft model"):
        Engine(TARGET, TEXT, Methods(drafter="suffix", length=heads.spec(tmp_path, "specdec++", TARGET, DRAFT)))


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_nodes_come_with_the_draft_models_own_state(
    temperature: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At depth d the state after the text and d drafted tokens, whatever else is in the batch."""
    original = tiny.noisy(tiny.model(0, bias=tiny.REASONER), 0.1)
    contexts: dict[int, Context] = {}
    rounds: dict[int, tuple[list[int], list[torch.Tensor]]] = {}
    start, go_on, checked = SpecDecPP.start, SpecDecPP.go_on, 0

    def started(self, context, pace):
        state = start(self, context, pace)
        contexts[id(state)] = context
        return state

    def asked(self, state, node):
        if node.depth == 0:
            rounds[id(state)] = (list(contexts[id(state)].tokens), [])
        rounds[id(state)][1].append(node.hidden)
        return go_on(self, state, node)

    def observed(self, state, verdict, seconds):
        nonlocal checked
        text, hidden = rounds[id(state)]
        for depth, found in enumerate(hidden):
            with torch.inference_mode():
                made = original(torch.tensor([[*text, *verdict.tree.tokens[:depth]]]), output_hidden_states=True)
            torch.testing.assert_close(found, made.hidden_states[-1][0, -1], atol=1e-4, rtol=1e-4)
            checked += 1

    for name, function in (("start", started), ("go_on", asked), ("observe", observed)):
        monkeypatch.setattr(SpecDecPP, name, function)
    spec = heads.spec(tmp_path, "specdec++", TARGET, DRAFT)
    Engine(TARGET, TEXT, Methods("draft-model", spec), DRAFT).run(requests(temperature), batch=3)
    assert checked > 25
