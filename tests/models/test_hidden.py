"""Hidden states that come with scores: those of Transformers, on both paths, aligned with the logits."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, PreTrainedModel

from laconic.models.base import ScoreTree, ShowsHidden, chain
from laconic.models.causal_lm import CausalLM
from tests import tiny

LONG, SHORT = [(7 * i) % 90 + 3 for i in range(20)], [(5 * i) % 90 + 3 for i in range(11)]


def gemma() -> PreTrainedModel:
    """Soft caps its logits, so they are not simply the head's product; and never runs on the written-out path."""
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=16,
                          num_attention_heads=2, num_key_value_heads=1, sliding_window=8)  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize(
    ("original", "written_out"), [(tiny.model(0), True), (tiny.model(0), False), (gemma(), False)],
    ids=["fast", "plain", "gemma2"],
)  # fmt: skip
def test_equal_those_of_transformers_in_a_ragged_batch_of_trees(original: PreTrainedModel, written_out: bool) -> None:
    def theirs(tokens: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return original(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1][0]

    lm = CausalLM(copy.deepcopy(original), written_out=written_out)
    assert (lm.host.fast is not None) == written_out
    assert isinstance(lm, ShowsHidden)
    a, idle, b = lm.open(), lm.open(), lm.open()
    for slot, tokens in ((a, LONG), (idle, [5]), (b, SHORT)):
        lm.prefill(slot, tokens)
    tree = ScoreTree([9, 10, 11, 12, 13], [-1, 0, 0, 2, -1], [-1, -1, -1, -1, 14])
    plain = lm.score([tree, chain([4, 8])], [a, b])
    assert plain.hidden is None
    assert plain.hidden_of(0) is None
    lm.keep_hidden = True
    scores = lm.score([tree, chain([4, 8])], [a, b])
    torch.testing.assert_close(scores.of(0), plain.of(0))
    assert scores.hidden is not None
    assert scores.hidden.shape == (len(scores.flat), lm.hidden_size)
    first, second = scores.hidden_of(0), scores.hidden_of(1)
    assert first is not None
    for node, path in {0: [9], 1: [9, 10], 2: [9, 11], 3: [9, 11, 12]}.items():
        torch.testing.assert_close(first[node], theirs(LONG + path)[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first[4], theirs([*LONG[:14], 13])[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second, theirs([*SHORT, 4, 8])[-2:], atol=1e-4, rtol=1e-4)


def test_are_what_the_logits_are_made_of_in_bfloat16_too() -> None:
    original = tiny.model(0).to(torch.bfloat16)
    head = original.get_output_embeddings().weight.detach().float().clone()
    lm = CausalLM(original)
    lm.keep_hidden = True
    scores = lm.score([chain(LONG)], [lm.open()])
    hidden = scores.hidden_of(0)
    assert hidden is not None
    torch.testing.assert_close(hidden.float() @ head.T, scores.of(0).float(), atol=0.1, rtol=0.02)


def test_a_fingerprint_knows_weights_and_no_number_format() -> None:
    one, other = tiny.model(0), tiny.noisy(tiny.model(0), 0.1)
    fingerprint = CausalLM(copy.deepcopy(one)).fingerprint()
    assert len(fingerprint) == 16
    assert CausalLM(copy.deepcopy(one), written_out=False).fingerprint() == fingerprint
    assert CausalLM(copy.deepcopy(one).to(torch.bfloat16)).fingerprint() == fingerprint
    assert CausalLM(other).fingerprint() != fingerprint


def test_embeddings_are_the_models_own() -> None:
    original = tiny.model(0)
    expected = original.get_input_embeddings().weight[7].clone()
    assert torch.equal(CausalLM(original).embedding(7), expected)
