"""The draft model's cache, its passes, and what it draws."""

from __future__ import annotations

import itertools

import pytest
import torch

from laconic import Engine, Limits, Methods
from laconic.errors import UnmetNeed
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.speculation.base import Tools
from laconic.speculation.draws import Draws, warp
from laconic.types import Sampling
from tests import tiny
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain


def tools_of(model: FakeModel | None, shape: str = "chain") -> Tools:
    return Tools(model, build("shape", shape), 8 if model is None else model.vocab_size)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, seed=3)], ids=repr)
@pytest.mark.parametrize("shape", ["chain", "best-first", "best-first:per_pass=1"])
def test_cache_equals_a_fresh_prefill(shape, sampling):
    target = FakeModel.random(1)
    draft = target.noisy(2, 1.0)
    contexts = [context_of(prompt, sampling) for prompt in ([1, 2, 3], [4] * 50)]

    def check(states, trees):
        for state in states:
            assert state.slot.tokens == state.cached
            fresh = draft.open()
            draft.prefill(fresh, state.cached)
            for token in range(8):
                assert torch.equal(
                    draft.score([chain([token])], [fresh]).of(0), draft.score([chain([token])], [state.slot]).of(0)
                )

    decode(target, contexts, 30, build("drafter", "draft-model"), draft=draft, shape=build("shape", shape), after=check)
    assert all(slot.closed for slot in draft.slots[:2])


def test_accepted_drafts_are_never_scored_again():
    model = FakeModel.random(1)
    draft = FakeModel(model.table)
    drafter = build("drafter", "draft-model")
    context = context_of([1, 2, 3])
    state = drafter.start(context, tools_of(draft))
    for fresh in (3, 2, 2, 2):  # The prompt; then the last drafted token, which needs no row, and the target's own.
        passes, scored = draft.passes, draft.scored
        tree = drafter.propose([state], [4], [None])[0]
        assert (draft.passes - passes, draft.scored - scored) == (4, fresh + 3)
        context.tokens += plain(model, context.tokens, 5)
        assert context.tokens[-5:-1] == list(tree.tokens)


def test_requests_draft_in_lock_step():
    draft = FakeModel.random(1)
    drafter = build("drafter", "draft-model")
    contexts = [context_of(prompt) for prompt in ([1], [2, 3], [4, 5, 6])]
    states = [drafter.start(context, tools_of(draft)) for context in contexts]
    trees = drafter.propose(states, [5, 0, 2], [None] * 3)
    assert [len(tree) for tree in trees] == [5, 0, 2]
    assert draft.passes == 5
    assert [list(t.tokens) for t in trees] == [plain(draft, [1], 5), [], plain(draft, [4, 5, 6], 2)]


def test_a_long_prompt_is_prefilled_and_a_short_gap_is_not():
    draft = FakeModel.random(1)
    drafter = build("drafter", "draft-model")
    context = context_of([1, 2] * 100)
    state = drafter.start(context, tools_of(draft))
    drafter.propose([state], [3], [None])
    assert (draft.prefills, draft.scored) == (1, 3)
    context.tokens += [1, 2, 3]
    drafter.propose([state], [3], [None])
    assert draft.prefills == 1


def test_drafting_ends_at_the_draft_models_context():
    draft = FakeModel.random(1)
    draft.context = 6
    drafter = build("drafter", "draft-model")
    context = context_of([1, 2, 3, 4])
    state = drafter.start(context, tools_of(draft))
    assert len(drafter.propose([state], [9], [None])[0]) == 3
    context.tokens += [5, 6]
    assert len(drafter.propose([state], [9], [None])[0]) == 1
    context.tokens += [7]
    assert len(drafter.propose([state], [9], [None])[0]) == 0


def test_text_taken_back_and_replaced():
    draft = FakeModel.random(1)
    drafter = build("drafter", "draft-model")
    context = context_of([1, 2, 3, 4, 5, 6])
    state = drafter.start(context, tools_of(draft))
    drafter.propose([state], [4], [None])
    context.tokens[3:] = [7, 7, 0, 1]
    assert list(drafter.propose([state], [4], [None])[0].tokens) == plain(draft, context.tokens, 4)
    del context.tokens[2:]
    assert list(drafter.propose([state], [4], [None])[0].tokens) == plain(draft, context.tokens, 4)


def test_sampled_chains_are_drawn_from_the_reported_rows():
    draft = FakeModel.random(1)
    drafter = build("drafter", "draft-model")
    sampling = Sampling(temperature=0.7, top_k=4, seed=11)
    context = context_of([1, 2, 3], sampling)
    tree = drafter.propose([drafter.start(context, tools_of(draft))], [5], [None])[0]
    text = list(context.tokens)
    for depth, token in enumerate(tree.tokens):
        row = warp(draft.after(text), sampling)
        assert torch.equal(tree.draft_probs[depth], row)
        assert token == context.draws.pick(row, 3, Draws.DRAFT, depth)
        text.append(token)
    greedy = context_of([1, 2, 3])
    assert drafter.propose([drafter.start(greedy, tools_of(draft))], [5], [None])[0].draft_probs is None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_best_first_finds_the_likeliest_paths(temperature):
    draft = FakeModel.random(4, vocab=4, sharpness=1.0)
    drafter = build("drafter", "draft-model")
    context = context_of([1, 2], Sampling(temperature=temperature))
    state = drafter.start(context, tools_of(draft, "best-first:per_pass=1,top_k=4"))
    tree = drafter.propose([state], [12], [None])[0]
    found = set()
    for node in range(len(tree)):
        path, at = [], node
        while at != -1:
            path.append(tree.tokens[at])
            at = tree.parents[at]
        found.add(tuple(path[::-1]))
    weights = {}
    for depth in range(1, 6):
        for path in itertools.product(range(4), repeat=depth):
            weight = 1.0
            for i, token in enumerate(path):
                weight *= float(draft.after([1, 2, *path[:i]]).softmax(-1)[token])
            weights[path] = weight
    assert found == set(sorted(weights, key=weights.__getitem__, reverse=True)[:12])
    assert tree.draft_probs is None


