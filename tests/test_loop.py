"""The fast loop against the slow one: same tokens, whatever drafts, shapes, batch or probes are in use."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from laconic import Engine, Format, Limits, Methods, Request, Result, Sampling, reference
from laconic.loop import Loop
from laconic.models.causal_lm import CausalLM
from laconic.models.text import Text
from laconic.policy import registry
from laconic.prober import Prober
from laconic.speculation.pace import Pace
from laconic.thinking.base import Controller
from tests import tiny

MODEL = tiny.model(0, bias=tiny.REASONER)
TEXT = tiny.text()
TARGET, DRAFT = CausalLM(tiny.noisy(MODEL, 0.0)), CausalLM(tiny.noisy(MODEL, 0.1))
PROMPTS = [
    tuple(TEXT.encode("Hello there! What is 2+2?" * (i % 3 + 1) + "<think>\n" * (i % 2 or i == 4))) for i in range(6)
]
THINK = {
    "free": (),
    "budget": ("budget:20",),
    "exit": ("answer-confidence:threshold=0.2",),
    "both": ("budget:25", "answer-confidence:threshold=0.2,patience=2"),
    "never": ("answer-confidence:threshold=1.0,aggregate=min",),
    "slips": ("settled:0.06",),
}
METHODS = {
    "plain": {"drafter": "none"},
    "separate": {"drafter": "none", "probes": "separate"},
    "lookup": {"drafter": "prompt-lookup"},
    "suffix": {"drafter": "suffix", "length": "aimd"},
    "suffix-tree": {"drafter": "suffix", "shape": "best-first", "probes": "separate"},
    "hybrid": {"drafter": "suffix:fallback=[draft-model]"},
    "model": {"drafter": "draft-model"},
    "model-tree": {"drafter": "draft-model", "shape": "best-first", "length": "constant:10"},
    "bandit": {
        "drafter": "bandit:algorithm=exp3,even=1,arms=suffix|prompt-lookup@constant:3|draft-model@svip"
        "|draft-model@constant:9@best-first|[suffix:min_prob=0.3,fallback=[draft-model]]@[aimd:maximum=9]|none"
    },
    "bandit-ucb": {"drafter": "bandit:arms=draft-model@marginal|suffix@bandit|none", "probes": "separate"},
    "diffuspec": {"drafter": "draft-model", "length": "diffuspec"},
    "model-svip": {"drafter": "draft-model", "length": "svip:threshold=0.9"},
}


def logits(tokens: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        return MODEL(torch.tensor([list(tokens)])).logits[0, -1]


def requests(temperature: float) -> list[Request]:
    return [Request(p, Sampling(temperature=temperature, seed=i), Limits(60)) for i, p in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def expected() -> dict[tuple[str, float], list[tuple[list[int], str]]]:
    out = {}
    for think, specs in THINK.items():
        for temperature in (0.0, 0.8):
            controllers: list[Controller] = [registry.build("think", spec) for spec in specs]  # type: ignore[misc]
            out[think, temperature] = [
                reference.decode(logits, TEXT, r, controllers, TARGET.context) for r in requests(temperature)
            ]
    return out


def run(think: str, temperature: float, batch: int, **methods: str) -> list[Result]:
    engine = Engine(TARGET, TEXT, Methods(verifier="match", think=THINK[think], **methods), DRAFT)  # type: ignore[arg-type]
    return engine.run(requests(temperature), batch=batch)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("think", THINK)
@pytest.mark.parametrize("method", METHODS)
def test_equals_the_reference_loop(expected, method: str, think: str, temperature: float, batch: int) -> None:
    results = run(think, temperature, batch, **METHODS[method])
    assert [(list(r.tokens), r.finish_reason) for r in results] == expected[think, temperature]


def test_the_cases_above_are_not_trivial(expected) -> None:
    """The controllers act, some only after a probe that took several passes, and free thinking differs from them."""
    exits = run("exit", 0.8, 1, drafter="draft-model")
    assert any(r.events for r in exits)
    assert any(r.usage.probed for r in exits)
    assert any(r.events for r in run("budget", 0.0, 1, drafter="none"))
    assert expected["exit", 0.8] != expected["free", 0.8]
    assert expected["both", 0.8] != expected["exit", 0.8]
    assert {finish for _, finish in expected["free", 0.8]} == {"stop", "length"}
    assert any(
        r.usage.accepted and r.usage.accepted < r.usage.drafted for r in run("free", 0.0, 1, drafter="draft-model")
    )


def test_greedy_speculative_sampling_is_the_plain_text(expected) -> None:
    engine = Engine(TARGET, TEXT, Methods(drafter="draft-model", verifier="speculative-sampling"), DRAFT)
    assert [list(r.tokens) for r in engine.run(requests(0.0), batch=3)] == [
        tokens for tokens, _ in expected["free", 0.0]
    ]


@pytest.mark.parametrize("think", THINK)
def test_usage_adds_up(think: str) -> None:
    for result in run(think, 0.8, 3, drafter="draft-model", length="constant:4"):
        usage = result.usage
        assert usage.generated == len(result.tokens) <= 60
        assert 0 <= usage.accepted <= usage.drafted
        assert usage.target_passes > 0
        assert usage.draft_passes > 0
        assert usage.thinking + usage.answer <= usage.accepted + usage.target_passes


def test_budgets_hold_exactly() -> None:
    for tokens in (1, 2, 7, 19):
        engine = Engine(
            TARGET, TEXT, Methods(drafter="draft-model", verifier="match", think=(f"budget:{tokens}",)), DRAFT
        )
        request = [Request(p, Sampling(0.8, seed=5), Limits(100)) for p in PROMPTS]
        for result in engine.run(request, batch=4):
            assert result.usage.thinking <= tokens


@pytest.mark.parametrize("drafter", ["none", "suffix"])
def test_thinking_control_with_tags_of_several_tokens(drafter: str) -> None:
    """Some tokenizers spell their tags; budgets, exits and answers are the reference's all the same."""
    text = Text(tiny.tokenizer(tags_as_tokens=False), format=Format("<think>", "</think>"))
    assert text.close_token is None
    think = ("budget:30", "answer-confidence:threshold=0.2")
    controllers: list[Controller] = [registry.build("think", spec) for spec in think]  # type: ignore[misc]
    asked = [Request(tuple(text.encode(f"{i}?<think>\n")), Sampling(0.8, seed=i), Limits(70)) for i in range(5)]
    expected = [reference.decode(logits, text, r, controllers, TARGET.context) for r in asked]
    results = Engine(TARGET, text, Methods(drafter=drafter, verifier="match", think=think)).run(asked, batch=2)
    assert [(list(r.tokens), r.finish_reason) for r in results] == expected
    assert any(r.events for r in results)
    assert all(r.usage.thinking <= 30 for r in results)


