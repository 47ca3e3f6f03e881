"""A bandit over whole ways to draft: what it takes for an arm, and what it does to those who are left out."""

from __future__ import annotations

import pytest

from laconic import Engine, Limits, Methods, Request, Sampling
from laconic.errors import InvalidKnob, UnknownKnob, UnknownMethod, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.speculation.arms import Pull
from laconic.speculation.base import Arm, Tools
from laconic.speculation.drafters.bandit import Bandit
from laconic.speculation.drafters.suffix import Suffix
from tests import tiny
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain

MODEL = tiny.model(0, bias=tiny.REASONER)
TEXT = tiny.text()
TARGET, DRAFT = CausalLM(tiny.noisy(MODEL, 0.0)), CausalLM(tiny.noisy(MODEL, 0.1))
EVEN = "bandit:algorithm=exp3,even=1,arms="
"""Arms drawn evenly: every round another one."""


def requests(temperature: float = 0.0, count: int = 4, most: int = 40) -> list[Request]:
    prompts = [f"What is {i}+{i}?<think>\n" for i in range(count)]
    return [Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i), Limits(most)) for i, p in enumerate(prompts)]


def engine(drafter, **methods) -> Engine:
    return Engine(TARGET, TEXT, Methods(drafter=drafter, **methods), DRAFT)


def always(policy: Bandit, monkeypatch, *arms: int) -> None:
    """Let the arms take turns in this order, again and again."""
    turns = [Pull(arm) for arm in arms]
    ledger = policy._ledger
    ledger.cold.clear()
    monkeypatch.setattr(type(ledger), "choose", lambda self, how: turns[sum(self.pulls) % len(turns)])


class TestArms:
    def test_are_drafter_length_shape(self):
        spec = "bandit:arms=suffix@constant:4|[suffix:min_prob=0.3,factor=2]|draft-model@svip:0.5@best-first|none"
        policy = build("drafter", spec)
        first, second, third, fourth = policy.choices
        assert (first.drafter.name, first.length.tokens, first.shape.name) == ("suffix", 4, "chain")
        assert (second.drafter.min_prob, second.drafter.factor, second.length.name) == (0.3, 2, "marginal")
        assert (third.drafter.name, third.length.threshold, third.shape.name) == ("draft-model", 0.5, "best-first")
        assert fourth.drafter.name == "none"
        assert policy.spec() == spec
        assert build("drafter", policy.spec()) == policy
        assert build("drafter", "bandit").spec() == "bandit"

    @pytest.mark.parametrize(
        ("arms", "error", "says"),
        [
            ("sufix@constant:4|none", UnknownMethod, "arm 'sufix@constant:4': no drafter is called 'sufix'"),
            ("none|suffix@const", UnknownMethod, "arm 'suffix@const': no length"),
            ("none|suffix@constant:4@bush", UnknownMethod, "arm 'suffix@constant:4@bush': no shape"),
            ("none|suffix@constant:0", InvalidKnob, "arm 'suffix@constant:0'.*greater than or equal to 1"),
            ("none|suffix@constant:size=3", UnknownKnob, "arm 'suffix@constant:size=3'.*no knob 'size'"),
            ("none||suffix", InvalidKnob, "arm '' is not drafter@length@shape"),
            ("none|suffix@", InvalidKnob, "arm 'suffix@' is not"),
            ("none|suffix@constant:4@chain@2", InvalidKnob, "arm 'suffix@constant:4@chain@2' is not"),
            ("none|suffix@[constant:4", InvalidKnob, "brackets do not match"),
            ("", InvalidKnob, "at least one arm"),
            ("suffix|none|suffix@marginal@chain", InvalidKnob, "'suffix@marginal@chain' is the same as 'suffix'"),
            ("none|suffix:shared=false,factor=2", UnknownKnob, "no knob 'factor'"),
        ],
    )
    def test_that_are_malformed_are_named(self, arms, error, says):
        with pytest.raises(error, match=says):
            build("drafter", f"bandit:arms={arms}")

    def test_may_be_objects(self):
        arm = Arm(build("drafter", "suffix"), build("length", "constant:2"), build("shape", "chain"))
        policy = Bandit(arms=[arm, "none", build("drafter", "prompt-lookup")])
        assert [a.drafter.name for a in policy.choices] == ["suffix", "none", "prompt-lookup"]
        assert build("drafter", f"bandit:arms={policy.arms}") == policy
        assert build("drafter", "bandit:arms=[suffix:min_prob=0.3,factor=2]").choices[0].drafter.factor == 2
        with pytest.raises(InvalidKnob, match="'algorithm'"):
            build("drafter", "bandit:algorithm=thompson,arms=none")

    @pytest.mark.parametrize(
        ("arms", "says"),
        [
            ("suffix|draft-model@constant:4", "arm 'draft-model@constant:4': 'draft-model' needs a draft model"),
            ("none|suffix@svip", "arm 'suffix@svip': 'svip' looks at draft distributions"),
            ("none|prompt-lookup@constant:4@best-first", "best-first': 'best-first' grows trees"),
            ("none|[suffix:fallback=[draft-model]]", "'draft-model' needs a draft model"),
            ("none|bandit", "'bandit' decides lengths itself and cannot be part of 'bandit'"),
        ],
    )
    def test_whose_needs_are_unmet_are_named(self, arms, says):
        with pytest.raises(UnmetNeed, match=says):
            Engine(TARGET, TEXT, Methods(drafter=f"bandit:arms={arms}"))

    def test_need_together_what_each_of_them_needs(self):
        assert engine("bandit:arms=suffix|draft-model@svip@best-first|none").lossless
        with pytest.raises(UnmetNeed, match="cannot be part of 'suffix'"):
            engine("suffix:fallback=[bandit]")
        loaded = Engine.load("bundled", drafter="bandit:arms=suffix|draft-model")
        assert loaded.draft_model is not None