def test_best_first_saves_passes():
    draft = FakeModel.random(4)
    drafter = build("drafter", "draft-model")
    state = drafter.start(context_of([1, 2]), tools_of(draft, "best-first:per_pass=4"))
    tree = drafter.propose([state], [12], [None])[0]
    assert (len(tree), draft.passes) == (12, 3)


def test_without_a_draft_model():
    with pytest.raises(UnmetNeed):
        build("drafter", "draft-model").start(context_of([1]), tools_of(None))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("shape", ["chain", "best-first"])
def test_a_token_that_the_draft_model_has_no_embedding_for_is_read_over(temperature: float, shape: str) -> None:
    """Checkpoints of one family are padded differently, and a target may write a padded id (vllm#5203)."""
    wide, narrow = tiny.model(0, vocab=270), tiny.model(1, vocab=264)
    wide.lm_head.bias = torch.nn.Parameter(torch.tensor([0.0] * 265 + [4.0] * 5))
    engine = Engine(CausalLM(wide), tiny.text(), Methods("draft-model", "constant:6", shape), CausalLM(narrow))
    plain = engine.using(drafter="none", length="constant", shape="chain")
    for seed in range(4):
        request = engine.request("2+2?" * 12, sampling=Sampling(temperature, seed=seed), limits=Limits(60))
        drafted, expected = engine.run([request])[0], plain.run([request])[0]
        assert drafted.tokens == expected.tokens
        written = [token >= 264 for token in drafted.tokens]
        assert any(written)
        assert not all(written) or temperature == 0
        assert temperature == 0 or drafted.usage.drafted > 6


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, seed=3)], ids=repr)
@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
@pytest.mark.parametrize("inner", ["suffix:shared=false", "stand", "prompt-lookup"])
def test_a_drafted_draft_model_drafts_the_same_in_fewer_passes(sampling, verifier, inner):
    target = FakeModel.random(1, sharpness=3.0)
    texts, drafts, passes = [], [], []
    for spec in ("draft-model", f"draft-model:inner=[{inner}]"):
        draft = target.noisy(2, 0.5)
        seen: list[list[int]] = []
        texts.append(
            decode(
                target,
                [context_of([1, 2, 3], sampling), context_of([4, 5], sampling)],
                120,
                build("drafter", spec),
                draft=draft,
                length=build("length", "constant:6"),
                verifier=build("verifier", verifier),
                after=lambda _, trees, seen=seen: seen.extend(list(tree.tokens) for tree in trees),
            )
        )
        drafts.append(seen)
        passes.append(draft.passes)
        assert all(slot.closed for slot in draft.slots)
    assert texts[0] == texts[1]
    assert drafts[0] == drafts[1]
    if sampling.greedy:  # a random model's greedy text runs in circles
        assert passes[1] < 0.7 * passes[0]
    assert passes[1] <= passes[0]


def test_a_drafted_draft_models_cache_is_that_of_a_fresh_prefill():
    target = FakeModel.random(1)
    draft = target.noisy(2, 1.0)

    def check(states, trees):
        for state in states:
            assert state.slot.tokens == state.cached

    drafter = build("drafter", "draft-model:inner=[prompt-lookup]")
    decode(target, [context_of([1, 2, 3] * 3)], 60, drafter, draft=draft, after=check)
    text = decode(
        target, [context_of([1, 2, 3])], 40, drafter, draft=draft, shape=build("shape", "best-first"), after=check
    )
    assert text == [plain(target, [1, 2, 3], 40)], "in trees nobody drafts for it"


def test_the_draft_model_cannot_draft_for_itself():
    engine = Engine(CausalLM(tiny.model(0)), tiny.text(), Methods(drafter="none"), CausalLM(tiny.model(0)))
    with pytest.raises(UnmetNeed, match="by itself"):
        engine.using(drafter="draft-model:inner=[draft-model]").generate("a", limits=Limits(3))


def test_staged_drafts_in_an_engine_leave_the_text_as_it_is():
    target, draft = CausalLM(tiny.model(0)), CausalLM(tiny.model(0, sharpness=1.9))
    plainly = Engine(target, tiny.text(), Methods(drafter="none"), draft)
    requests = [plainly.request(text, limits=Limits(40)) for text in ("abcabcabc", "xyzzy", "12 12 12")]
    expected = [r.tokens for r in plainly.run(requests, batch=3)]
    for length in ("constant:6", "marginal", "svip"):
        staged = plainly.using(drafter="draft-model:inner=[suffix]", length=length)
        assert [r.tokens for r in staged.run(requests, batch=3)] == expected
