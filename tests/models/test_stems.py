"""Slots that share what they begin with: bit for bit what they would say alone, through all that a slot can do."""

from __future__ import annotations

import copy
import random
from contextlib import closing

import pytest
import torch
from transformers import AutoModelForCausalLM

from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.slot import CacheSlot
from laconic.models.slot_host import SlotHost
from laconic.models.slots import BLOCK, SlotPool
from tests.models.test_native import CONFIGS, needs_kernels

STEM = [(7 * i) % 90 + 3 for i in range(70)]


@pytest.fixture(params=["llama", "mistral-sliding", "qwen3"])
def model(request: pytest.FixtureRequest) -> CausalLM:
    torch.manual_seed(1)
    return CausalLM(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[request.param])).bfloat16())


def pool(model: CausalLM) -> SlotPool:
    assert isinstance(model.host, SlotHost)
    return model.host.pool


def stem(model: CausalLM) -> object:
    with closing(model.open()) as slot:
        model.prefill(slot, STEM)
        return model.keep(slot)


def says(model: CausalLM, slot: object, tokens: list[int]) -> torch.Tensor:
    return model.score([chain(tokens)], [slot]).of(0).clone()  # type: ignore[list-item]


@needs_kernels
def test_rows_of_several_stems_and_of_none_in_one_pass(model: CausalLM) -> None:
    kept = stem(model)
    with closing(model.open()) as other:
        model.prefill(other, STEM[::-1])
        backwards = model.keep(other)
    alone = model.open()
    model.prefill(alone, STEM[:50])
    slots = [model.resume(kept, 70), alone, model.resume(backwards, 33), model.resume(kept, 50)]  # type: ignore[arg-type]
    for slot, tokens in zip(slots, ([1, 2, 3], [4], [5, 6], [7, 8]), strict=True):
        model.prefill(slot, tokens)
    tree = ScoreTree([9, 10, 11, 12], [-1, 0, 0, -1], [-1, -1, -1, 20])
    trees = [tree, chain([9, 10]), tree, chain([9])]
    found = model.score(trees, slots)
    texts = [[*STEM, 1, 2, 3], [*STEM[:50], 4], [*STEM[::-1][:33], 5, 6], [*STEM[:50], 7, 8]]
    for at, text in enumerate(texts):
        with closing(model.open()) as plain:
            model.prefill(plain, text)
            assert torch.equal(model.score([trees[at]], [plain]).of(0), found.of(at))
    for slot in slots:
        slot.close()


@needs_kernels
def test_whatever_happens_to_a_slot(model: CausalLM) -> None:
    """Commits of branches, rollbacks into the stem, branches off earlier points, copies, rows that move."""
    kept, dice = stem(model), random.Random(5)
    slots = [model.resume(kept, 70) for _ in range(3)]  # type: ignore[arg-type]
    texts = [list(STEM) for _ in slots]
    for turn in range(60):
        at = dice.randrange(len(slots))
        slot, text = slots[at], texts[at]
        new = [dice.randrange(90) for _ in range(4)]
        what = dice.choice(["chain", "branch", "back", "copy", "earlier", "close"])
        if what == "chain":
            says(model, slot, new)
            slot.commit(range(3))
            text += new[:3]
        elif what == "branch":
            model.score([ScoreTree(new, [-1, -1, 1, 0])], [slot])
            slot.commit([1, 2])
            text += new[1:3]
        elif what == "back":
            count = dice.randrange(min(len(text) - 1, 12))
            slot.rollback(count)
            del text[len(text) - count :]
        elif what == "earlier":  # a branch off a point before the end is kept, and what came after that is not
            base = max(len(text) - dice.randrange(1, 9), 1)
            model.score([ScoreTree([7, *new], [-1, -1, 1, 2, 3], [-1, base, -1, -1, -1])], [slot])
            slot.rollback(len(text) - base)
            slot.commit([1, 2])
            text[base:] = new[:2]
        elif what == "copy":
            slots.append(slot.fork())
            texts.append(list(text))
        elif len(slots) > 2:
            slots.pop(at).close()
            texts.pop(at)
        if turn % 4 == 0:
            found = model.score([chain([11, 12]) for _ in slots], slots)
            for i, written in enumerate(texts):
                assert slots[i].length == len(written)
                with closing(model.open()) as plain:
                    model.prefill(plain, written)
                    assert torch.equal(model.score([chain([11, 12])], [plain]).of(0), found.of(i))
    for slot in slots:
        slot.close()
    assert not pool(model).slots


@needs_kernels
def test_eight_that_share_take_the_memory_of_one_beginning(model: CausalLM) -> None:
    """At most one prompt and eight continuations, in bytes, however long the prompt is."""
    long = [i % 90 + 3 for i in range(400)]
    with closing(model.open()) as slot:
        model.prefill(slot, long)
        kept = model.keep(slot)
    slots = [model.resume(kept, 400) for _ in range(8)]
    for step in range(10):
        model.score([chain([step, 5])] * 8, slots)
        for slot in slots:
            slot.commit([0, 1])
    token = pool(model).token_nbytes
    assert isinstance(slots[0], CacheSlot)
    assert slots[0].nbytes == 420 * token
    assert sum(cast.own for cast in slots if isinstance(cast, CacheSlot)) == 8 * 20
    assert pool(model).nbytes <= 400 * token + 8 * BLOCK * token
    again = model.keep(slots[3])
    assert again.length == 420
    for slot in slots:
        slot.close()
    assert pool(model).nbytes <= 8 * BLOCK * token


@needs_kernels
def test_layers_outputs_of_shared_tokens(model: CausalLM) -> None:
    model.show([0, 1])
    kept = stem(model)
    with closing(model.resume(kept, 60)) as slot, closing(model.open()) as plain:  # type: ignore[arg-type]
        for each in (slot, plain):
            model.prefill(each, [9, 8] if each is slot else [*STEM[:60], 9, 8])
        for begin in (0, 30, 60, 61):
            one, other = (model.shown(each, begin, [0, 1]) for each in (slot, plain))
            assert one is not None
            assert other is not None
            assert torch.equal(one, other)
        slot.rollback(10)
        assert model.shown(slot, 0, [1]).shape[0] == 52  # type: ignore[union-attr]


def test_passes_that_cannot_share_have_copies() -> None:
    torch.manual_seed(1)
    model = CausalLM(AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS["qwen3"])))
    kept = stem(model)
    slot = model.resume(kept, 70)  # type: ignore[arg-type]
    assert isinstance(slot, CacheSlot)
    assert slot.own == 70
    slot.close()
