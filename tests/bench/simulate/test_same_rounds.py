"""The simulated server and the real loop make the same rounds: what each request drafted and what was accepted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest

from laconic import Engine, Limits, Methods, Request
from laconic.bench.simulate.jobs import Job
from laconic.bench.simulate.memory import Bounds
from laconic.bench.simulate.record import record
from laconic.bench.simulate.recording import Recording
from laconic.bench.simulate.run import policy
from laconic.bench.simulate.server import Server
from laconic.models.causal_lm import CausalLM
from tests import tiny
from tests.fakes import FakeModel

TEXT = tiny.text()
SPECS = [
    "none",
    "constant:1",
    "constant:4",
    "constant:24",
    "svip:threshold=0.6",
    "confidence:threshold=0.4,maximum=20",
    "confidence:threshold=0.2,aggregate=product",
    "aimd",
    "adaedl",
]
Rounds = list[list[tuple[int, int]]]


class Counting:
    """Costs nothing, and counts like FakeModel."""

    def __init__(self) -> None:
        self.passes = self.scored = self.prefills = 0

    def seconds(self, sizes: Sequence[int], contexts: Sequence[int], later: bool = False) -> float:
        assert len(sizes) == len(contexts)
        assert min(sizes) >= 1
        assert min(contexts) >= 0
        self.passes += 1
        self.scored += sum(sizes)
        return 0.001

    def prefill(self, tokens: int) -> float:
        assert tokens > 0
        self.prefills += 1
        return 0.001


def real_rounds(engine: Engine, requests: Sequence[Request], batch: int) -> Rounds:
    """(drafted, accepted) of every round of every request, in a loop that refills as ``Engine.run`` does."""
    loop, waiting = engine.loop(), deque(requests)
    order, rounds = [], {}
    while waiting or loop.active:
        while waiting and len(loop.active) < batch:
            order.append(loop.add(waiting.popleft()))
            rounds[id(order[-1])] = []
        before = [(s, s.usage.drafted, s.usage.accepted) for s in loop.active]
        loop.step()
        for s, drafted, accepted in before:
            rounds[id(s)].append((s.usage.drafted - drafted, s.usage.accepted - accepted))
    return [rounds[id(s)] for s in order]


def prepared(engine: Engine, prompts: Sequence[Sequence[int]]) -> tuple[Engine, list[Request], Recording]:
    requests = [Request(tuple(prompt), limits=Limits(70 + 3 * i)) for i, prompt in enumerate(prompts)]
    return engine, requests, record(engine, requests, batch=4)


@pytest.fixture(scope="module")
def table() -> tuple[Engine, list[Request], Recording]:
    """A table for a target and one that resembles it; prompts below and above the lengths that are read apart."""
    target = FakeModel.random(3, vocab=12, sharpness=2.5)
    prompts = [[(5 * i + j) % 12 for j in range(size)] for i, size in enumerate((2, 40, 80, 3, 1, 64, 66))]
    return prepared(Engine(target, TEXT, Methods(drafter="none"), target.noisy(5, 0.7)), prompts)


@pytest.fixture(scope="module")
def networks() -> tuple[Engine, list[Request], Recording]:
    """Small random transformers that end some of their texts."""
    model = tiny.model(2, sharpness=4.0, bias=tiny.REASONER)
    target, draft = CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.05))
    prompts = [TEXT.encode(f"Hello there, {name}! " * 3) for name in ("a", "be", "cat", "dog!", "e", "f", "gg")]
    return prepared(Engine(target, TEXT, Methods(drafter="none"), draft), prompts)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("models", ["table", "networks"])
def test_rounds_are_the_same(models: str, spec: str, batch: int, request: pytest.FixtureRequest) -> None:
    engine, requests, recording = request.getfixturevalue(models)
    loop = engine.using(drafter="draft-model", length=spec) if spec != "none" else engine
    counted = [(model, name, getattr(model, name, 0)) for model in (engine.target, engine.draft_model)
               for name in ("passes", "scored", "prefills")]  # fmt: skip
    real = real_rounds(loop, requests, batch)
    target, draft = Counting(), Counting()
    server = Server(target, draft, policy(spec), bounds=Bounds(batch))
    history = server.run([Job(script) for script in recording.scripts], clients=batch)
    assert [served.rounds for served in history.served] == real
    assert spec == "none" or sum(drafted for rounds in real for drafted, _ in rounds) > 30
    if models == "table":  # which counts nodes and prefills, too
        for model, name, before in counted:
            mine = target if model is engine.target else draft
            assert getattr(mine, name) == getattr(model, name) - before, (name, model is engine.target)


def test_what_is_recorded(table, networks) -> None:
    for engine, requests, recording in (table, networks):
        plain = engine.run(requests, batch=3)
        assert [len(script) for script in recording.scripts] == [len(result.tokens) for result in plain]
        assert [script.stopped for script in recording.scripts] == [r.finish_reason == "stop" for r in plain]
        assert 0.2 < recording.hit_rate < 0.98
    scripts = networks[2].scripts
    assert any(script.stopped for script in scripts)
    assert any(stray.ended for script in scripts for stray in script.strays.values())
