"""What a head hears of tokens is what the target's first layers make of them, along texts, chains and trees."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pytest
import torch

from laconic.models.causal_lm import CausalLM
from laconic.speculation.base import Context, Grown, Tools, way_down
from laconic.speculation.drafters.head.hearing import hearing
from tests import tiny
from tests.speculation.rounds import build, context_of


@dataclass
class Draft:
    context: Context
    nodes: Grown


TEXTS = ([5, 9, 2, 77, 31, 8, 120], [3, 3, 40, 41])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("early", [1, 2])
def test_trees_of_a_batch_are_heard_as_texts_would_be(dtype: torch.dtype, early: int) -> None:
    """Chains at first; then one branches. Afterwards the cache is as it was."""
    target = CausalLM(tiny.model().to(dtype))
    target.show((0, 1))
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    with closing(target.open()) as first, closing(target.open()) as second:
        slots = (first, second)
        drafts = []
        for slot, text in zip(slots, TEXTS, strict=True):
            target.prefill(slot, text[:-1])
            context = context_of(text)
            context.slot = lambda slot=slot: slot
            context.outputs = lambda begin, layers, slot=slot: target.shown(slot, begin, layers)
            drafts.append(Draft(context, Grown()))
        tools = Tools(None, build("shape", "chain"), target.vocab_size, embed=target.embeddings, target=target)

        def truth(draft: Draft, node: int) -> torch.Tensor:
            grown = draft.nodes
            text = [*draft.context.tokens, *way_down(grown.tokens, grown.parents, node)]
            return target.residuals(text, [early - 1])[early - 1][-1]

        with hearing(tools, early) as heard, torch.inference_mode():
            contexts = [draft.context for draft in drafts]
            found = heard.text(contexts, [(1, len(text)) for text in TEXTS])
            expected = [target.residuals(text, [early - 1])[early - 1][1:] for text in TEXTS]
            assert found.allclose(torch.cat(expected), atol=tolerance)
            for tokens, parents in (([7, 8], [-1, -1]), ([9, 10], [0, 0])):  # a token further in both
                fresh = [
                    [draft.nodes.add(token, parent)]
                    for draft, token, parent in zip(drafts, tokens, parents, strict=True)
                ]
                said = heard.drafted(drafts, fresh)
                for row, draft, (node,) in zip(said, drafts, fresh, strict=True):
                    assert row.allclose(truth(draft, node), atol=tolerance)
            branches = [drafts[0].nodes.add(token, parent) for token, parent in ((11, -1), (12, 0), (13, 1))]
            on = drafts[1].nodes.add(14, 1)
            said = heard.drafted(drafts, [branches[1:], [on]])
            expected = [truth(drafts[0], branches[1]), truth(drafts[0], branches[2]), truth(drafts[1], on)]
            assert said.allclose(torch.stack(expected), atol=tolerance)
            deeper = [drafts[0].nodes.add(15, branches[0]), drafts[0].nodes.add(16, branches[2])]
            said = heard.drafted(drafts[:1], [deeper])
            assert said.allclose(torch.stack([truth(drafts[0], node) for node in deeper]), atol=tolerance)
        assert [slot.length for slot in slots] == [len(text) - 1 for text in TEXTS]