def test_streaming_gives_the_same_text_in_pieces() -> None:
    engine = Engine(TARGET, TEXT, Methods(drafter="draft-model", think=THINK["exit"]), DRAFT)
    for seed in range(4):
        options = {"sampling": Sampling(0.8, seed=seed), "limits": Limits(80)}
        whole = engine.generate("What is 2+2?", **options)
        stream = engine.stream("What is 2+2?", **options)
        steps = list(stream)
        assert [t for step in steps for t in step.tokens] == list(whole.tokens) == list(stream.result.tokens)
        shown = "".join(step.text for step in steps)
        assert shown.removesuffix("<|im_end|>") == whole.text
        assert sum(step.drafted for step in steps) == stream.result.usage.drafted
        assert all(step.method for step in steps if step.kind == "injected")


def test_leaving_a_stream_frees_the_cache_and_keeps_what_was_written() -> None:
    engine = Engine(TARGET, TEXT, Methods(drafter="draft-model"), DRAFT)
    open_before = len(TARGET.slots), len(DRAFT.slots)
    stream = engine.stream("What is 2+2?", limits=Limits(200))
    steps = iter(stream)
    next(steps)
    next(steps)
    steps.close()
    assert stream.result.finish_reason == "cancelled"
    assert stream.result.tokens
    assert (len(TARGET.slots), len(DRAFT.slots)) == open_before


def test_requests_do_not_touch_each_other() -> None:
    """A request's text is the same alone, and in a batch where others come and go."""
    engine = Engine(TARGET, TEXT, Methods(drafter="suffix", verifier="match"))
    alone = [engine.run([r])[0].tokens for r in requests(0.8)]
    mixed = engine.run(requests(0.8) + requests(0.0), batch=3)
    assert [r.tokens for r in mixed[: len(alone)]] == alone


@pytest.mark.parametrize("extra", [-8, 24])
def test_a_draft_model_may_pad_its_vocabulary_otherwise(expected, extra: int) -> None:
    """Checkpoints of one family share a tokenizer, and round the width of their logits up differently."""
    small = tiny.noisy(MODEL, 0.1)
    width = small.lm_head.out_features + extra
    head = torch.nn.Linear(small.config.hidden_size, width)
    with torch.no_grad():
        rows = min(width, small.lm_head.out_features)
        head.weight[:rows] = small.lm_head.weight[:rows]
        head.bias.fill_(50.0)  # what the target has no token for looks best to the draft model
        head.bias[:rows] = small.lm_head.bias[:rows]
    small.lm_head = head.requires_grad_(False)
    for temperature in (0.0, 0.8):
        engine = Engine(TARGET, TEXT, Methods(drafter="draft-model", verifier="match"), CausalLM(small))
        results = engine.run(requests(temperature), batch=2)
        assert [list(r.tokens) for r in results] == [tokens for tokens, _ in expected["free", temperature]]
        assert sum(r.usage.accepted for r in results) > 0
    sampled = Engine(TARGET, TEXT, Methods(drafter="draft-model"), CausalLM(small)).run(requests(0.8), batch=2)
    assert sum(r.usage.accepted for r in sampled) > 0


