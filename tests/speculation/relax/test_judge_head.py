"""The judge: what it is shown, what it lets stand, and how it is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.fit.judge_head import Recipe, fit
from laconic.bench.fit.mistakes import answer, walks
from laconic.bench.fit.texts import guessed, states
from laconic.bench.grading import same
from laconic.bench.tasks import draw
from laconic.bench.tasks import load as load_tasks
from laconic.errors import HeadError, TaskError, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.speculation.base import Refused
from laconic.speculation.heads import load
from laconic.speculation.relax.judge_head import JudgeHead
from tests import heads, tiny

MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, DRAFT, TEXT = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1)), tiny.text()


def requests(n: int, temperature: float = 0.0, limit: int = 60) -> list[Request]:
    prompts = [tuple(TEXT.encode(f"What is {i}+{i}?<think>\n")) for i in range(n)]
    return [Request(p, Sampling(temperature, seed=i), Limits(limit)) for i, p in enumerate(prompts)]


def engine(relax: str = "", **methods: Any) -> Engine:
    verifier = f"match:relax=[{relax}]" if relax else "match"
    chosen = {"drafter": "draft-model", "length": "constant:4", "verifier": verifier, **methods}
    return Engine(TARGET, TEXT, Methods(**chosen), DRAFT)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_at_its_strictest_it_is_exact_and_else_it_is_not(tmp_path: Path, temperature: float) -> None:
    spec = heads.spec(tmp_path, "judge-head", TARGET, DRAFT)
    plain = engine(drafter="none").run(requests(6, temperature))
    strict = engine(f"{spec},threshold=1").run(requests(6, temperature), batch=3)
    assert [r.tokens for r in strict] == [r.tokens for r in plain]
    loose = engine(f"{spec},threshold=0").run(requests(6, temperature), batch=3)
    assert not any(r.lossless for r in loose)
    assert [r.tokens for r in loose] != [r.tokens for r in plain]
    assert all(r.usage.accepted == r.usage.drafted for r in loose[:1]), "every draft stands"


@pytest.mark.parametrize("shape", ["chain", "k-ary:2"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_it_is_shown_the_state_at_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, temperature: float
) -> None:
    """What it sees in a batch of drafts is what a pass over the text alone shows."""
    seen: list[Refused] = []
    judged = JudgeHead.chance

    def spied(self: JudgeHead, refused: Refused) -> float:
        chance = judged(self, refused)
        if chance:
            seen.append(refused)
        return chance

    monkeypatch.setattr(JudgeHead, "chance", spied)
    spec = heads.spec(tmp_path, "judge-head", TARGET, DRAFT, middle=2.0)
    asked = requests(6, temperature)
    results = engine(spec, shape=shape).run(asked, batch=3)
    written = {}
    for request, result in zip(asked, results, strict=True):
        along = states(TARGET, request.prompt, [*result.tokens, 0])
        for t, token in enumerate(result.tokens):
            written.setdefault(token, []).append(along[t + 1])
    assert seen
    for refused in seen:
        assert refused.hidden is not None
        assert any(torch.allclose(refused.hidden, at, atol=1e-4) for at in written[refused.token])


def test_a_head_is_bound_to_its_target_and_its_method(tmp_path: Path) -> None:
    spec = heads.spec(tmp_path, "judge-head", DRAFT, TARGET)
    with pytest.raises(HeadError, match="another target"):
        engine(spec)
    wrong = heads.spec(tmp_path, "ada-eagle", TARGET, DRAFT).partition("head=")[2]
    with pytest.raises(HeadError, match="was trained for 'ada-eagle'"):
        engine(f"judge-head:head={wrong}")
    right = JudgeHead(head=heads.spec(tmp_path, "judge-head", TARGET, DRAFT).partition("head=")[2])
    with pytest.raises(UnmetNeed, match="hidden states"):
        right.chance(Refused(1, torch.full((4,), 0.25)))


@pytest.fixture(scope="module")
def bundled() -> Engine:
    """A pair that reasons: random models hardly ever come to an answer."""
    return Engine.load("bundled", draft="bundled-draft", drafter="draft-model")


def asked(engine: Engine, n: int, temperature: float = 0.0) -> list[Request]:
    return [
        engine.request(item.question, sampling=Sampling(temperature, seed=i), limits=Limits(400))
        for i, item in enumerate(draw(load_tasks(None), n, 5))
    ]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_labels_are_what_the_target_makes_of_a_guess(bundled: Engine, temperature: float) -> None:
    """Guesses that stand leave the first answer as it was, mistakes the text; in the end no guess is untried."""
    target, draft, text = bundled.target, bundled.draft_model, bundled.text
    assert draft is not None
    target.keep_hidden = True
    requests = asked(bundled, 8, temperature)
    plain = {r.prompt: result for r, result in zip(requests, bundled.using(drafter="none").run(requests), strict=True)}
    labels: list[float] = []
    for walk in walks(bundled, draft, requests, batch=4):
        own = list(plain[walk.request.prompt].tokens)
        assert answer(text, walk.request, own) == walk.answer
        last = answer(text, walk.request, walk.tokens)
        assert last is not None
        assert same(walk.answer, last)
        hits = guessed(draft, walk.request, walk.tokens, target.vocab_size).hits
        assert all(hits[walk.at :])
        assert (walk.tokens == own) == (not any(walk.labels))
        labels += walk.labels
    assert 0 < sum(labels) < len(labels)


def test_a_head_fits_the_pair_it_was_trained_on(bundled: Engine, tmp_path: Path) -> None:
    said: list[str] = []
    made = fit(bundled, asked(bundled, 8), Recipe(epochs=2), batch=4, after=said.append, about={"tasks": "sums"})
    assert said[-1] == "training"
    measures, training = made.about.measures, made.about.training
    assert training["tasks"] == "sums"
    assert measures["guesses"] > 0
    assert 0 < training["harmless"] < 1
    assert all(math.isfinite(value) for value in measures.values() if isinstance(value, float))
    made.save(tmp_path)
    again = load(tmp_path, "judge-head")
    x = torch.randn(again.about.inputs)
    assert again(x) == made(x)
    assert again.about.inputs == bundled.target.hidden_size
    bundled.using(verifier=f"match:relax=[judge-head:head={tmp_path}]").run(asked(bundled, 2), batch=2)


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(UnmetNeed, match="draft model"):
        fit(Engine(TARGET, TEXT, Methods("none")), requests(2))
    with pytest.raises(TaskError, match="too few"):
        fit(engine(), requests(1))
