"""Policies that keep everything and read part of it: which part, by every way to attend."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from laconic.kv.base import Telling
from laconic.kv.retrieve.quest import Quest
from laconic.kv.retrieve.sentences import Sentences
from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.units import InUnits
from tests.kv.methods import TEXT, opened
from tests.kv.test_passes import TOKENS, built, oracle
from tests.models.test_native import needs_kernels

TREE = ScoreTree([7, 8, 9, 10, 11], [-1, 0, 0, 2, -1])


def units(keys: list[list[float]], sizes: list[int], most: int) -> InUnits:
    """Of one key head, described by the smallest and the largest values."""
    made = torch.tensor(keys)[:, None]
    parts = made.split(sizes)
    low, high = (torch.stack([edge(part, 0) for part in parts]) for edge in (torch.amin, torch.amax))
    return InUnits(made, made.clone(), torch.tensor([0, *sizes]).cumsum(0), low, high, most)


def test_what_a_query_reads_by_hand() -> None:
    made = units([[1, 0], [0, 1], [2, -3], [0, 0], [-1, -1]], [2, 2, 1], 3)
    # The query (1, -1): units promise 1 - 0, 2 + 3 and -1 + 1. The second is read, and the first no longer fits.
    assert made.read(torch.tensor([[[1.0, -1.0]]])).tolist() == [[[False, False, True, True, False]]]
    # (-1, -1): 0, 3 and 2: the second, and the third behind it, which fits.
    assert made.read(torch.tensor([[[-1.0, -1.0]]])).tolist() == [[[False, False, True, True, True]]]
    # Two heads that share the key head read what the larger promise says; each node for itself.
    both = made.read(torch.tensor([[[0.5, 0.5], [0.0, 0.1]], [[-1.0, -1.0], [0.0, 0.0]]]))
    assert both[0].tolist() == both[1].tolist()
    assert both[0][1].tolist() == [False, False, True, True, True]
    assert both[0][0].tolist() == [True, True, False, False, False] or both[0][0].tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert units([[1, 0], [0, 1]], [2], 2).read(torch.zeros(1, 1, 2)) is None
    assert units([[1, 0], [0, 1]], [2], 1).read(torch.zeros(1, 1, 2)).tolist() == [[[True, True]]]  # the first, always


def test_units_that_are_joined_are_those_of_the_whole() -> None:
    keys = torch.randn(10, 1, 4).squeeze(1).tolist()
    whole = units(keys, [3, 2, 5], 4)
    parts = InUnits.joined([units(keys[:5], [3, 2], 4), units(keys[5:], [5], 4)])
    for name in ("keys", "values", "starts", "low", "high"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))
    assert parts.nbytes == whole.nbytes


def test_sentences_end_where_they_do() -> None:
    tokens = TEXT.encode("Two is two. Is it?\nYes and no and so on")
    policy = Sentences(longest=9)
    ends = policy.ends(Telling(tokens, 1, TEXT), 0, len(tokens))
    said = [TEXT.decode(tokens[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
    assert said[:1] == ["Two is tw"]  # the tiny tokenizer's tokens are characters
    assert [part[-1] for part in said[1:4]] == [".", "?", "\n"]
    assert policy.ends(Telling(tokens, 1, None), 0, 20) == [9, 18]
    assert Quest(page=4).ends(Telling(tokens, 1, TEXT), 8, 19) == [12, 16]


def queries(own: Any, tokens: list[int], parents: list[int]) -> torch.Tensor:
    """Those of the only layer, ``[tokens, heads, dim]``, at the places of a tree."""
    at: list[int] = []
    for parent in parents:
        at.append(0 if parent < 0 else at[parent] + 1)
    layer, hidden = own.model.layers[0], own.model.embed_tokens(torch.tensor([tokens]))
    cos, sin = own.model.rotary_emb(hidden, torch.tensor([at]))
    asked = layer.self_attn.q_proj(layer.input_layernorm(hidden))
    asked = asked.view(1, len(tokens), own.config.num_attention_heads, -1).transpose(1, 2)
    return apply_rotary_pos_emb(asked, asked, cos, sin)[0][0].transpose(0, 1)


def wanted(past: InUnits, query: torch.Tensor, kv_head: int) -> set[int]:
    """Entries that a node reads, worked out one by one; ``query [heads of the key head, dim]``."""
    promises = []
    for unit in range(len(past.starts) - 1):
        keys = past.keys[past.starts[unit] : past.starts[unit + 1], kv_head].float()
        low, high = keys.min(0).values, keys.max(0).values
        promises.append(max(float(torch.maximum(q * low, q * high).sum()) for q in query.float()))
    found: set[int] = set()
    for unit in sorted(range(len(promises)), key=lambda unit: (-promises[unit], unit)):
        entries = set(range(int(past.starts[unit]), int(past.starts[unit + 1])))
        if found and len(found) + len(entries) > past.most:
            break
        found |= entries
    return found


@torch.inference_mode()
def test_a_pass_reads_the_pages_that_each_node_chooses() -> None:
    model, own = built("llama", layers=1)
    tokens = TOKENS[:97]
    slot = opened(model, Quest(budget=24, page=4, recent=6, whole=0), tokens, 90)
    model.prefill(slot, tokens[: slot.room])
    while slot.length < len(tokens):
        if slot.room <= 0:
            slot.compact()
        model.prefill(slot, tokens[slot.length : slot.length + max(slot.room, 1)])
    assert slot.past is not None
    past = slot.past.layers[0]
    assert isinstance(past, InUnits)
    assert past.count > 80
    size, heads, kv_heads = len(tokens) + len(TREE), own.config.num_attention_heads, own.config.num_key_value_heads
    seen = torch.ones(1, heads, size, size, dtype=torch.bool).tril()
    parents = [*range(-1, len(tokens) - 1), *(p + len(tokens) if p >= 0 else len(tokens) - 1 for p in TREE.parents)]
    asked, groups, read = queries(own, [*tokens, *TREE.tokens], parents), heads // kv_heads, set()
    for node in range(len(TREE)):
        row, up = len(tokens) + node, node
        seen[:, :, row, len(tokens) :] = False
        while up >= 0:
            seen[:, :, row, len(tokens) + up] = True
            up = TREE.parents[up]
        for kv_head in range(kv_heads):
            mine = slice(kv_head * groups, (kv_head + 1) * groups)
            found = wanted(past, asked[row, mine], kv_head)
            assert len(found) == 24
            gone = [at for at in range(past.count) if at not in found]
            seen[:, mine, row, gone] = False
            read.add(tuple(sorted(found)))
    assert len(read) > 3  # nodes and heads choose for themselves
    expected = oracle(own, [*tokens, *TREE.tokens], parents, seen, [None])[len(tokens) :]
    torch.testing.assert_close(model.score([TREE], [slot]).of(0), expected, rtol=1e-4, atol=1e-4)
    slot.close()


@needs_kernels
@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral-sliding"])
@pytest.mark.parametrize(
    "policy", [Quest(budget=24, page=4, recent=6, whole=0), Sentences(budget=24, recent=6, whole=0, longest=7)]
)
@torch.inference_mode()
def test_kernels_read_what_pytorch_reads(kind: str, policy: Any) -> None:
    """Of one layer, so that a choice is not another for what layers before have rounded."""
    model, own = built(kind, layers=1, dtype=torch.bfloat16)
    plain = CausalLM(own.float(), written_out=False)
    scored = []
    for each, kept in ((model, policy), (plain, policy), (plain, None)):
        slots = [each.open() if kept is None else opened(each, kept, TOKENS, length) for length in (120, 90)]
        slots.append(each.open())
        for slot, length in zip(slots, (120, 90, 30), strict=True):
            if kept is not None and slot is not slots[2]:
                each.prefill(slot, TOKENS[: slot.room])
                slot.compact()
            each.prefill(slot, TOKENS[slot.length : length])
        trees = [TREE, chain([9]), chain([4, 3])]
        scores = each.score(trees, slots)
        scored.append(torch.cat([scores.of(i).float() for i in range(3)]))
        alone = torch.cat([each.score([tree], [slot]).of(0).float() for tree, slot in zip(trees, slots, strict=True)])
        if each is model:  # a query's result is the same in any company
            assert torch.equal(scored[0], alone)
        for slot in slots:
            slot.close()
    off, all_of_it = (scored[0] - scored[1]).abs(), (scored[2] - scored[1]).abs()
    assert off.max() < 0.1
    if kind != "mistral-sliding":  # whose only layer has a window, and no units
        assert all_of_it[:5].mean() > 4 * off[:5].mean()