def test_the_runs_own_length_does_not_cut_an_arm(monkeypatch):
    made = engine("bandit:arms=draft-model@constant:9|none", length="constant:1", shape="best-first")
    assert (made.plan.length.spec(), made.plan.shape.spec()) == ("by-arm", "chain")
    policy = made.plan.drafter
    always(policy, monkeypatch, 0)
    sizes = []
    usual = Bandit.observe
    monkeypatch.setattr(Bandit, "observe", lambda self, s, v: sizes.extend(len(x.tree) for x in v) or usual(self, s, v))
    results = made.run(requests(most=60))
    assert max(sizes) == 9
    assert all(len(result.tokens) <= 60 for result in results)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_output_is_that_of_plain_decoding(temperature, batch):
    arms = "suffix@constant:4|draft-model@constant:8|draft-model@constant:16@best-first|prompt-lookup|none"
    expected = engine("none").run(requests(temperature))
    for spec in (f"bandit:arms={arms}", EVEN + arms):
        found = engine(spec).run(requests(temperature), batch=batch)
        assert [r.tokens for r in found] == [r.tokens for r in expected]
        assert all(r.lossless for r in found)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 1, 1, 1, 1, 1, 0, 3, 3, 2), (3, 0, 0, 2, 2, 2, 1)])
def test_drafters_that_were_left_out_catch_up(order, monkeypatch):
    """Whatever the order of arms, a drafter proposes what it would have proposed had it drafted all along."""
    target = FakeModel.random(3)
    draft, context = target.noisy(1, 0.5), context_of([1, 2, 3])
    policy = build("drafter", "bandit:arms=draft-model@constant:3|suffix@constant:3|prompt-lookup@constant:3|none")
    always(policy, monkeypatch, *order)
    usual, sizes = Bandit.propose, []

    def compare(self, states, budgets, judges):
        (tree,) = usual(self, states, budgets, judges)
        fresh, now = build("drafter", self.choices[states[0].pull.arm].drafter.name), context_of([1, 2, 3])
        now.tokens[:] = context.tokens
        inner = fresh.start(now, Tools(draft, build("shape", "chain"), 8))
        assert list(fresh.propose([inner], [3], [None])[0].tokens) == list(tree.tokens)
        fresh.finish(inner)
        sizes.append((states[0].pull.arm, len(tree)))
        return [tree]

    monkeypatch.setattr(Bandit, "propose", compare)
    (text,) = decode(target, [context], 60, policy, draft=draft, length=build("length", "constant:99"))
    assert text == plain(target, [1, 2, 3], 60)
    assert {arm for arm, size in sizes if size} == {0, 1, 2}
    assert all(slot.closed for slot in draft.slots), "every drafter was told that the request has ended"


def test_arms_of_one_drafter_share_its_state_and_what_it_learned():
    policy = build(
        "drafter", "bandit:arms=draft-model@constant:2|draft-model@constant:6@k-ary|suffix|suffix@constant:2"
    )
    draft = FakeModel.random(1)
    state = policy.start(context_of([1, 2]), Tools(draft, build("shape", "chain"), 8))
    assert len(draft.slots) == 1
    assert len(state.drafters) == 2
    assert len(state.lengths) == 4
    (suffix,) = {id(policy._drafters[policy._drafter_of[arm]]) for arm in (2, 3)}
    assert suffix == id(policy._drafters[1])
    policy.finish(state)


