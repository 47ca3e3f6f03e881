"""A target that drafts for itself: exact whatever layers draft, and the layers that do nothing are found."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from laconic.bench.fit.skip import search, worth
from laconic.engine import Engine, Methods
from laconic.errors import HeadError, UnmetNeed
from laconic.models.cache_host import CacheHost
from laconic.models.causal_lm import CausalLM
from laconic.models.partial import LayerPlan
from laconic.policy import registry
from laconic.speculation.drafters.itself.clasp import Clasp, Skips
from laconic.speculation.drafters.itself.dynamic_exit import DynamicExit
from laconic.speculation.drafters.itself.files import read_plan, write_plan
from laconic.speculation.drafters.itself.layer_skip import LayerSkip
from laconic.speculation.drafters.itself.searched import DraftVerify
from laconic.speculation.drafters.itself.swift import Swift
from laconic.speculation.vocabulary import Kept
from laconic.types import Limits, Request, Result, Sampling
from tests import tiny

TEXT = tiny.text()
IDLE = (2, 3)
"""Layers of ``idle()`` that add nothing."""


def random_model() -> PreTrainedModel:
    return tiny.model(0, layers=5, bias=tiny.REASONER)


def idle(layers: tuple[int, ...] = IDLE) -> PreTrainedModel:
    """A model of five layers of which some add nothing."""
    made = copy.deepcopy(random_model())
    for layer in layers:
        made.model.layers[layer].self_attn.o_proj.weight.data.zero_()
        made.model.layers[layer].mlp.down_proj.weight.data.zero_()
    return made


def requests(temperature: float = 0.0, tokens: int = 40, drafts: bool = True) -> list[Request]:
    prompts = [f"What is {i}+{i}?{'And again. ' * i}<think>\n" for i in range(4)]
    return [
        Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i), Limits(tokens), drafts=drafts)
        for i, p in enumerate(prompts)
    ]


def plan_file(folder: Path, target: CausalLM, plan: LayerPlan) -> str:
    write_plan(folder / "plan.json", plan, target.fingerprint(), {"right": 1.0})
    return str(folder / "plan.json")


def drafters(folder: Path, target: CausalLM) -> list[str]:
    halves = LayerPlan(frozenset({1}), frozenset({2, 3})) if target.runs_halves else LayerPlan.without([1, 3])
    return [
        "layer-skip:2",
        f"draft-verify:{plan_file(folder, target, halves)}",
        "swift:skip=0.4,window=8,every=1",
        "clasp:skip=0.4,every=5",
        "del:exits=3",
    ]


def tokens(results: list[Result]) -> list[tuple[int, ...]]:
    return [tuple(result.tokens) for result in results]


@pytest.mark.parametrize("written_out", [True, False])
@pytest.mark.parametrize("shape", ["chain", "best-first", "k-ary"])
def test_greedy_text_is_the_targets_own(tmp_path: Path, written_out: bool, shape: str) -> None:
    target = CausalLM(random_model(), written_out=written_out)
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(requests()))
    for drafter in drafters(tmp_path, target):
        for verifier in ("match", "speculative-sampling") if shape == "chain" else ("match", "traversal"):
            engine = Engine(target, TEXT, Methods(drafter=drafter, length="constant:6", shape=shape, verifier=verifier))
            assert engine.lossless
            found = [engine.run(requests(), batch=batch) for batch in (1, 3)]
            assert [tokens(results) for results in found] == [plain, plain], (drafter, verifier)
            if not drafter.startswith("del"):  # it sees that no exit of a random model pays
                assert all(sum(result.usage.drafted for result in results) > 0 for results in found), drafter
            assert not target.slots


@pytest.mark.parametrize("written_out", [True, False])
def test_sampled_texts_are_plain_decodings_draws(tmp_path: Path, written_out: bool) -> None:
    target = CausalLM(random_model(), written_out=written_out)
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(requests(0.8)))
    for drafter in drafters(tmp_path, target):
        for shape in ("chain", "best-first"):
            engine = Engine(target, TEXT, Methods(drafter=drafter, length="constant:6", shape=shape))
            assert tokens(engine.run(requests(0.8), batch=3)) == plain, (drafter, shape)


VERIFIERS = [name for name in registry.names("verifier") if registry.get("verifier", name).card.lossless]


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("drafter", ["layer-skip:3", "clasp:skip=0.4,every=3"])
def test_the_law_of_a_sampled_text_is_the_targets(drafter: str, verifier: str) -> None:
    """The first tokens of many requests, place by place, against plain draws."""
    target = CausalLM(random_model())
    prompt = tuple(TEXT.encode("So what is it then?"))
    asked = [Request(prompt, Sampling(1.0, top_k=3, seed=seed), Limits(4)) for seed in range(600)]
    chosen = Methods(drafter=drafter, length="constant:3", verifier=verifier, think=())
    mine = Engine(target, TEXT, chosen).run(asked, batch=50)
    plain = Engine(target, TEXT, Methods(drafter="none", think=())).run(asked, batch=50)
    assert sum(result.usage.accepted for result in mine) > 20
    for place in range(4):
        counts: dict[int, list[int]] = {}
        for side, results in enumerate((mine, plain)):
            for result in results:
                if len(result.tokens) > place:
                    counts.setdefault(result.tokens[place], [0, 0])[side] += 1
        for one, other in counts.values():
            assert abs(one - other) < 5 * (one + other + 1) ** 0.5, place


def test_layers_that_do_nothing_cost_no_acceptance() -> None:
    target = CausalLM(idle((2, 3, 4)))
    engine = Engine(target, TEXT, Methods(drafter="layer-skip:2", length="constant:5"))
    for result in engine.run(requests(), batch=2):
        usage = result.usage
        assert usage.accepted == usage.drafted > 0
        assert usage.draft_passes >= usage.drafted
        assert usage.target_passes < len(result.tokens) / 4
    assert target.part_passes > 0


@pytest.mark.parametrize("written_out", [True, False])
def test_swift_finds_the_layers_that_do_nothing(written_out: bool) -> None:
    target = CausalLM(idle(), written_out=written_out)
    drafter = Swift(skip=0.6, window=16, every=1)  # of three layers that may be left out two, or four of six halves
    engine = Engine(target, TEXT, Methods(drafter=drafter, length="constant:4", think=()))
    for word in ("Why? ", "So ", "12", "Wait, ", "+ 3"):
        engine.run([Request(tuple(TEXT.encode(word * 9)), Sampling(), Limits(80))])
    found = drafter.report()
    assert found is not None
    assert (found["attention"], found["mlp"]) == (list(IDLE), list(IDLE))
    assert found["right"] > 0.9
    assert "named right" in found["says"]
    tries = found["tries"]
    engine.run(requests())
    again = drafter.report()
    assert again is not None
    assert again["tries"] == tries, "a search that has found all rests"


def test_swift_searches_again_when_its_plan_no_longer_holds() -> None:
    search_ = Swift()._search(CausalLM(idle()))
    search_.hear(search_.candidate(), 0.96)
    assert not search_.due(1, 10, 0.95)

    class Refused:
        accepted = 0

    for _ in range(60):
        search_.judge(Refused())  # type: ignore[arg-type]
    assert search_.due(1, 10, 0.95)


def test_clasp_leaves_out_what_does_nothing() -> None:
    target = CausalLM(idle())
    drafter = Clasp(skip=0.4, every=10)
    engine = Engine(target, TEXT, Methods(drafter=drafter, length="constant:5"))
    results = engine.run(requests(), batch=3)
    assert all(result.usage.accepted == result.usage.drafted > 0 for result in results)


def test_clasps_program_is_the_best_of_all_plans_where_each_row_is_exact() -> None:
    """Against the definition: rows hold what their own choice of layers gives, and the last one has left out most."""
    torch.manual_seed(0)
    layers = [torch.randn(8, 8) * 0.4 for _ in range(5)]

    def run(x: torch.Tensor, layer: int) -> torch.Tensor:
        return x + torch.tanh(x @ layers[layer])

    start = torch.randn(8)
    skips = Skips(5, 2)
    x = start.expand(3, 8).clone()
    for layer in range(5):
        x = skips.after(layer, run(x, layer))
    for row in range(3):
        plan = skips.plan(row)
        assert len(plan.gone) == row
        assert not plan.gone & {0, 4}
        own = start
        for layer in range(5):
            own = own if layer in plan.gone else run(own, layer)
        assert own.allclose(x[row], atol=1e-6)
    # With one layer to leave out, the choice behind each layer is between two: so it is the best of all.
    truth = x[0]

    def closeness(gone: int) -> float:
        own = start
        for layer in range(4):  # the last one always runs, and was not looked behind
            own = own if layer == gone else run(own, layer)
        full = start
        for layer in range(4):
            full = run(full, layer)
        return float(torch.cosine_similarity(own, full, 0))

    assert truth.shape == (8,)
    (chosen,) = skips.plan(1).gone
    assert closeness(chosen) >= closeness(3) - 1e-6


@pytest.mark.parametrize("written_out", [True, False])
def test_del_takes_the_first_exit_that_is_right(written_out: bool) -> None:
    target = CausalLM(idle((2, 3, 4)), written_out=written_out)
    drafter = DynamicExit(exits=4)
    assert list(drafter.reads_layers(5)) == [0, 1, 2, 3]
    engine = Engine(target, TEXT, Methods(drafter=drafter, length="constant:8", think=()))
    (result,) = engine.run([Request(tuple(TEXT.encode("Why? " * 9)), Sampling(), Limits(120))])
    assert result.usage.accepted > 0.9 * result.usage.drafted > 0
    assert result.usage.target_passes < len(result.tokens) / 2


def test_del_drafts_nothing_where_no_exit_pays() -> None:
    target = CausalLM(random_model())
    engine = Engine(target, TEXT, Methods(drafter="del", length="constant:8"))
    plain = Engine(target, TEXT, Methods(drafter="none"))
    mine, theirs = engine.run(requests()), plain.run(requests())
    passes = [sum(result.usage.target_passes for result in results) for results in (mine, theirs)]
    assert passes[0] <= passes[1]
    assert sum(result.usage.drafted for result in mine) < sum(len(result.tokens) for result in mine) / 2


def test_a_search_finds_what_can_be_left_out(tmp_path: Path) -> None:
    target = CausalLM(idle())
    texts = [
        [*r.prompt, *a.tokens]
        for r, a in zip(requests(), Engine(target, TEXT, Methods(drafter="none")).run(requests()), strict=True)
    ]
    found = search(target, texts, window=20, tries=40)
    assert found.plan.attention >= set(IDLE)
    assert found.plan.mlp >= set(IDLE)
    assert found.right > 0.5
    assert found.speed > 1
    assert found.tries <= 40
    assert not target.slots
    path = plan_file(tmp_path, target, found.plan)
    assert read_plan(path) == (found.plan, target.fingerprint())
    engine = Engine(target, TEXT, Methods(drafter=f"draft-verify:{path}", length="constant:4"))
    results = engine.run(requests())
    assert sum(r.usage.accepted for r in results) > 0.5 * sum(r.usage.drafted for r in results)
    with pytest.raises(HeadError, match="another model"):
        Engine(CausalLM(random_model()), TEXT, Methods(drafter=f"draft-verify:{path}")).run(requests()[:1])


def test_a_plan_is_worth_what_its_formula_says() -> None:
    assert worth(0.0, 0.5) == (0, 1.0)
    draft, speed = worth(0.8, 0.2)
    assert speed == pytest.approx((1 - 0.8 ** (draft + 1)) / (1 - 0.8) / (draft * 0.2 + 1))
    assert all(speed >= (1 - 0.8 ** (d + 1)) / (1 - 0.8) / (d * 0.2 + 1) for d in range(1, 17))


def test_some_tokens_only_can_be_drafted(tmp_path: Path) -> None:
    target = CausalLM(random_model())
    Kept(torch.arange(128), 264, "corpus", 10, 1.0).save(tmp_path / "kept.json")
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(requests()))
    for drafter in ("layer-skip:4", "del:exits=3"):
        engine = Engine(target, TEXT, Methods(drafter=f"{drafter},keep={tmp_path / 'kept.json'}", length="constant:4"))
        assert tokens(engine.run(requests(), batch=2)) == plain


@pytest.mark.parametrize("exit", [0, 5, 9])
def test_an_exit_that_is_none_is_refused(exit: int) -> None:
    with pytest.raises(UnmetNeed, match=f"{exit} of 5 layers"):
        Engine(CausalLM(random_model()), TEXT, Methods(drafter=LayerSkip(exit=exit))).run(requests()[:1])


def test_a_model_that_keeps_its_own_cache_is_refused() -> None:
    target = CausalLM(random_model())
    target.host = CacheHost(random_model())
    with pytest.raises(UnmetNeed, match="part of the target's own layers"):
        Engine(target, TEXT, Methods(drafter="layer-skip:2")).run(requests()[:1])


@pytest.mark.parametrize("content", ["", "[]", '{"format": "laconic-layer-plan-1"}', '{"format": "other"}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content, encoding="utf-8")
    with pytest.raises(HeadError, match="damaged"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(HeadError, match="no plan"):
        DraftVerify(path=str(tmp_path / "none.json")).suits(CausalLM(random_model()), None)


def test_two_layers_leave_nothing_to_leave_out() -> None:
    target = CausalLM(tiny.model(0, bias=tiny.REASONER))
    plain = tokens(Engine(target, TEXT, Methods(drafter="none")).run(requests()))
    for drafter in ("swift:window=8", "clasp", "del"):
        assert tokens(Engine(target, TEXT, Methods(drafter=drafter)).run(requests(), batch=2)) == plain
    assert search(target, [list(requests()[0].prompt)]).speed == 1


def test_a_plan_of_halves_is_refused_before_a_run_that_cannot_leave_them_out(tmp_path: Path) -> None:
    target = CausalLM(random_model(), written_out=False)
    path = plan_file(tmp_path, target, LayerPlan(frozenset({1}), frozenset({2})))
    with pytest.raises(UnmetNeed, match="halves of layers"):
        Engine(target, TEXT, Methods(drafter=f"draft-verify:{path}"))
