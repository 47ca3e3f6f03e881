"""Several drafters at once: whose draft stands, what is merged, what members hear, and who is not asked for nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from laconic import Engine, Limits, Methods, Request
from laconic.errors import InvalidKnob, UnknownMethod, UnmetNeed
from laconic.models.causal_lm import CausalLM
from laconic.policy import Card, Needs
from laconic.speculation.base import Drafter, Go, Node, TokenTree, Tools, Verdict
from laconic.speculation.drafters.hybrid import Hybrid
from laconic.speculation.drafters.offers import agreed, merged, offer
from laconic.speculation.length.calibration import Calibration, Counts
from laconic.speculation.pace import Pace
from laconic.types import Sampling
from tests import tiny
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain

MODEL = tiny.model(0, bias=tiny.REASONER)
TEXT = tiny.text()
TARGET, DRAFT = CausalLM(tiny.noisy(MODEL, 0.0)), CausalLM(tiny.noisy(MODEL, 0.1))


@dataclass(frozen=True)
class Scripted(Drafter):
    """Knows the text that is written, but errs where ``wrong`` says; ``says`` is its own word for each token."""

    name = "scripted"
    card = Card(paper="a fake", lossless=True)
    text: tuple[int, ...] = ()
    wrong: frozenset[int] = frozenset()
    says: float = 0.9
    most: int = 4
    told: list[Verdict] = field(default_factory=list, compare=False)
    proposed: list[TokenTree] = field(default_factory=list, compare=False)

    def start(self, context, tools):
        return context

    def propose(self, states, budgets, judges):
        trees = []
        for state, budget, judge in zip(states, budgets, judges, strict=True):
            at, tokens = len(state.tokens), []
            for depth in range(min(budget, self.most, len(self.text) - at)):
                if judge is not None and judge(Node(depth, None, self.says)) is not Go.ON:
                    break
                tokens.append(self.text[at + depth] + (at + depth in self.wrong))
            trees.append(TokenTree.of_chain(tokens, self.name))
        self.proposed.extend(trees)
        return trees

    def observe(self, states, verdicts):
        self.told.extend(verdicts)


@dataclass(frozen=True)
class Dear(Scripted):
    """The same, at the cost of passes."""

    name = "dear"
    needs = Needs(draft_model=True)


def run(drafter, text, prompt=2, budget=8, shape="chain", pace=None):
    """The rounds of a target that writes ``text``; their trees."""
    context = context_of(text[:prompt])
    tools = Tools(None, build("shape", shape), 1000, pace or Pace())
    state, trees = drafter.start(context, tools), []
    while len(context.tokens) < len(text) - 1:
        at = len(context.tokens)
        (tree,) = drafter.propose([state], [min(budget, len(text) - at - 1)], [None])
        path = agreed(tree, text[at:-1])
        verdict = Verdict(tree, path, text[at + len(path)])
        context.tokens += verdict.tokens
        if len(tree):
            drafter.observe([state], [verdict])
        trees.append(tree)
    drafter.finish(state)
    return trees


LONG = tuple(random.Random(0).choices(range(100), k=400))


class TestSpec:
    @pytest.mark.parametrize(
        "spec",
        [
            "hybrid:[suffix]+[draft-model]",
            "hybrid:[suffix+draft-model]",
            "hybrid:drafters=[suffix]+[draft-model]",
            "hybrid:drafters=[suffix + draft-model]",
        ],
    )
    def test_is_read(self, spec):
        hybrid = build("drafter", spec)
        assert [drafter.name for drafter in hybrid.drafters] == ["suffix", "draft-model"]
        assert hybrid.spec() == "hybrid:drafters=[suffix+draft-model]"
        assert build("drafter", hybrid.spec()) == hybrid
        assert [policy.name for policy in hybrid.walk()] == ["hybrid", "suffix", "draft-model"]

    def test_members_have_knobs_and_members(self):
        spec = "hybrid:[suffix:factor=2,shared=false]+[hybrid:[prompt-lookup]+[suffix]]"
        hybrid = build("drafter", spec)
        assert hybrid.drafters[0].factor == 2
        assert [drafter.name for drafter in hybrid.drafters[1].drafters] == ["prompt-lookup", "suffix"]
        assert build("drafter", hybrid.spec()) == hybrid

    @pytest.mark.parametrize(
        ("spec", "error", "message"),
        [
            ("hybrid", InvalidKnob, "drafters.*Write hybrid"),
            ("hybrid:[]", InvalidKnob, "at least 1"),
            ("hybrid:suffix", InvalidKnob, "drafters.*Write hybrid"),
            ("hybrid:[suffix]+[sufix]", UnknownMethod, "'sufix'.*Did you mean 'suffix'"),
            ("hybrid:[suffix]+", InvalidKnob, "empty spec"),
            ("hybrid:[suffix]+[prompt-lookup]+[suffix]", InvalidKnob, "'suffix' is there twice"),
        ],
    )
    def test_is_refused(self, spec, error, message):
        with pytest.raises(error, match=message):
            build("drafter", spec)

    def test_needs_are_those_of_its_members(self):
        def engine(spec, **methods):
            return Engine(TARGET, TEXT, Methods(drafter=spec, **methods))

        with pytest.raises(UnmetNeed, match="'draft-model' needs a draft model"):
            engine("hybrid:[suffix]+[draft-model]")
        with pytest.raises(UnmetNeed, match="cannot be part of 'hybrid'"):
            engine("hybrid:[suffix]+[bandit]")
        with pytest.raises(UnmetNeed, match="looks at draft distributions"):
            engine("hybrid:[suffix]+[prompt-lookup]", length="svip")
        with pytest.raises(UnmetNeed, match="grows trees"):
            engine("hybrid:[none]+[prompt-lookup]", shape="best-first")
        assert engine("hybrid:[suffix]+[prompt-lookup]", shape="best-first").lossless


class TestChoice:
    def test_a_members_word_is_held_against_what_was_written(self):
        """One promises much and is always wrong; the other, right, was not scored at first, and is learned of."""
        liar = Scripted(LONG, frozenset(range(400)), says=0.99)
        honest = Scripted(LONG, says=0.4)
        trees = run(Hybrid((liar, honest)), LONG)
        scored = [list(tree.tokens) == list(mine.tokens) for tree, mine in zip(trees, honest.proposed, strict=True)]
        assert not scored[0]
        assert all(scored[8:])

    def test_the_first_of_equals(self):
        first, second = Scripted(LONG), Scripted(LONG, says=0.90001)
        run(Hybrid((first, second)), LONG)
        assert sum(len(verdict.tree) > 0 for verdict in first.told) > 50
        assert not any(len(verdict.tree) for verdict in second.told)
        assert len(second.told) == len(first.told)

    def test_better_than_each_alone_on_mixed_work(self):
        """Each is right in every other stretch of the text."""
        odd = frozenset(i for i in range(400) if i // 20 % 2)
        even = frozenset(range(400)) - odd

        def passes(*drafters):
            return len(run(Hybrid(drafters), LONG))

        def members():
            # each is less sure of itself where it is wrong, as drafters are
            return Unsure(LONG, odd), Unsure(LONG, even)

        alone = [passes(member) for member in members()]
        assert passes(*members()) < 0.8 * min(alone)

    def test_who_proposes_nothing_costs_nothing(self):
        silent, other = Scripted(LONG[:2]), Scripted(LONG)
        assert run(Hybrid((silent, other)), LONG) == run(Hybrid((Scripted(LONG),)), LONG)
        assert not any(map(len, run(Hybrid((silent,)), LONG)))

    def test_what_a_draft_costs_counts(self):
        """A node that costs as much as a token is worth is not worth a small chance."""
        pace = Pace()
        for nodes in (1, 2, 9) * 20:
            pace.record(nodes=nodes, tokens=1, draft_passes=0, draft=0.0, score=nodes * 1.0, rest=0.0)
        short = Scripted(LONG, frozenset(range(0, 400, 2)), most=1)
        long = Scripted(LONG, frozenset(range(0, 400, 2)), most=8)
        for hybrid in (Hybrid((long, short)), Hybrid((short, long))):
            cheap = run(hybrid, LONG)
            dear = run(Hybrid(hybrid.drafters), LONG, pace=pace)
            assert sum(map(len, dear[-50:])) <= sum(map(len, cheap[-50:]))
        assert sum(map(len, dear[-50:])) < 8 * 50


@dataclass(frozen=True)
class Unsure(Scripted):
    """Says of each token a little of whether it is right."""

    def propose(self, states, budgets, judges):
        trees = []
        for state, budget, judge in zip(states, budgets, judges, strict=True):
            at, tokens = len(state.tokens), []
            for depth in range(min(budget, self.most, len(self.text) - at)):
                wrong = at + depth in self.wrong
                judge(Node(depth, None, 0.3 if wrong else 0.6))
                tokens.append(self.text[at + depth] + wrong)
            trees.append(TokenTree.of_chain(tokens, self.name))
        return trees


class TestCosts:
    def test_who_brings_nothing_is_asked_ever_less_often(self):
        dear = Dear(LONG, frozenset(range(400)))
        run(Hybrid((Scripted(LONG, frozenset(range(0, 400, 3))), dear)), LONG)
        rounds = len(run(Hybrid((Scripted(LONG, frozenset(range(0, 400, 3))),)), LONG))
        assert 4 <= len(dear.proposed) < rounds / 8

    def test_who_brings_more_is_asked_almost_always(self):
        dear = Dear(LONG)
        trees = run(Hybrid((Scripted(LONG, frozenset(range(0, 400, 2))), dear)), LONG)
        assert len(dear.proposed) > 0.9 * len(trees)

    def test_who_is_asked_but_has_nothing_leaves_the_others_draft(self):
        trees = run(Hybrid((Dear(LONG[:2]), Scripted(LONG))), LONG)
        assert all(len(tree) == 4 for tree in trees[:-2])

    def test_who_draws_is_never_dropped_for_what_it_drew(self, monkeypatch):
        """A draft of sampled tokens that was made is the one that is scored."""
        target, draft = FakeModel.random(3), FakeModel.random(3).noisy(1, 1.0)
        hybrid = build("drafter", "hybrid:[suffix:offset=3,factor=3]+[draft-model]")
        model, made = hybrid.drafters[1], []
        usual = type(model).propose
        monkeypatch.setattr(type(model), "propose", lambda self, *given: made.append(usual(self, *given)) or made[-1])
        drawn = chosen = 0

        def after(states, trees):
            nonlocal drawn, chosen
            for each in made[-1] if made else []:
                if each.draft_probs is not None:
                    drawn += 1
                    chosen += any(tree is each for tree in trees)
            made.clear()

        for seed in range(6):
            contexts = [context_of([1, 2, 3, 1, 2], Sampling(1.0, seed=seed + i)) for i in (0, 50)]
            decode(
                target,
                contexts,
                40,
                hybrid,
                draft=draft,
                verifier=build("verifier", "speculative-sampling"),
                after=after,
            )
        assert drawn == chosen > 50

    def test_who_draws_without_passes_is_not_asked_for_nothing_either(self):
        """Drawn tokens cost no time here, and all the same a draft of them is never looked at and then dropped."""

        class Drawing(Scripted):
            knows_distribution = True

        sampling = Sampling(1.0, seed=1)
        for greedy in (False, True):
            drawing = Drawing(LONG, frozenset(range(0, 400, 3)))
            hybrid = Hybrid((drawing, Scripted(LONG)))
            context = context_of(LONG[:2], None if greedy else sampling)
            state, scored = hybrid.start(context, Tools(None, build("shape", "chain"), 1000)), []
            while len(context.tokens) < 380:
                at = len(context.tokens)
                (tree,) = hybrid.propose([state], [8], [None])
                scored.append(tree)
                path = agreed(tree, LONG[at:])
                context.tokens += [*LONG[at : at + len(path)], LONG[at + len(path)]]
                hybrid.observe([state], [Verdict(tree, path, LONG[at + len(path)])])
            kept = [any(tree is mine for tree in scored) for mine in drawing.proposed]
            assert len(kept) >= 4
            assert all(kept) != greedy

    def test_slots_are_given_back(self):
        target, draft = FakeModel.random(0), FakeModel.random(0).noisy(1, 0.5)
        contexts = [context_of([1, 2, 3]), context_of([3, 2, 1, 2])]
        decode(target, contexts, 30, build("drafter", "hybrid:[suffix]+[draft-model]"), draft=draft)
        assert len(draft.slots) == 2
        assert all(slot.closed for slot in draft.slots)


def made(tokens, parents, confidences):
    return offer(TokenTree(tokens, parents), confidences, Calibration(), Counts())


class TestTrees:
    def test_shared_prefixes_are_one(self):
        one = made([5, 6, 7], [-1, 0, 1], [0.9, 0.9, 0.9])
        two = made([5, 6, 8, 9], [-1, 0, 1, -1], [0.8, 0.8, 0.5, 0.3])
        tree = merged([one, two], 10, (), "hybrid").tree
        ways = set()
        for node in range(len(tree)):
            way, at = [], node
            while at >= 0:
                way.insert(0, tree.tokens[at])
                at = tree.parents[at]
            ways.add(tuple(way))
        assert ways == {(5,), (5, 6), (5, 6, 7), (5, 6, 8), (9,)}
        assert len(tree) == 5
        assert all(parent < node for node, parent in enumerate(tree.parents))

    def test_the_likeliest_nodes_within_the_budget(self):
        one = made([5, 6, 7], [-1, 0, 1], [0.9, 0.9, 0.1])
        two = made([8, 9], [-1, 0], [0.7, 0.6])
        assert list(merged([one, two], 3, (), "").tree.tokens) == [5, 6, 8]
        assert list(merged([one, two], 5, (6,), "").tree.tokens) == [5, 6, 8, 9], "nothing below an end"

    def test_branches_of_several_members(self):
        """At each place one of the two is right, and that one is in the tree."""
        rng = random.Random(1)
        wrong = frozenset(i for i in range(400) if rng.random() < 0.5)
        one, two = Scripted(LONG, wrong), Scripted(LONG, frozenset(range(400)) - wrong)
        trees = run(Hybrid((one, two)), LONG, shape="best-first", budget=6)
        assert all(len(tree) <= 6 for tree in trees)
        assert sum(tree.parents.count(-1) > 1 for tree in trees) > 0.9 * (len(trees) - 2)
        assert len(trees) <= 0.55 * len(LONG)
        parts = [verdict for verdict in one.told if len(verdict.tree)]
        assert len(parts) > 100
        assert all(verdict.tree.source == "scripted" for verdict in parts)
        assert {len(verdict.path) for verdict in parts} >= {0, 1, 2}

    def test_the_length_policy_is_asked_about_the_tree_that_is_scored(self):
        asked = []

        def judge(node):
            asked.append(node)
            return Go.LAST if len(asked) == 2 else Go.STOP if len(asked) == 3 else Go.ON

        hybrid = Hybrid((Scripted(LONG, frozenset({2})), Scripted(LONG, most=3)))
        state = hybrid.start(context_of(LONG[:2]), Tools(None, build("shape", "best-first"), 1000))
        (tree,) = hybrid.propose([state], [7], [judge])
        assert 0 < len(tree) < len(asked) + 1 <= 8
        assert all(0 < node.confidence < 1 and node.path is not None for node in asked)
        assert list(tree.parents).count(-1) <= 2


def test_a_length_policy_is_not_troubled_with_what_does_not_pay():
    pace = Pace()
    for nodes in (1, 2, 9) * 20:
        pace.record(nodes=nodes, tokens=1, draft_passes=0, draft=0.0, score=nodes * 1.0, rest=0.0)
    for known, most in ((Pace(), 400), (pace, 60)):
        asked = []
        hybrid = Hybrid((Scripted(LONG, frozenset(range(400))),))
        context = context_of(LONG[:2])
        state = hybrid.start(context, Tools(None, build("shape", "chain"), 1000, known))
        for at in range(2, 102):
            (tree,) = hybrid.propose([state], [4], [lambda node: asked.append(node) or Go.ON])  # noqa: B023
            context.tokens.append(LONG[at])
            if len(tree):
                hybrid.observe([state], [Verdict(tree, (), LONG[at])])
        assert len(asked) <= most
        assert len(asked) > 10


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("shape", ["chain", "best-first"])
@pytest.mark.parametrize("length", ["constant:5", "marginal"])
def test_texts_stay_as_they_are(temperature, shape, length):
    prompts = [f"What is {i}+{i}?<think>\n" for i in range(4)]
    asked = [Request(tuple(TEXT.encode(p)), Sampling(temperature, seed=i), Limits(40)) for i, p in enumerate(prompts)]
    plainly = [r.tokens for r in Engine(TARGET, TEXT, Methods(drafter="none")).run(asked)]
    methods = Methods(drafter="hybrid:[suffix]+[draft-model]+[token-recycling]", shape=shape, length=length)
    engine = Engine(TARGET, TEXT, methods, DRAFT)
    assert [r.tokens for r in engine.run(asked)] == plainly
    assert [r.tokens for r in engine.run(asked, batch=3)] == plainly
    report = next(report for name, report in engine.reports().items() if name.startswith("hybrid"))
    # How much is drafted under a length that goes by measured times is the machine's affair.
    assert sum(member["accepted"] for member in report["members"]) > (0 if length == "marginal" else 20)
    assert "accepted by member: suffix" in report["says"]


def test_listeners_hear_every_round(monkeypatch):
    target = FakeModel.random(5)
    hybrid = build("drafter", "hybrid:[suffix:shared=false]+[token-recycling:k=4]")
    assert hybrid.listens
    told, scored = [], []
    usual = type(hybrid.drafters[1]).observe
    monkeypatch.setattr(type(hybrid.drafters[1]), "observe", lambda self, s, v: told.extend(v) or usual(self, s, v))
    found = decode(
        target, [context_of([1, 2, 3])], 60, hybrid, shape=build("shape", "best-first"),
        after=lambda states, trees: scored.extend(trees),
    )[0]  # fmt: skip
    assert found == plain(target, [1, 2, 3], 60)
    assert [verdict.tree for verdict in told] == scored
    assert not all(map(len, scored))
    assert any(len(tree) for tree in scored)


def test_guesses_at_answers_come_from_the_first_member_that_has_one():
    draft = FakeModel.random(2)
    tools = Tools(draft, build("shape", "chain"), draft.vocab_size)
    context = context_of([1, 2, 3])
    hybrid, alone = build("drafter", "hybrid:[suffix]+[draft-model]"), build("drafter", "draft-model")
    guess = alone.complete(alone.start(context, tools), 3, [4], 5, lambda token: False)
    assert len(guess) == 5
    state = hybrid.start(context, tools)
    assert hybrid.complete(state, 3, [4], 5, lambda token: False) == guess
    hybrid.finish(state)
