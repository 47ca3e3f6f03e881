"""Match gives the very text of plain decoding, whoever drafts."""

from __future__ import annotations

import pytest

from laconic.errors import MethodError
from laconic.speculation.base import EMPTY, TokenTree
from laconic.types import Sampling
from tests.fakes import FakeModel
from tests.speculation.rounds import build, context_of, decode, plain, rows_of

PROMPTS = ([1, 2, 3], [4] * 40, [5])


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, top_k=5, min_p=0.02, seed=9)], ids=repr)
@pytest.mark.parametrize("shape", ["chain", "best-first"])
@pytest.mark.parametrize("drafter", ["prompt-lookup", "suffix", "draft-model", "suffix:fallback=[draft-model]"])
def test_same_seed_same_text(drafter, shape, sampling):
    target = FakeModel.random(1)
    contexts = [context_of(prompt, sampling) for prompt in PROMPTS]
    options = {"draft": target.noisy(2, 1.0), "shape": build("shape", shape)}
    texts = decode(target, contexts, 40, build("drafter", drafter), **options)
    assert texts == [plain(target, prompt, 40, sampling) for prompt in PROMPTS]


@pytest.mark.parametrize("verifier", ["match", "speculative-sampling"])
def test_descends_to_the_last_agreeing_node(verifier):
    target = FakeModel.random(1)
    context = context_of([1, 2])
    a, b, c = plain(target, [1, 2], 3)
    wrong = (b + 1) % 8
    tree = TokenTree([(a + 1) % 8, a, wrong, b], [-1, -1, 1, 1])
    verdict = build("verifier", verifier).verify(rows_of(target, context, tree), tree, context.draws)
    assert list(verdict.path) == [1, 3]
    assert verdict.tokens == [a, b, c]


def test_an_empty_tree_gives_one_token():
    target, context = FakeModel.random(1), context_of([1, 2])
    verdict = build("verifier", "match").verify(rows_of(target, context, EMPTY), EMPTY, context.draws)
    assert verdict.tokens == plain(target, [1, 2], 1)


def test_a_token_that_was_never_drawn_is_an_error():
    target, context = FakeModel.random(1), context_of([1, 2], Sampling(temperature=1.0))
    row = target.after([1, 2]).softmax(-1)
    row[3] = 0
    tree = TokenTree.of_chain([3], draft_probs=[row])
    with pytest.raises(MethodError, match="draft probability 0"):
        build("verifier", "speculative-sampling").verify(rows_of(target, context, tree), tree, context.draws)
