"""Drafting beside the target: exact, whatever is ready when, and ready when it was guessed right."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Sequence

import pytest

from laconic.engine import Engine, Methods
from laconic.errors import UnmetNeed
from laconic.models.base import Scores, ScoreTree, Slot
from laconic.models.causal_lm import CausalLM
from laconic.models.wrapper import Wrapper
from laconic.speculation.drafters.pearl import Lane
from laconic.types import Limits, Request, Result, Sampling
from tests import tiny

TEXT = tiny.text()
MODEL = tiny.model(0, bias=tiny.REASONER)


def requests(temperature: float = 0.0, bias: tuple[tuple[int, float], ...] = ()) -> list[Request]:
    prompts = [f"What is {i}+{i}?{'And again. ' * i}<think>\n" for i in range(4)]
    return [
        Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i, logit_bias=bias), Limits(40))
        for i, p in enumerate(prompts)
    ]


def tokens(results: Sequence[Result]) -> list[tuple[int, ...]]:
    return [tuple(result.tokens) for result in results]


class Slow(Wrapper):
    """A model whose passes take a while, in which others can work; it remembers who asked for them."""

    def __init__(self, model: CausalLM, seconds: float) -> None:
        super().__init__(model)
        self.seconds = seconds
        self.threads: set[int] = set()

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        return super().score(trees, slots)


@pytest.mark.parametrize("disturbed", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_texts_are_plain_decodings(disturbed: float, temperature: float) -> None:
    target, draft = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, disturbed) if disturbed else copy.deepcopy(MODEL))
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(requests(temperature)))
    for length in ("constant:4", "svip", "aimd"):
        engine = Engine(target, TEXT, Methods(drafter="pearl:[draft-model]", length=length), draft)
        for batch in (1, 3):
            results = engine.run(requests(temperature), batch=batch)
            assert tokens(results) == plain, (length, batch)
            assert sum(result.usage.accepted for result in results) > 0 or disturbed > 0.5
        assert not target.slots
        assert not draft.slots


def test_drafts_are_ready_when_the_target_is() -> None:
    """A target that takes long enough for a whole draft, and a draft model that is always right."""
    target, draft = Slow(CausalLM(MODEL), 0.2), Slow(CausalLM(copy.deepcopy(MODEL)), 0.0)
    engine = Engine(target, TEXT, Methods(drafter="pearl:[draft-model],most=8", length="constant:4", think=()), draft)
    (result,) = engine.run([Request(tuple(TEXT.encode("Why?")), Sampling(), Limits(30))])
    usage = result.usage
    assert usage.accepted == usage.drafted
    # Only the first pass goes without a draft; later ones write five tokens, the first of which was guessed as well.
    assert usage.target_passes <= 2 + -(-len(result.tokens) // 5)
    assert usage.draft_passes >= usage.drafted
    assert len(draft.threads - target.threads) == 1, "the draft model's passes are made in a thread of their own"


def test_drafting_stops_when_the_target_is_done() -> None:
    target, draft = CausalLM(MODEL), Slow(CausalLM(copy.deepcopy(MODEL)), 0.05)
    engine = Engine(target, TEXT, Methods(drafter="pearl:[draft-model],most=200", length="constant:8"), draft)
    (result,) = engine.run([Request(tuple(TEXT.encode("Why?")), Sampling(), Limits(20))])
    assert result.usage.draft_passes < 20 * len(result.tokens), "nobody waited for two hundred tokens"


def test_what_was_drawn_ahead_has_the_targets_law() -> None:
    """Speculative sampling of drafts drawn in the thread: the first tokens of many requests, against plain draws."""
    target, draft = Slow(CausalLM(MODEL), 0.005), CausalLM(tiny.noisy(MODEL, 0.3))  # slow enough for a draft meanwhile
    methods = Methods(drafter="pearl:[draft-model]", length="constant:3", verifier="speculative-sampling", think=())
    prompt = tuple(TEXT.encode("So"))
    asked = [Request(prompt, Sampling(1.0, top_k=3, seed=seed), Limits(5)) for seed in range(1500)]
    mine = Engine(target, TEXT, methods, draft).run(asked, batch=50)
    plain = Engine(target, TEXT, Methods(drafter="none", think=())).run(asked, batch=50)
    assert sum(result.usage.accepted for result in mine) > 100
    for place in range(5):
        count: dict[int, list[int]] = {}
        for side, results in enumerate((mine, plain)):
            for result in results:
                if len(result.tokens) > place:
                    count.setdefault(result.tokens[place], [0, 0])[side] += 1
        for token, (one, other) in count.items():
            assert abs(one - other) < 5 * (one + other + 1) ** 0.5, (place, token)


def test_requests_with_rules_are_drafted_for_in_turn() -> None:
    target, draft = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1))
    biased = requests(0.0, bias=((TEXT.encode("4")[0], 3.0),))
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(biased))
    engine = Engine(target, TEXT, Methods(drafter="pearl:[draft-model]", length="constant:4"), draft)
    results = engine.run([*biased[:2], *requests()[2:]], batch=4)
    assert tokens(results)[:2] == plain[:2]
    assert all(result.usage.accepted for result in results)


def test_drafters_without_a_model_can_be_asked_ahead_too() -> None:
    target = CausalLM(MODEL)
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(requests()))
    for drafter in ("pearl:[suffix]", "pearl:[prompt-lookup]"):
        assert tokens(Engine(target, TEXT, Methods(drafter=drafter)).run(requests(), batch=2)) == plain


@pytest.mark.parametrize("drafter", ["stand", "layer-skip:1", "hybrid:[suffix]+[token-recycling]"])
def test_what_needs_the_targets_own_pass_is_refused(drafter: str) -> None:
    with pytest.raises(UnmetNeed, match="while it does"):
        Engine(CausalLM(MODEL), TEXT, Methods(drafter=f"pearl:[{drafter}]")).run(requests()[:1])


def test_what_goes_wrong_in_the_thread_is_raised_in_the_loop() -> None:
    class Broken(Slow):
        def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
            raise RuntimeError("the draft model broke")

    target = CausalLM(MODEL)
    engine = Engine(target, TEXT, Methods(drafter="pearl:[draft-model]"), Broken(CausalLM(copy.deepcopy(MODEL)), 0.0))
    with pytest.raises(RuntimeError, match="the draft model broke"):
        engine.run(requests()[:1])
    assert not target.slots
    lane = Lane()
    lane.join()  # of nothing