def test_all_requests_of_a_round_draft_by_the_same_arm_and_the_round_is_credited_once():
    policy = build("drafter", EVEN + "prompt-lookup@constant:2|suffix@constant:3|none")
    target, seen = FakeModel.random(2), []
    contexts = [context_of([1, 2, 1, 2]), context_of([3, 4, 3, 4, 3])]
    decode(target, contexts, 30, policy, after=lambda states, _: seen.append({state.pull.arm for state in states}))
    assert all(len(arms) == 1 for arms in seen)
    assert {arm for arms in seen for arm in arms} == {0, 1, 2}
    assert sum(policy._ledger.pulls) == len(seen) - 3, "but for the first round of each arm"
    assert policy._ledger.tokens[2] == 2 * policy._ledger.pulls[2], "one token a request where nothing is drafted"


def test_a_round_without_a_time_is_not_counted():
    policy = build("drafter", "bandit:arms=none")
    state = policy.start(context_of([1]), Tools(None, build("shape", "chain"), 8))
    policy.propose([state], [4], [None])
    policy._ledger.cold.clear()
    policy.credit([state], 1, 0.0)
    assert policy.report() is None
    policy.credit([state], 1, 0.5)
    assert policy.report()["rounds"] == 1


def test_lengths_learn_from_their_own_rounds_alone(monkeypatch):
    policy = build("drafter", "bandit:arms=draft-model@aimd|prompt-lookup@aimd|none")
    always(policy, monkeypatch, 0, 1, 2)
    target, grown = FakeModel.random(2), []
    decode(target, [context_of([1, 2])], 30, policy, draft=target, length=build("length", "constant:99"),
           after=lambda states, _: grown.append(states[0].lengths[0].tokens))  # fmt: skip
    assert grown[:4] == [7, 7, 7, 9], "a perfect draft model, asked in every third round, gains two tokens each time"


def test_it_guesses_answers_as_the_drafter_of_the_last_round_would(monkeypatch):
    policy = build("drafter", "bandit:arms=draft-model@constant:3|suffix")
    model = FakeModel.random(5)
    state = policy.start(context_of([1, 2, 3]), Tools(model, build("shape", "chain"), 8))
    always(policy, monkeypatch, 0)
    policy.propose([state], [3], [None])
    alone = build("drafter", "draft-model")
    inner = alone.start(context_of([1, 2, 3]), Tools(model, build("shape", "chain"), 8))
    guess = policy.complete(state, 2, [4], 5, lambda _: False)
    assert guess == alone.complete(inner, 2, [4], 5, lambda _: False)
    assert len(guess) == 5
    state.pull = Pull(1)
    assert policy.complete(state, 2, [4], 5, lambda _: False) == []


def test_probes_and_text_that_is_taken_back_change_nothing():
    arms = "suffix|prompt-lookup@constant:3|draft-model@constant:8|none"
    think = ("answer-confidence:threshold=0.2",)
    plainly = engine("none", think=think).run(requests(count=6, most=80))
    assert any(result.events for result in plainly)
    found = engine(EVEN + arms, think=think).run(requests(count=6, most=80), batch=3)
    assert [r.tokens for r in found] == [r.tokens for r in plainly]
    assert [r.events for r in found] == [r.events for r in plainly]
    assert not [slot for slot in DRAFT.slots if slot is not None]


def test_the_better_arm_wins_and_the_engine_reports_it():
    arms = "draft-model@constant:8|none"
    target = CausalLM(tiny.model(0, layers=8, bias=tiny.REASONER))
    made = Engine(target, TEXT, Methods(drafter=f"bandit:arms={arms}"), target)
    made.run(requests(count=8, most=60))
    ((spec, report),) = made.reports().items()
    assert spec == f"bandit:arms={arms}"
    assert {arm["arm"] for arm in report["arms"]} == {"draft-model@constant:8", "none"}
    assert sum(arm["pulls"] for arm in report["arms"]) == report["rounds"] > 8
    assert report["regret_seconds"] >= 0
    assert "regret against" in report["says"]


def test_the_verdict_of_an_arm_reaches_its_own_drafter(monkeypatch):
    seen: list[tuple[str, int]] = []
    usual = Suffix.observe
    monkeypatch.setattr(
        Suffix, "observe", lambda self, s, v: seen.extend(("suffix", len(x.tree)) for x in v) or usual(self, s, v)
    )
    policy = build("drafter", "bandit:arms=prompt-lookup@constant:2|suffix@constant:2")
    always(policy, monkeypatch, 0, 1)
    decode(FakeModel.random(2), [context_of([1, 2, 1, 2, 1, 2])], 12, policy)
    assert any(size for _, size in seen)
    assert any(not size for _, size in seen), "a round in which it drafted nothing, and others did"
