"""Passes over a reduced cache: attention under a mask that hides what was taken away, at the positions of old."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GptOssConfig, PreTrainedConfig

from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.slot_host import SlotHost
from tests.kv.methods import EVICTING, fit, opened, policy
from tests.models.test_native import CONFIGS, SMALL, needs_kernels

MOE = {"num_local_experts": 2, "num_experts_per_tok": 1}
KINDS: dict[str, PreTrainedConfig] = {
    **CONFIGS,
    # every other layer with a window; soft caps, sinks
    "gemma2": Gemma2Config(**SMALL | {"head_dim": 16}, sliding_window=16, query_pre_attn_scalar=20),
    "gpt-oss": GptOssConfig(**SMALL | {"head_dim": 16}, sliding_window=16, **MOE),
}
TOKENS = [(11 * i * i + 5 * i) % 90 + 3 for i in range(150)]


def built(kind: str, *, layers: int, dtype: torch.dtype = torch.float32) -> tuple[CausalLM, Any]:
    torch.manual_seed(3)
    config = copy.deepcopy(KINDS[kind])
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    made = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    return CausalLM(copy.deepcopy(made)), made


def oracle(model: Any, tokens: list[int], parents: list[int], seen: torch.Tensor, window: list[int | None]) -> Any:
    """Logits of Transformers' own pass without a cache, in which query i sees key j where ``seen[layer, heads, i, j]``.

    ``parents[i]`` is the token before token i, so that positions follow the tree; windows count by positions.
    """
    positions: list[int] = []
    for parent in parents:
        positions.append(0 if parent < 0 else positions[parent] + 1)
    at = torch.tensor(positions)
    near = [at[None] > at[:, None] - w if w is not None else torch.ones_like(seen[0, 0]) for w in window]
    masks = [torch.where(s & n, 0.0, -torch.inf)[None] for s, n in zip(seen, near, strict=True)]
    attentions = [layer.self_attn for layer in model.model.layers]
    hooks = [
        attention.register_forward_pre_hook(
            lambda _, args, kwargs, mask=mask: (args, kwargs | {"attention_mask": mask.to(model.dtype)}),
            with_kwargs=True,
        )
        for attention, mask in zip(attentions, masks, strict=True)
    ]
    model.set_attn_implementation("eager")
    try:
        return model(torch.tensor([tokens]), position_ids=at[None], use_cache=False).logits[0]
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral-sliding", "gemma2", "gpt-oss"])
@pytest.mark.parametrize("name", EVICTING)
@torch.inference_mode()
def test_what_was_taken_away_is_hidden_and_nothing_else(kind: str, name: str) -> None:
    """One layer, so that each head's own choice can be told as a mask; two where windows alternate."""
    layers = 2 if kind in ("gemma2", "gpt-oss") else 1
    model, own = built(kind, layers=layers)
    tree = ScoreTree([7, 8, 9, 10, 11], [-1, 0, 0, 2, -1])
    tokens = TOKENS[:97]
    slot = opened(model, policy(name, "stepwise=True"), tokens, 60)
    groups = model.config.num_attention_heads // model.config.num_key_value_heads
    size = len(tokens) + len(tree)
    seen = torch.ones(layers, groups * model.config.num_key_value_heads, size, size, dtype=torch.bool).tril()
    while slot.length < len(tokens):
        fit(slot)
        if slot.past is not None:
            hide(seen, slot, groups)
        model.prefill(slot, tokens[slot.length : slot.length + min(slot.room, 9, len(tokens) - slot.length)])
    fit(slot)
    if slot.past is not None:
        hide(seen, slot, groups)
    assert slot.keeper is not None
    assert slot.keeper.since > 60
    parents = [*range(-1, len(tokens) - 1), *(p + len(tokens) if p >= 0 else len(tokens) - 1 for p in tree.parents)]
    for node in range(len(tree)):  # of the tree a node sees its ancestors
        seen[:, :, len(tokens) + node, len(tokens) :] = False
        up = node
        while up >= 0:
            seen[:, :, len(tokens) + node, len(tokens) + up] = True
            up = tree.parents[up]
    windows = [a.window for _, a in sorted(pool(model).attention.items())]
    expected = oracle(own, [*tokens, *tree.tokens], parents, seen, windows)[len(tokens) :]
    found = model.score([tree], [slot]).of(0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    slot.close()


def hide(seen: torch.Tensor, slot: Any, groups: int) -> None:
    """Hide what a slot's past does not hold, layer by layer and head by head, from all queries from here on."""
    for layer in range(len(seen)):
        positions = slot.keeper._positions[layer]
        for head in range(positions.shape[1]):
            gone = torch.ones(slot.past.length, dtype=torch.bool)
            gone[positions[:, head].long()] = False
            rows = slice(head * groups, (head + 1) * groups)
            seen[layer, rows, slot.past.length :, : slot.past.length] &= ~gone


def pool(model: CausalLM) -> Any:
    assert isinstance(model.host, SlotHost)
    return model.host.pool


@needs_kernels
@pytest.mark.parametrize("kind", ["llama", "mistral-sliding", "qwen3"])
@torch.inference_mode()
def test_kernels_attend_to_pasts_as_pytorch_does(kind: str) -> None:
    model, own = built(kind, layers=2, dtype=torch.bfloat16)
    plain = CausalLM(own.float(), written_out=False)
    found, expected = [], []
    for each, kept in ((model, found), (plain, expected)):
        slots = [opened(each, policy("streaming-llm", f"stepwise={step}"), TOKENS, 60) for step in (True, False)]
        slots.append(each.open())
        for slot, length in zip(slots, (90, 77, 30), strict=True):
            each.prefill(slot, TOKENS[:length])
        scores = each.score([ScoreTree([5, 6, 7], [-1, 0, 0]), chain([9]), chain([4, 3])], slots)
        kept += [scores.of(i).float() for i in range(3)]
        for slot in slots:
            slot.close()
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), rtol=0.05, atol=0.15)
