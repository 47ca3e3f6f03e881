"""Every registered method, through the promises that all methods make."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import laconic
from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.bench.certify.proxies import PrefillOnce
from laconic.bench.fit import METHODS as TRAINED_METHODS
from laconic.bench.measure import EngineVariant
from laconic.collaboration.arbitrage import FEATURES, Router
from laconic.errors import UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.models.partial import LayerPlan
from laconic.policy import Policy, registry
from laconic.speculation.drafters.datastore import Datastore
from laconic.speculation.drafters.itself.files import write_plan
from tests import brought, draft_heads, heads, outlooks, routes, signals, steered, tiny
from tests.fakes import FakeModel
from tests.training.groups import SPECS as REWARDS
from tests.training.traces.made import SPECS as TRACES

ALL = list(registry.all())
SMALL_CACHE = "budget=40,every=12,sinks=2,recent=6"
"""Knobs of kv methods with which short texts outgrow the budget."""
REQUIRED = {
    "budget": "budget:12",
    "soft-landing": "soft-landing:12",
    "max-tokens": "max-tokens:20",
    "say": "say:Be brief.",
    "hybrid": "hybrid:[suffix]+[token-recycling]",
    "layer-skip": "layer-skip:1",
    "pearl": "pearl:[suffix]",
    "best-of-n": "best-of-n:judge=[equations]",
    "best-of-majority": "best-of-majority:judge=[equations]",
    "sfs": "sfs:judge=[equations]",
    "beam": "beam:judge=[equations]",
    "dvts": "dvts:judge=[equations]",
    "particles": "particles:judge=[equations]",
    "a-star": "a-star:judge=[equations]",
    "srm": "srm:judge=[equations],check=[equations]",
    "mcts": "mcts:judge=[equations]",
    "reward-guided": "reward-guided:judge=[equations]",
    "prm": "prm:DIR",
    "quantised": "quantised:recent=6",
    "tree": "tree:segment=8",
    "quest": "quest:budget=20,recent=6,whole=1,page=4",
    "sentences": "sentences:budget=20,recent=6,whole=1,longest=7",
    "snapkv": f"snapkv:{SMALL_CACHE},window=8",
    "kv-view": f"kv-view:[streaming-llm:{SMALL_CACHE}]",
    **REWARDS,
    **TRACES,
}
"""Specs of methods that have a knob without default; those with a trained head are added by ``trained``."""
REQUIRED |= {name: f"{name}:{SMALL_CACHE}" for name in registry.names("kv") if name not in ("full", *REQUIRED)}

MODEL = tiny.model(0, bias=tiny.REASONER)
TARGET, DRAFT, TEXT = CausalLM(MODEL), CausalLM(tiny.noisy(MODEL, 0.1)), tiny.text()
ABOVE = {"memory", "scaling", "judge", "collaboration", "reward", "plan", "trace", "sufficiency", "selector"}
"""Families that work above an engine or without one, whose methods take no part in a run."""
INSIDE = {
    "transform": ("verifier", "match:transform=[{}]"),
    "relaxation": ("verifier", "match:relax=[{}]"),
    "codec": ("kv", "quantised:recent=6,codec=[{}]"),
    "allocator": ("kv", f"key-norm:{SMALL_CACHE},layers=[{{}}]"),
    "merger": ("kv", f"key-norm:{SMALL_CACHE},merge=[{{}}]"),
}
"""Families whose methods are part of another one's."""


