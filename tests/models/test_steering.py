"""Steered passes equal a full recomputation by Transformers with vectors added by hooks; nothing else is touched."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPTNeoXConfig, PreTrainedModel, Qwen3Config

from laconic.errors import RequestError, UnsupportedModel
from laconic.models import steering
from laconic.models.base import ScoreTree, Slot, Steerable, chain
from laconic.models.causal_lm import PREFILL_CHUNK, CausalLM
from laconic.models.native.bf16 import kernels
from tests import tiny
from tests.steered import logits as reference
from tests.steered import vectors

LONG, SHORT = [(7 * i) % 90 + 3 for i in range(20)], [(5 * i) % 90 + 3 for i in range(11)]
TREE = ScoreTree([9, 10, 11, 12, 13], [-1, 0, 0, 2, -1], [-1, -1, -1, -1, 14])
PATHS = {0: [*LONG, 9], 1: [*LONG, 9, 10], 2: [*LONG, 9, 11], 3: [*LONG, 9, 11, 12], 4: [*LONG[:14], 13]}


def gemma() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=16,
                          num_attention_heads=2, num_key_value_heads=1, sliding_window=8)  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def neox() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPTNeoXConfig(vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                           num_attention_heads=4, max_position_embeddings=256)  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


MODELS = {"fast": (tiny.model(0), True), "plain": (tiny.model(0), False), "gemma2": (gemma(), False),
          "gpt-neox": (neox(), False)}  # fmt: skip


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_equals_a_slow_reference_in_a_ragged_batch_of_trees(name: str) -> None:
    """Prefill, batch, tree and a branch off an earlier point; one slot steered from its middle, another at two layers,
    one not at all."""
    original, written_out = MODELS[name]
    lm = CausalLM(copy.deepcopy(original), written_out=written_out)
    assert (lm.host.fast is not None) == written_out
    assert isinstance(lm, Steerable)
    first, second = vectors(0, scale=0.3), vectors(0, 1, seed=1, scale=0.3)
    a, idle, free, b = (lm.open() for _ in range(4))
    lm.steer(a, first, 15)
    lm.steer(b, second, 0)
    for slot, tokens in ((a, LONG), (idle, [5]), (free, SHORT), (b, SHORT)):
        lm.prefill(slot, tokens)
    scores = lm.score([TREE, chain([4, 8]), chain([4, 8, 6])], [a, free, b])
    for node, tokens in PATHS.items():
        close(scores.of(0)[node], reference(original, tokens, first, 15))
    for i, row in enumerate(scores.of(1)):
        close(row, reference(original, [*SHORT, 4, 8][: len(SHORT) + i + 1], {}, 0))
    for i, row in enumerate(scores.of(2)):
        close(row, reference(original, [*SHORT, 4, 8, 6][: len(SHORT) + i + 1], second, 0))
    free_too = reference(original, PATHS[1], {}, 0)
    assert (scores.of(0)[1] - free_too).abs().max() > 0.02, "steering does nothing"
    assert torch.allclose(scores.of(0)[4], reference(original, PATHS[4], {}, 0), atol=2e-4), "before the start"


@pytest.mark.parametrize("written_out", [True, False])
def test_other_slots_of_the_pass_are_the_same_bit_for_bit(written_out: bool) -> None:
    lm = CausalLM(tiny.model(0), written_out=written_out)
    slots = [lm.open(), lm.open()]
    trees = [chain(LONG), chain(SHORT)]
    before = lm.score(trees, slots).of(1).clone()
    lm.steer(slots[0], vectors(0, 1), 3)
    after = lm.score(trees, slots)
    assert torch.equal(after.of(1), before)
    lm.steer(slots[0], {}, 0)
    assert torch.equal(lm.score(trees, slots).of(1), before)


def test_forks_are_steered_and_places_given_back_are_not() -> None:
    lm = CausalLM(tiny.model(0))
    added = vectors(1)
    slot = lm.open()
    lm.steer(slot, added, 4)
    lm.prefill(slot, LONG)
    other = slot.fork()
    slot.close()
    expected = reference(tiny.model(0), [*LONG, 9], added, 4)
    close(lm.score([chain([9])], [other]).of(0)[0], expected)
    fresh = lm.open()
    lm.prefill(fresh, LONG)
    close(lm.score([chain([9])], [fresh]).of(0)[0], reference(tiny.model(0), [*LONG, 9], {}, 0))
    close(lm.score([chain([9])], [other]).of(0)[0], expected)


def test_a_rollback_and_other_words_are_steered_by_position() -> None:
    lm = CausalLM(tiny.model(0))
    added = vectors(0)
    slot = lm.open()
    lm.steer(slot, added, len(SHORT) + 1)
    lm.score([chain(SHORT)], [slot])
    slot.commit(range(len(SHORT)))
    lm.score([chain([4, 5, 6])], [slot])
    slot.commit([0, 1, 2])
    slot.rollback(2)
    found = lm.score([chain([7, 8])], [slot]).of(0)[1]
    close(found, reference(tiny.model(0), [*SHORT, 4, 7, 8], added, len(SHORT) + 1))


@pytest.mark.parametrize("name", MODELS)
def test_residuals_are_those_of_transformers(name: str) -> None:
    original, written_out = MODELS[name]
    lm = CausalLM(copy.deepcopy(original), written_out=written_out)
    tokens = [(3 * i) % 200 + 5 for i in range(40)]
    with torch.inference_mode():
        theirs = original(torch.tensor([tokens]), output_hidden_states=True).hidden_states
    found = lm.residuals(tokens, [0])
    assert set(found) == {0}
    close(found[0], theirs[1][0])
    assert not lm.slots


def test_residuals_of_a_text_longer_than_a_pass() -> None:
    lm = CausalLM(tiny.model(0))
    lm.context = 2 * PREFILL_CHUNK
    tokens = [(3 * i) % 200 + 5 for i in range(PREFILL_CHUNK + 9)]
    found = lm.residuals(tokens, [0, 1])
    assert [part.shape for part in found.values()] == [(len(tokens), 32)] * 2
    close(found[1][:50], lm.residuals(tokens[:50], [1])[1])


@pytest.mark.parametrize("layer", [0, 1])
def test_hooks_do_not_outlive_a_pass_that_fails(layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = CausalLM(tiny.model(0), written_out=False)
    layers = steering.decoder_layers(lm.model, 2)
    assert layers is not None
    slot = lm.open()
    lm.steer(slot, vectors(0, 1), 0)
    with monkeypatch.context() as patch:
        patch.setattr(layers[layer], "forward", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lm.score([chain(SHORT)], [slot])
    assert not any(module._forward_hooks for module in layers)
    lm.score([chain(SHORT)], [slot])
    assert not any(module._forward_hooks for module in layers)


def test_passes_that_nobody_steers_have_no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = CausalLM(tiny.model(0), written_out=False)
    monkeypatch.setattr(torch.nn.Module, "register_forward_hook", lambda *a, **k: 1 / 0)
    lm.score([chain(SHORT)], [lm.open()])


@pytest.mark.skipif(kernels() is None, reason="no AVX2, or no C compiler")
@pytest.mark.parametrize("dim", [32, 20], ids=["one call", "by layers"])
def test_in_bfloat16_a_steered_token_is_the_same_whatever_the_pass(dim: int) -> None:
    """Chain, tree, one by one and in a batch with a free slot: bit for bit, and about what float32 gives."""
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=3, head_dim=dim,
                         num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2)  # fmt: skip
    original = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
    lm = CausalLM(copy.deepcopy(original))
    assert lm.host.fast is not None
    assert (lm.host.fast.stack is not None) == (dim == 32)
    added = {layer: vector.bfloat16() for layer, vector in vectors(0, 2, width=64, scale=1.0).items()}
    text, more = LONG[:9], [9, 11, 12]

    def opened() -> Slot:
        slot = lm.open()
        lm.steer(slot, added, len(text))
        lm.score([chain(text)], [slot])
        slot.commit(range(len(text)))
        return slot

    alone = opened()
    rows = []
    for token in more:
        rows.append(lm.score([chain([token])], [alone]).of(0)[0].clone())
        alone.commit([0])
    tree = ScoreTree([9, 10, 11, 12, 4], [-1, 0, 0, 2, -1], [-1, -1, -1, -1, 3])
    wide = lm.score([chain(SHORT), tree], [lm.open(), opened()]).of(1)
    assert torch.equal(wide[[0, 2, 3]], torch.stack(rows))
    expected = reference(original.float(), [*text, *more], {k: v.float() for k, v in added.items()}, len(text))
    assert float((rows[-1].float() - expected).norm() / expected.norm()) < 0.05
    free = reference(original, [*text, *more], {}, 0)
    assert float((rows[-1].float() - free).norm() / free.norm()) > 0.2


@pytest.mark.parametrize(("layer", "width"), [(2, 32), (-1, 32), (0, 31)])
def test_vectors_that_do_not_fit_are_refused(layer: int, width: int) -> None:
    lm = CausalLM(tiny.model(0))
    with pytest.raises(RequestError, match="layers 0 to 1"):
        lm.steer(lm.open(), {layer: torch.zeros(width)}, 0)


def test_a_model_whose_layers_are_not_found_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = CausalLM(tiny.model(0), written_out=False)
    monkeypatch.setattr(lm.host, "_decoder_layers", None)
    slot = lm.open()
    lm.steer(slot, vectors(0), 0)
    with pytest.raises(UnsupportedModel, match="not found"):
        lm.score([chain(SHORT)], [slot])
