"""Trained signals on the hidden state: what they are, when they end a thought, how they are trained and kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.bench.fit.spec_exit import Recipe, fit, learn, measures
from laconic.bench.fit.thoughts import Examples
from laconic.bench.oracle.exits import Thought, ended
from laconic.bench.tasks import Item
from laconic.errors import HeadError, InvalidKnob, TaskError
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.base import Belief, Conclude, Continue, Controller, Probe, View
from laconic.thinking.exit.signals import About, SignalHead, Signals, Trained, load, read
from tests import signals, tiny
from tests.fakes import FakeModel

TEXT = tiny.text()
MODEL = tiny.model(1, bias=tiny.REASONER | {"}": 2.0})


def target() -> CausalLM:
    """The model; each has a copy of its own, since an engine's attention serves nobody else."""
    return CausalLM(tiny.noisy(MODEL, 0.0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("signals")
    signals.head(target(), spread=6.0).save(place)
    return place


def fixed(folder: Path) -> str:
    """Linear heads that read off a state's first three numbers what they say."""
    made = SignalHead(3, 0)
    with torch.no_grad():
        made.body[0].weight.copy_(torch.eye(3))
        made.body[0].bias.zero_()
    Trained(made, About("nobody", 3, 0)).save(folder)
    return f"spec-exit:head={folder}"


def state(said: Signals) -> torch.Tensor:
    chances = torch.tensor(said[:2], dtype=torch.float64).logit()
    return torch.cat([chances, torch.tensor([said.remaining], dtype=torch.float64).log1p()]).float()


SURE, DOUBT = Signals(0.95, 0.6, 20.0), Signals(0.1, 0.6, 20.0)


@pytest.mark.parametrize(
    ("knobs", "shown", "ends"),
    [
        ("", [DOUBT, SURE, SURE, SURE], 3),  # 0.1, 0.525, 0.7375, 0.844
        (",alpha=1", [DOUBT, SURE], 1),
        (",alpha=0.1", [DOUBT, *[SURE] * 9], None),
        (",alpha=1", [SURE._replace(progress=0.29)] * 3, None),
        (",alpha=1,progress=0.2", [SURE._replace(progress=0.29)], 0),
        (",alpha=1", [SURE._replace(remaining=201.0), SURE._replace(remaining=199.0)], 1),
        (",alpha=1,remaining=10", [SURE, SURE._replace(remaining=9.0)], 1),
        (",alpha=1,confidence=0.96", [SURE] * 3, None),
    ],
)
def test_all_three_must_say_so(tmp_path: Path, knobs: str, shown: list[Signals], ends: int | None) -> None:
    controller = registry.build("think", fixed(tmp_path) + knobs)
    assert isinstance(controller, Controller)
    mine: Any = controller.start(Request((1,)), TEXT)
    for at, said in enumerate(shown):
        view = View(10 * at, ["a"] * (at + 1), True)
        asked = controller.decide(mine, view)
        assert isinstance(asked, Probe)
        assert (asked.text, asked.close, asked.max_tokens) == ("", False, 1)
        found = Belief("x", (0.5,), (0.5,), True, 1, None, state(said))
        action = controller.decide(mine, replace(view, belief=found))
        if isinstance(action, Conclude):
            assert at == ends
            return
        assert isinstance(action, Continue)
    assert ends is None


def test_signals_are_read_in_their_units() -> None:
    assert read(torch.tensor([0.0, 0.0, 0.0])).tolist() == [0.5, 0.5, 0.0]
    assert read(torch.tensor([9.0, -9.0, 5.0])).tolist() == pytest.approx([0.99988, 0.00012, 147.41], rel=0.05)
    assert torch.isfinite(read(torch.tensor([1e9, -1e9, 1e9]))).all()


def test_a_head_is_kept_as_it_is(tmp_path: Path) -> None:
    made = signals.head(target(), spread=3.0)
    made.save(tmp_path / "head")
    again = load(tmp_path / "head")
    x = torch.randn(made.about.inputs)
    assert again(x) == made(x)
    assert again.about == made.about


def test_heads_that_cannot_be_used_are_refused_by_name(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(InvalidKnob, match="laconic fit spec-exit"):
        registry.build("think", "spec-exit")
    spec = f"spec-exit:head={tmp_path / 'none'}"
    with pytest.raises(HeadError, match="no trained head"):
        Engine(target(), TEXT, Methods(think=(spec,)))
    with pytest.raises(HeadError, match="another model"):
        Engine(CausalLM(tiny.model(5)), TEXT, Methods(think=(f"spec-exit:head={saved}",)))
    about = json.loads((saved / "head.json").read_text())
    for name, content, words in (
        ("other", json.dumps(about | {"method": "specdec++"}), "trained for 'specdec\\+\\+'"),
        ("cut", json.dumps(about)[:40], "damaged"),
        ("list", "[]", "damaged"),
        ("wide", json.dumps(about | {"inputs": 7}), "damaged"),
        ("knob", json.dumps(about | {"colour": 7}), "damaged"),
    ):
        place = tmp_path / name
        place.mkdir()
        (place / "head.safetensors").write_bytes((saved / "head.safetensors").read_bytes())
        (place / "head.json").write_text(content)
        with pytest.raises(HeadError, match=words):
            load(place)


def requests(temperature: float) -> list[Request]:
    return [
        Request(tuple(TEXT.encode(f"What is {i}+{i}?<think>\n")), Sampling(temperature, seed=i), Limits(60))
        for i in range(5)
    ]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_equals_the_reference_loop(saved: Path, temperature: float) -> None:
    spec = f"spec-exit:head={saved},confidence=0.5,alpha=0.7,tokens=6"
    model = tiny.noisy(MODEL, 0.0)

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    def hidden(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model.base_model(torch.tensor([list(tokens)])).last_hidden_state[0, -1]

    asked = requests(temperature)
    controller = registry.build("think", spec)
    expected = [reference.decode(logits, TEXT, r, [controller], 512, hidden) for r in asked]
    stopped: set[int] = set()
    for methods, batch in (
        ({"drafter": "none"}, 4),
        ({"drafter": "draft-model", "length": "constant:5"}, 1),
        ({"drafter": "draft-model", "shape": "best-first", "length": "constant:8"}, 4),
        ({"drafter": "suffix", "probes": "separate"}, 4),
    ):
        draft = CausalLM(tiny.noisy(MODEL, 0.1))
        made = Engine(target(), TEXT, Methods(verifier="match", think=(spec,), **methods), draft)  # type: ignore[arg-type]
        results = made.run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in results] == expected, methods
        stopped |= {event.tokens for r in results for event in r.events if event.method == "spec-exit"}
    assert len(stopped) >= (2 if temperature else 1)


def test_a_finished_thought_tells_where_it_would_have_ended(saved: Path) -> None:
    made, spec = (
        Engine(target(), TEXT, Methods(drafter="none")),
        f"spec-exit:head={saved},confidence=0.5,alpha=0.7,tokens=6",
    )
    controller = registry.build("think", spec)
    assert isinstance(controller, Controller)
    asked, found = [], []
    for request, result in zip(requests(0.9), made.run(requests(0.9), batch=5), strict=True):
        try:
            found.append(ended(controller, Thought(made.target, TEXT, request, result.tokens)).thinking)
        except ValueError:
            continue
        asked.append(request)
    assert len(asked) > 1
    assert [r.usage.thinking for r in made.using(think=(spec,)).run(asked, batch=3)] == found


def test_hidden_states_that_are_not_shown_are_missed_before_a_thought_is_read(saved: Path) -> None:
    made = Engine(target(), TEXT, Methods(drafter="none"))
    for request, result in zip(requests(0.9), made.run(requests(0.9), batch=5), strict=True):
        try:
            thought = Thought(FakeModel.random(0, vocab=264), TEXT, request, result.tokens)
        except ValueError:
            continue
        controller = registry.build("think", f"spec-exit:head={saved}")
        assert isinstance(controller, Controller)
        with pytest.raises(ValueError, match="no hidden states"):
            ended(controller, thought)
        return
    raise AssertionError("no finished thought")


def planted(n: int, seed: int) -> Examples:
    """States whose first number tells whether it is settled, the second the share done, the third the tokens left."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n, 6, generator=generator)
    progress = states[:, 1].sigmoid()
    return Examples(states * 3 + 1, (states[:, 0] > 0).float(), progress, (4 + states[:, 2]).exp(), n // 5)


@pytest.mark.parametrize("width", [0, 16])
def test_training_finds_what_is_there(width: int) -> None:
    torch.manual_seed(0)
    made, training, held_out = SignalHead(6, width), planted(1200, 0), planted(300, 1)
    learn(made, training, epochs=60, seed=0)
    found = measures(made, held_out, training)
    assert found["auc"] > 0.97
    assert found["progress_error"] < 0.4 * found["progress_error_of_the_mean"]
    assert found["remaining_error"] < 0.8 * found["remaining_error_of_the_median"]
    assert (found["steps"], found["thoughts"]) == (300, 60)


def items(n: int) -> list[Item]:
    return [Item(f"x/{i}", "x", f"What is {i}+{i}?", "7", lambda given: "7" in given) for i in range(n)]


def test_heads_are_trained_on_what_the_model_thinks() -> None:
    made = Engine(target(), TEXT, Methods(drafter="none"))
    problems = items(24)
    asked = [
        made.request(tiny.begun(item.question), limits=Limits(60), sampling=Sampling(1.0, seed=i))
        for i, item in enumerate(problems)
    ]
    said: list[str] = []
    trained = fit(made, problems, asked, Recipe(epochs=2, width=4), after=said.append, about={"tasks": "mine"})
    training, found = dict(trained.about.training), dict(trained.about.measures)
    assert trained.about.model == made.target.fingerprint()  # type: ignore[attr-defined]
    assert trained.about.inputs == made.target.hidden_size  # type: ignore[attr-defined]
    assert (training["label"], training["tasks"]) == ("right", "mine")
    assert training["thoughts"] > found["thoughts"] > 0
    assert said[-1] == "training"
    with pytest.raises(TaskError, match="too few"):
        fit(made, problems[:1], asked[:1], Recipe(epochs=1))