@pytest.fixture(scope="module", autouse=True)
def trained(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Heads for the pair of this module."""
    for method in (*TRAINED_METHODS, "judge-head"):
        REQUIRED[method] = heads.spec(tmp_path_factory.mktemp("heads"), method, TARGET, DRAFT)
    store = tmp_path_factory.mktemp("datastore")
    Datastore.of([TEXT.encode("What is 2+2? It is 4.\n\nSo {4}. What is 3+3?")]).save(store)
    REQUIRED["rest"] = f"rest:{store}"
    brought.lend(TARGET)
    REQUIRED["head"] = draft_heads.spec(tmp_path_factory.mktemp("draft_head"), TARGET)
    REQUIRED["online-head"] = f"online-{REQUIRED['head']}"
    plan = tmp_path_factory.mktemp("plan") / "plan.json"
    write_plan(plan, LayerPlan(frozenset({1}), frozenset({0})), TARGET.fingerprint(), {})
    REQUIRED["draft-verify"] = f"draft-verify:{plan}"
    book = tmp_path_factory.mktemp("handbook") / "book.md"
    book.write_text("## add\nAdd what is to be added: a + b.\n")
    REQUIRED["handbook"] = f"handbook:{book}"
    REQUIRED["route-by-probe"] = routes.spec(tmp_path_factory.mktemp("probes"), TARGET, TEXT)
    REQUIRED["spec-exit"] = signals.spec(tmp_path_factory.mktemp("signals"), TARGET)
    router = tmp_path_factory.mktemp("router") / "router.json"
    Router((0.0,) * len(FEATURES), 0.0, TARGET.fingerprint(), DRAFT.fingerprint()).save(router)
    REQUIRED["arbitrage"] = f"arbitrage:{router}"
    outlook = tmp_path_factory.mktemp("outlook")
    outlooks.head(TARGET).save(outlook)
    REQUIRED["zip-rc"] = f"zip-rc:{outlook}"
    REQUIRED["steer"] = steered.spec(tmp_path_factory.mktemp("directions"), TARGET)


def spec(name: str) -> str:
    return REQUIRED.get(name, name)


def methods(family: str, name: str) -> Methods:
    """A run in which this method takes part and all its needs are met."""
    chosen: dict[str, object] = {"drafter": "draft-model", "length": "constant:4"}
    if family in INSIDE:
        whole, within = INSIDE[family]
        chosen[whole] = within.format(spec(name))
    else:
        chosen[family] = (spec(name),) if family == "think" else spec(name)
    return Methods(**chosen)  # type: ignore[arg-type]


def requests(temperature: float) -> list[Request]:
    prompts = [f"What is {i}+{i}?<think>\n" for i in range(4)]
    return [Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i), Limits(40)) for i, p in enumerate(prompts)]


@pytest.mark.parametrize(("family", "name", "cls"), ALL, ids=lambda v: v if isinstance(v, str) else "")
class TestEveryMethod:
    def test_is_documented_and_honest_about_itself(self, family: str, name: str, cls: type[Policy]) -> None:
        assert cls.name == name
        assert len(inspect.getdoc(cls) or "") > 80
        assert cls.card.paper
        below = "".join(inspect.getsource(base) for base in cls.__mro__ if base.__module__.startswith("laconic"))
        for field in dataclasses.fields(cls):
            assert f"    {field.name}:" in below
            after = below.split(f"    {field.name}:", 1)[1].split("\n", 1)[1].lstrip()
            assert after.startswith('"""'), f"knob {field.name} has no docstring under it"

    def test_is_a_leaf(self, family: str, name: str, cls: type[Policy]) -> None:
        """A method's module imports no other method."""
        source = inspect.getsource(inspect.getmodule(cls))  # type: ignore[arg-type]
        others = {inspect.getmodule(other).__name__ for _, _, other in ALL if other is not cls}  # type: ignore[union-attr]
        imported = {line.split()[1] for line in source.splitlines() if line.startswith("from laconic.")}
        assert not imported & others

    def test_is_frozen(self, family: str, name: str, cls: type[Policy]) -> None:
        policy = registry.build(family, spec(name))  # type: ignore[arg-type]
        for field in dataclasses.fields(policy):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(policy, field.name, None)


@pytest.mark.parametrize(
    ("family", "name", "cls"), [m for m in ALL if m[0] not in ABOVE], ids=lambda v: v if isinstance(v, str) else ""
)
class TestEveryMethodOfARun:
    @pytest.mark.parametrize("temperature", [0.0, 0.7])
    def test_works_alone_and_in_a_batch_with_the_same_output(
        self, family: str, name: str, cls: type[Policy], temperature: float
    ) -> None:
        engine = Engine(TARGET, TEXT, methods(family, name), DRAFT)
        alone = [engine.run([r])[0] for r in requests(temperature)]
        again = engine.run(requests(temperature))
        together = engine.run(requests(temperature), batch=3)
        if temperature and cls.card.timed:  # which sample is drawn depends on what was drafted
            assert all(r.tokens and r.finish_reason in ("stop", "length") for r in [*alone, *again, *together])
            return
        assert [r.tokens for r in alone] == [r.tokens for r in again] == [r.tokens for r in together]

    def test_lossless_methods_keep_the_greedy_output(self, family: str, name: str, cls: type[Policy]) -> None:
        plain = Engine(TARGET, TEXT, Methods(drafter="none")).run(requests(0.0))
        mine = Engine(TARGET, TEXT, methods(family, name), DRAFT)
        same = [r.tokens for r in mine.run(requests(0.0), batch=2)] == [r.tokens for r in plain]
        assert same or not cls.card.lossless
        assert mine.lossless or family == "think" or not cls.card.lossless

    def test_works_over_the_models_that_compare_tune_and_certify_put_in_between(
        self, family: str, name: str, cls: type[Policy]
    ) -> None:
        """They time passes, copy prompts and watch slots; what a model can do it can do through them, steering too."""
        asked = [dataclasses.replace(requests(0.0)[1], prompt=tuple(TEXT.encode("Why? " * 15 + "<think>\n")))]
        chosen = methods(family, name)
        expected = Engine(TARGET, TEXT, chosen, DRAFT).run(asked)[0].tokens
        timed = EngineVariant("timed", Engine(PrefillOnce(TARGET), TEXT, chosen, PrefillOnce(DRAFT)))
        assert [r.tokens for r in timed.run(asked * 2, 1).results] == [expected] * 2

    def test_unmet_needs_are_errors_before_the_run(self, family: str, name: str, cls: type[Policy]) -> None:
        chosen = dataclasses.replace(methods(family, name), drafter=spec(name) if family == "drafter" else "none")
        bare = tiny.text(tags_as_tokens=False, template=None)
        always = {"target_rows"}  # what every model that an engine runs can give
        if any(getattr(cls.needs, f.name) for f in dataclasses.fields(cls.needs) if f.name not in always):
            # A model that shows no hidden states and cannot be steered, where that is the need.
            needs = cls.needs
            inside = needs.target_hidden or needs.target_layers or needs.target_parts or needs.steerable
            fake = inside or needs.reducible_cache or family in ("allocator", "codec")
            target = FakeModel.random(0, vocab=264) if fake else TARGET
            with pytest.raises(UnmetNeed, match=re.escape(f"'{name}'")):
                Engine(target, bare, chosen)
        else:
            Engine(TARGET, bare, chosen)


def test_the_docs_have_a_page_for_every_family() -> None:
    pages = Path(laconic.__file__).parents[2] / "docs" / "methods"
    for family, name, _ in ALL:
        assert f"## `{name}`" in (pages / f"{family}.md").read_text()


def test_public_names_are_sorted_and_exist() -> None:
    assert laconic.__all__ == sorted(laconic.__all__)
    assert all(hasattr(laconic, name) for name in laconic.__all__)