class Priced(Pace):
    """A pace that knows what a pass over n nodes costs: ``fixed + each * n``."""

    fixed, each = 1.0, 0.0
    known = True  # type: ignore[assignment]

    def target_pass(self, nodes: float) -> float:
        return self.fixed + self.each * nodes

    def node(self, nodes: float) -> float:
        return self.each


def test_a_request_writes_beside_its_probe_where_that_is_cheaper() -> None:
    """Nodes that cost nothing ride along; dear ones wait, unless thoughts go on anyway. The text is the same."""
    passes = {}
    for each, stays in ((0.0, 0.1), (1.0, 0.1), (1.0, 1.0)):
        made = Engine(TARGET, TEXT, Methods(drafter="none", length="constant:4", think=THINK["never"]), DRAFT)
        made.pace = pace = Priced()
        pace.each, pace.stays = each, stays
        pace.decided = lambda **_: None  # type: ignore[method-assign]  # as if it had always been so
        results = made.run(requests(0.0), batch=1)
        passes[each, stays] = sum(result.usage.probe_passes for result in results)
        assert [list(r.tokens) for r in results] == [list(r.tokens) for r in run("never", 0.0, 1, drafter="none")]
    assert passes[1.0, 0.1] > 10, passes
    assert passes[0.0, 0.1] == passes[1.0, 1.0] == 0, passes


def test_how_often_thoughts_go_on_is_learned() -> None:
    made = Engine(TARGET, TEXT, Methods(drafter="none", think=THINK["never"]), DRAFT)
    made.run(requests(0.8))
    assert made.pace.stays > 0.7, "this controller never ends a thought"
    ends = Engine(TARGET, TEXT, Methods(drafter="none", think=("answer-confidence:0.0001",)), DRAFT)
    ends.run(requests(0.8) * 4)
    assert ends.pace.stays < 0.5


class TestProbesAskedAhead:
    """A probe rides on the pass that verifies its step; what it found is taken over where the thought ends there."""

    GOOD_DRAFT = CausalLM(tiny.noisy(MODEL, 0.0))

    def served(self, think: str, temperature: float = 0.0, batch: int = 1) -> list[Result]:
        methods = Methods(drafter="draft-model", length="constant:12", verifier="match", think=(think,))
        made = Engine(TARGET, TEXT, methods, self.GOOD_DRAFT)
        made.pace = Priced()
        return made.run(requests(temperature), batch=batch)

    @pytest.mark.parametrize("temperature", [0.0, 0.8])
    @pytest.mark.parametrize("batch", [1, 3])
    @pytest.mark.parametrize(
        "think", ["answer-confidence:0.0001", "answer-confidence:0.05", "settled:5", "settled:0.03"]
    )
    def test_both_save_passes_and_change_no_token(
        self, monkeypatch: pytest.MonkeyPatch, think: str, batch: int, temperature: float
    ) -> None:
        both = self.served(think, temperature, batch)
        monkeypatch.setattr(Loop, "_take_over", lambda *_: None)
        ahead = self.served(think, temperature, batch)
        monkeypatch.setattr(Prober, "ask_ahead", lambda *_: None)
        neither = self.served(think, temperature, batch)
        assert [r.tokens for r in both] == [r.tokens for r in ahead] == [r.tokens for r in neither]
        assert [r.events for r in both] == [r.events for r in ahead] == [r.events for r in neither]
        passes = [sum(r.usage.target_passes for r in some) for some in (both, ahead, neither)]
        assert passes[0] <= passes[1] <= passes[2], passes
        if think in ("answer-confidence:0.0001", "settled:5"):
            assert sum(len(r.events) for r in both) > 2
            assert passes[0] < passes[1] < passes[2], passes

    def test_one_that_was_in_vain_is_dropped(self) -> None:
        """A draft that is often wrong ends steps that never come to be."""
        made = Engine(TARGET, TEXT, Methods(drafter="draft-model", length="constant:12", think=THINK["exit"]), DRAFT)
        made.pace = pace = Priced()
        outcomes: list[bool] = []
        pace.asked_ahead = lambda *, reached: outcomes.append(reached)  # type: ignore[method-assign]
        found = made.run(requests(0.8), batch=2)
        assert [list(r.tokens) for r in found] == [list(r.tokens) for r in run("exit", 0.8, 1, drafter="none")]
        assert set(outcomes) == {True, False}

    def test_not_where_it_would_cost_more_than_it_saves(self) -> None:
        pace = Priced()
        assert pace.asks_ahead(0, 10), "nodes are free"
        pace.fixed, pace.each = 0.0, 1.0
        assert not pace.asks_ahead(0, 10), "every node is paid for, and some are in vain"
        pace.fixed, pace.each = 10.0, 1.0
        assert pace.asks_ahead(0, 10)
        for _ in range(200):
            pace.asked_ahead(reached=False)
        assert not pace.asks_ahead(0, 10), "always in vain"
        for _ in range(200):
            pace.forget_ahead()
        assert pace.asks_ahead(0, 10), "and tried again some day"
