"""Steering: the fast loop equals the slow one, directions are kept and refused, and signs are found by measuring."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.bench.steer import Pair, Recipe, fit, given, own
from laconic.bench.steer.directions import found
from laconic.bench.steer.effect import divergences
from laconic.bench.steer.pairs import thought, write
from laconic.bench.steer.run import best
from laconic.bench.tasks import Item
from laconic.errors import DirectionError, InvalidKnob, RequestError, TaskError, UnmetNeed
from laconic.models.base import Scores
from laconic.models.causal_lm import CausalLM
from laconic.policy import registry
from laconic.thinking.base import Controller
from laconic.thinking.steer.direction import LayerAbout, load
from laconic.thinking.steer.push import Push
from laconic.thinking.steer.steer import Steer
from tests import steered, tiny
from tests.fakes import FakeModel

OPENS = tiny.TEMPLATE.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
TEXT = tiny.text(template=OPENS)
MODEL = tiny.model(0, bias={**tiny.REASONER, "<|im_end|>": 3.0, "</think>": 3.0})
ONE, TWO = steered.vectors(0), steered.vectors(0, 1, seed=1)
LONG = "Is it so? " * 12
"""A prompt that is prefilled."""
METHODS: dict[str, dict[str, Any]] = {
    "plain": {"drafter": "none"},
    "chain": {"drafter": "draft-model", "length": "constant:6"},
    "tree": {"drafter": "draft-model", "shape": "best-first", "length": "constant:10"},
    "separate": {"drafter": "suffix", "probes": "separate"},
}
THINK: dict[str, tuple[Any, ...]] = {
    "one": (Push(ONE),),
    "two": (Push(ONE), Push(TWO)),
    "probes": (Push(TWO), "answer-confidence:0.3,tokens=7", "budget:30"),
}


def added(think: Sequence[Any]) -> dict[int, torch.Tensor]:
    total: dict[int, torch.Tensor] = {}
    for controller in think:
        if isinstance(controller, Push):
            for layer, vector in controller.vectors.items():
                total[layer] = total.get(layer, torch.zeros(32)) + vector
    return total


def requests(temperature: float) -> list[Request]:
    """Long and short prompts; one request has no controllers, and one has its own."""
    made = [
        Request(tuple(TEXT.encode(f"{LONG if i % 2 else ''}What is {i}+{i}?<think>\n")), Sampling(temperature, seed=i),
                Limits(32))
        for i in range(4)
    ]  # fmt: skip
    made[1] = replace(made[1], controllers=())
    made[2] = replace(made[2], controllers=(Push(TWO),))
    return made


def slow(request: Request, think: Sequence[Any]) -> tuple[list[int], str]:
    built: list[Any] = [registry.build("think", spec) for spec in think]
    mine = added(built if request.controllers is None else request.controllers)
    start = len(request.prompt) - 1

    def logits(tokens: Sequence[int]) -> torch.Tensor:
        return steered.logits(MODEL, tokens, mine, start)

    return reference.decode(logits, TEXT, request, built, 512)


def engine(**methods: Any) -> Engine:
    models = CausalLM(tiny.noisy(MODEL, 0.0)), CausalLM(tiny.noisy(MODEL, 0.1))
    return Engine(models[0], TEXT, Methods(verifier="match", **methods), models[1])


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("think", THINK)
def test_equals_the_reference_loop_with_steered_logits(think: str, temperature: float) -> None:
    asked = requests(temperature)
    expected = [slow(request, THINK[think]) for request in asked]
    free = engine(drafter="none").run([replace(request, controllers=()) for request in asked], batch=4)
    unlike = [tokens != list(result.tokens) for (tokens, _), result in zip(expected, free, strict=True)]
    assert unlike == [True, False, True, True], "steering changes nothing"
    for name, batch in (("plain", 4), ("chain", 1), ("chain", 3), ("tree", 1), ("tree", 4), ("separate", 4)):
        results = engine(think=THINK[think], **METHODS[name]).run(asked, batch=batch)
        assert [(list(r.tokens), r.finish_reason) for r in results] == expected, (name, batch)


def test_ties_are_settled_by_a_pass_that_is_steered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = requests(0.0)
    expected = [slow(request, THINK["two"]) for request in asked]
    monkeypatch.setattr(Scores, "ties", lambda self, i: list(range(self.sizes[i])))
    results = engine(think=THINK["two"], **METHODS["chain"]).run(asked, batch=2)
    assert [(list(r.tokens), r.finish_reason) for r in results] == expected


def test_a_model_that_cannot_be_steered_is_refused_before_the_run() -> None:
    with pytest.raises(UnmetNeed, match="residual stream"):
        Engine(FakeModel.random(0, vocab=264), TEXT, Methods(drafter="none", think=(Push(ONE),)))


# The controller.


@pytest.fixture(scope="module")
def model() -> CausalLM:
    return CausalLM(tiny.noisy(MODEL, 0.0))


@pytest.fixture
def folder(model: CausalLM, tmp_path: Path) -> Path:
    steered.direction(model).save(tmp_path)
    return tmp_path


def built(spec: str) -> Steer:
    made = registry.build("think", spec)
    assert isinstance(made, Steer)
    return made


def test_strength_is_a_share_of_the_streams_length_at_the_chosen_layer(folder: Path, model: CausalLM) -> None:
    unit = steered.direction(model).vectors
    for strength in (0.5, -0.25):
        pushed = built(f"steer:{folder},strength={strength}").steering(None)
        assert list(pushed) == [1]
        torch.testing.assert_close(pushed[1], strength * 0.2 * unit[1])
    pushed = built(f"steer:{folder},strength=1,layer=0").steering(None)
    torch.testing.assert_close(pushed[0], 0.2 * unit[0])
    assert built(f"steer:{folder},strength=0").steering(None) == {}


def test_a_divergence_names_the_strength_that_makes_it(folder: Path) -> None:
    """The table is the square of the strength, so its root is linear and nothing is lost between its entries."""
    for kl in (0.0001, 0.01, 0.09, 1.0, 4.0):
        assert built(f"steer:{folder},kl={kl}").push[1] == pytest.approx(kl**0.5)
    assert built(f"steer:{folder}").push[1] == pytest.approx(0.5), "at the limit of the fit"
    with pytest.raises(InvalidKnob, match="up to 2"):
        assert built(f"steer:{folder},kl=5").push
    assert LayerAbout(0, 1.0, 0.1, [(-2.0, 8.0), (-1.0, 2.0), (1.0, 1.0)]).strength(2.0, -1) == -1


def test_the_control_has_the_length_and_not_the_direction(folder: Path) -> None:
    real = built(f"steer:{folder},strength=0.5").steering(None)[1]
    some = [built(f"steer:{folder},strength=0.5,control=true,seed={seed}").steering(None)[1] for seed in (0, 0, 1)]
    assert torch.equal(some[0], some[1])
    for vector in some:
        torch.testing.assert_close(vector.norm(), real.norm())
        assert abs(float(vector @ real)) < 0.9 * float(real.norm() ** 2)
    assert not torch.allclose(some[0], some[2])


def test_what_was_done_is_told(folder: Path, model: CausalLM) -> None:
    made = Engine(model, TEXT, Methods(drafter="none", think=(f"steer:{folder},strength=-0.5",)))
    result = made.generate("Why?", limits=Limits(9))
    assert [e.reason for e in result.events][:1] == ["pushed by -0.5 along the direction behind layer 1"]
    assert result.tokens != made.using(think=()).generate("Why?", limits=Limits(9)).tokens


@pytest.mark.parametrize(
    ("knobs", "error", "words"),
    [
        ("strength=0.1,kl=0.1", InvalidKnob, "both"),
        ("layer=7", InvalidKnob, "layers 0, 1"),
        ("kl=0", InvalidKnob, "kl"),
        ("strength=nan", InvalidKnob, "strength"),
    ],
)
def test_knobs_that_cannot_be_are_refused(
    folder: Path, model: CausalLM, knobs: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Engine(model, TEXT, Methods(drafter="none", think=(f"steer:{folder},{knobs}",)))


def test_a_direction_is_kept_and_read_back(folder: Path, model: CausalLM) -> None:
    kept, made = load(folder), steered.direction(model)
    assert json.dumps(kept.about.layers[1].kl) == json.dumps(made.about.layers[1].kl)
    assert (kept.about.layer, kept.about.model, kept.about.of().norm) == (1, model.fingerprint(), 0.2)
    assert all(torch.equal(kept.vectors[layer], vector) for layer, vector in made.vectors.items())


def test_a_direction_that_is_missing_damaged_or_anothers_is_refused(folder: Path, model: CausalLM) -> None:
    with pytest.raises(DirectionError, match="no direction at"):
        load(folder / "nowhere")
    with pytest.raises(DirectionError, match="another model"):
        load(folder).suits(CausalLM(tiny.model(3)))
    about = json.loads((folder / "direction.json").read_text())
    (folder / "direction.json").write_text(json.dumps(about | {"layer": 5}))
    with pytest.raises(DirectionError, match="damaged"):
        load(folder)
    (folder / "direction.json").write_text("{}")
    with pytest.raises(DirectionError, match="damaged"):
        load(folder)


# Fitting.


def items(n: int) -> list[Item]:
    return [Item(f"sum/{i}", "sum", f"What is {i} + 7?", "", lambda answer: True) for i in range(n)]


@pytest.fixture(scope="module")
def fitting() -> Engine:
    return Engine(CausalLM(tiny.noisy(MODEL, 0.0)), TEXT, Methods(drafter="none"))


@pytest.fixture(scope="module")
def pairs(fitting: Engine) -> list[Pair]:
    graded = [replace(item, grade=lambda answer: len(answer) % 2 == 0) for item in items(6)]
    return own(fitting, graded, Sampling(1.0), Limits(60), samples=6, batch=4)


def test_own_pairs_are_the_shortest_right_answer_and_longer_ones(pairs: list[Pair], fitting: Engine) -> None:
    assert pairs
    for pair in pairs:
        assert len(thought(TEXT, pair.prompt, pair.concise)) < len(thought(TEXT, pair.prompt, pair.verbose))
        assert pair.verbose[-1] in TEXT.eos, "whole answers only"
    shortest = {pair.prompt: pair.concise for pair in pairs}
    assert all(shortest[pair.prompt] == pair.concise for pair in pairs)
    with pytest.raises(TaskError, match="judge"):
        own(fitting, [replace(items(1)[0], grade=None)], Sampling(1.0), Limits(9))


def test_pairs_are_written_and_read(pairs: list[Pair], tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", pairs, TEXT)
    again = given(tmp_path / "pairs.jsonl", TEXT)
    assert [(p.question, TEXT.decode(p.concise), TEXT.decode(p.verbose)) for p in again] == [
        (p.question, TEXT.decode(p.concise), TEXT.decode(p.verbose)) for p in pairs
    ]
    assert [p.prompt for p in again] == [p.prompt for p in pairs]
    (tmp_path / "bad.jsonl").write_text('{"question": "a", "concise": "b", "verbose": "c"}\n{"question": "a"}\n')
    with pytest.raises(TaskError, match="line 2"):
        given(tmp_path / "bad.jsonl", TEXT)


def test_the_thought_is_found_and_without_tags_all_is_thought() -> None:
    prompt, said = TEXT.encode("Why?"), TEXT.encode("<think>ab</think>cd")
    assert thought(TEXT, prompt, said) == [4, 5, 6, 7]
    assert thought(TEXT, prompt, TEXT.encode("abc")) == [4, 5, 6]


class Planted:
    """A model whose residual stream is what the test says: layer 0 counts tokens of the alphabet, layer 1 is its
    double."""

    def residuals(self, tokens: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        states = torch.nn.functional.one_hot(torch.tensor(list(tokens)), 300).float()
        return {layer: (layer + 1) * states for layer in layers}


def test_directions_are_mean_differences_of_thoughts() -> None:
    a, b, c = (TEXT.encode(x)[0] for x in "abc")
    tags = TEXT.encode("<think>")[0], TEXT.encode("</think>")[0]
    made = [
        Pair("", (c,), (tags[0], a, a, tags[1]), (tags[0], a, b, tags[1], c)),
        Pair("", (c,), (tags[0], a, a, tags[1]), (tags[0], b, b, tags[1], c)),
    ]
    planted: Any = Planted()
    of = found(planted, TEXT, made, [0, 1])
    expected = torch.zeros(300)
    expected[a], expected[b] = 0.375, -0.375
    torch.testing.assert_close(of[0].vector, expected / expected.norm())
    assert of[0].norm == pytest.approx(1.0)
    assert of[1].norm == pytest.approx(2.0)
    assert of[0].parted == pytest.approx(of[1].parted) == pytest.approx(float(expected.norm()))
    torch.testing.assert_close(found(planted, TEXT, made, [0], how="pca")[0].vector, of[0].vector)


def test_at_the_last_token_only_that_counts_and_each_problem_counts_once() -> None:
    a, b, c = (TEXT.encode(x)[0] for x in "abc")
    first = [Pair("", (c,), (b, a), (a, b))] * 3
    planted: Any = Planted()
    vector = found(planted, TEXT, [*first, Pair("", (b,), (c, a), (a, c))], [0], at="last")[0].vector
    expected = torch.zeros(300)
    expected[a], expected[b], expected[c] = 1.0, -0.5, -0.5
    torch.testing.assert_close(vector, expected / expected.norm())


def test_the_sign_is_what_lengths_say_not_what_pairs_are_called(fitting: Engine, pairs: list[Pair]) -> None:
    """Pairs with their sides exchanged give the very same direction, marked as turned."""
    turned = [replace(pair, concise=pair.verbose, verbose=pair.concise) for pair in pairs]
    said: list[str] = []
    one, two = (
        fit(fitting, some, items(5), Limits(60), Recipe(layers=(0,), kl=0.5), batch=5, after=said.append)
        for some in (pairs, turned)
    )
    known, other = one.about.of(), two.about.of()
    assert known.effect["shorter"]["thinking"] < known.effect["longer"]["thinking"]
    assert known.effect["shorter"]["strength"] > 0 > known.effect["longer"]["strength"]
    assert known.flipped != other.flipped
    torch.testing.assert_close(one.vectors[0], two.vectors[0])
    torch.testing.assert_close(torch.tensor(known.kl), torch.tensor(other.kl))
    assert "layer 0" in said
    push: Controller = Push({0: known.effect["shorter"]["strength"] * known.norm * one.vectors[0]})
    asked = [fitting.request(item.question, limits=Limits(60)) for item in items(5)]
    results = fitting.using(think=(push,)).run(asked, batch=2)
    assert sum(r.usage.thinking for r in results) / 5 == known.effect["shorter"]["thinking"]


def test_divergences_are_those_of_full_recomputation(fitting: Engine) -> None:
    prompt, tokens = TEXT.encode("Why is it?"), TEXT.encode("It is so")
    ours = divergences(fitting.target, [(prompt, tokens)], [ONE, {}, TWO])
    for mine, push in ((ours[0], ONE), (ours[2], TWO)):
        total = 0.0
        for at in range(len(tokens)):
            before = [*prompt, *tokens[:at]]
            p = steered.logits(MODEL, before, {}, 0).log_softmax(-1)
            q = steered.logits(MODEL, before, push, len(prompt) - 1).log_softmax(-1)
            total += float((p.exp() * (p - q)).sum())
        assert mine == pytest.approx(total / len(tokens), rel=1e-3)
    assert ours[1] == pytest.approx(0.0, abs=1e-6)


def layer(index: int, thinking: float, right: float) -> LayerAbout:
    return LayerAbout(index, 1.0, 0.1, effect={"shorter": {"thinking": thinking, "right": right}})


def test_the_layer_with_the_shortest_thoughts_that_stay_right_is_chosen() -> None:
    assert best([layer(0, 90, 0.9), layer(1, 50, 0.88), layer(2, 20, 0.5)], 0.9) == 1
    assert best([layer(0, 90, 0.1), layer(1, 50, 0.2), layer(2, 20, 0.05)], 0.9) == 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [({"pairs": []}, TaskError, "pairs"), ({"recipe": Recipe(layers=(9,))}, RequestError, "layers 0 to 1")],
)
def test_what_cannot_be_fitted_is_refused(
    fitting: Engine, pairs: list[Pair], change: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments: dict[str, Any] = {"pairs": pairs, "held_out": items(2), "limits": Limits(20), **change}
    with pytest.raises(error, match=words):
        fit(fitting, **arguments)
