"""A reduced cache is a function of the text: whatever happened on the way, it is that of a fresh reading."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from laconic.kv.base import Telling
from laconic.models.base import ScoreTree, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.past import Past
from laconic.models.slot import CacheSlot
from tests import tiny
from tests.kv.methods import EVICTING, MERGING, REDUCING, TEXT, fit, opened, policy
from tests.kv.test_passes import built
from tests.models.test_native import KERNELS

PROMPT = 30


def entries(slot: CacheSlot) -> list[torch.Tensor]:
    """All that passes can read of a slot, layer by layer."""
    found = []
    for held in slot.pool.held(slot, ()):
        assert held is not None
        found += [held.keys, held.values]
    return found


def same(slot: CacheSlot, fresh: CacheSlot, *, exact: bool, coded: bool) -> None:
    """Bit for bit, or up to rounding; of ``coded`` entries a few may be a step off, where rounding decides."""
    assert slot.length == fresh.length
    assert slot.room == fresh.room
    assert (slot.past is None) == (fresh.past is None)
    for mine, theirs in zip(entries(slot), entries(fresh), strict=True):
        assert mine.shape == theirs.shape
        if exact:
            assert torch.equal(mine, theirs)
        elif coded:
            assert ((mine - theirs).abs() > 1e-3).float().mean() < 0.002
        else:
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def read(model: CausalLM, slot: CacheSlot, text: list[int]) -> None:
    """Commit what of a text a slot has not, token by token."""
    while slot.length < len(text):
        fit(slot)
        model.score([chain([text[slot.length]])], [slot])
        slot.commit([0])


@pytest.mark.parametrize("exact", [False, True], ids=["float32", "kernels"])
@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("name", REDUCING)
@torch.inference_mode()
def test_whatever_happens_to_a_slot(name: str, stepwise: bool, exact: bool) -> None:
    """Drafts accepted in part, branches, rollbacks near and far, copies, other rows that come and go."""
    if exact and KERNELS is None:
        pytest.skip("no AVX2, or no C compiler")
    model, _ = built("llama", layers=2, dtype=torch.bfloat16 if exact else torch.float32)
    made, dice = policy(name, f"stepwise={stepwise}"), random.Random(name)
    texts: list[list[int]] = [[dice.randrange(90) for _ in range(PROMPT)] for _ in range(2)]
    slots = [opened(model, made, text, PROMPT) for text in texts]
    backs = 0
    for turn in range(160):
        at = dice.randrange(len(slots))
        slot, text = slots[at], texts[at]
        what = "far" if turn % 40 == 39 else dice.choice(["read", "draft", "draft", "tree", "tree", "back", "copy"])
        fit(slot)
        new = [dice.randrange(90) for _ in range(min(5, slot.room))]
        if what == "read":
            model.prefill(slot, new)
            text[slot.length - len(new) :] = new
        elif what in ("draft", "tree"):
            branch = what == "tree" and len(new) > 2
            tree = ScoreTree([*new, 3], [*range(-1, len(new) - 1), 0], ()) if branch else chain(new)
            others = [s for s in slots if s is not slot and s.room > 0][:1]
            model.score([tree, *(chain([1]) for _ in others)], [slot, *others])
            path = [0, len(new)] if branch else list(range(dice.randint(1, len(new))))
            text[slot.length :] = [tree.tokens[node] for node in path]
            slot.commit(path)
        elif what == "back":
            slot.rollback(count := min(dice.randint(1, 6), slot.length))
            del text[len(text) - count :]
        elif what == "far" and slot.past is not None:
            backs += 1
            del text[slot.past.length - dice.randint(1, 9) :]
            slot.rollback(slot.length - len(text))
            assert slot.length == 0
        elif what == "copy" and len(slots) < 4:
            texts.append(list(text))
            slots.append(slot.fork())
            slots[-1].keeper.follow(Telling(texts[-1], PROMPT, TEXT))  # type: ignore[union-attr]
        del text[max(len(text), 1) :]
        read(model, slot, text)
        if len(slots) == 4:
            slots.pop(gone := dice.randrange(4)).close()
            texts.pop(gone)
    assert backs
    for slot, text in zip(slots, texts, strict=True):
        fresh = opened(model, made, text, PROMPT)
        model.prefill(fresh, text)
        fit(slot), fit(fresh)
        same(slot, fresh, exact=exact, coded="quantised" in name)


@pytest.mark.parametrize("name", [*EVICTING, *MERGING])
@torch.inference_mode()
def test_a_budget_that_is_not_reached_takes_nothing_away(name: str) -> None:
    model = CausalLM(tiny.model())
    tokens = [(7 * i) % 200 for i in range(90)]
    whole = model.open()
    model.prefill(whole, tokens)
    slot = opened(model, replace(policy(name), budget=200.0), tokens, 40)
    model.prefill(slot, tokens)
    assert slot.past is None
    assert torch.equal(model.score([chain([3, 4])], [slot]).of(0), model.score([chain([3, 4])], [whole]).of(0))


@pytest.mark.parametrize("name", [*EVICTING, *MERGING])
@torch.inference_mode()
def test_never_more_than_the_budget_and_what_is_freed_returns(name: str) -> None:
    model = CausalLM(tiny.model())
    tokens = [(7 * i) % 200 for i in range(400)]
    made = policy(name, "stepwise=True")
    slot = opened(model, made, tokens, 300)
    token = model.cache_shape.token_nbytes
    while slot.length < len(tokens):
        fit(slot)
        entries = (0 if slot.past is None else slot.past.nbytes) + slot.own * token
        assert entries <= 40 * token
        model.score([chain([tokens[slot.length]])], [slot])
        slot.commit([0])
        assert (0 if slot.past is None else slot.past.nbytes) + slot.own * token <= 40 * token
        assert slot.nbytes >= (0 if slot.past is None else slot.past.nbytes) + slot.own * token
    assert isinstance(slot.past, Past)

    whole = opened(model, policy(name), tokens, 301)
    model.prefill(whole, tokens[:300])
    before = whole.pool.nbytes
    slot.close()
    whole.compact(tidy=True)
    assert whole.pool.capacity == 256
    assert whole.pool.nbytes < before
    assert whole.past is not None
    assert whole.past.nbytes <= 28 * token
    whole.close()


@pytest.mark.parametrize("name", [*EVICTING, *MERGING])
@torch.inference_mode()
def test_a_budget_of_bytes_holds_with_all_that_is_remembered(name: str) -> None:
    model, _ = built("llama", layers=2)
    made = replace(policy(name), budget=1e6).within(most := 160_000, model.cache_shape)
    tokens = [(7 * i) % 90 for i in range(400)]
    slot = opened(model, made, tokens, 300)
    while slot.length < len(tokens):
        fit(slot)
        model.prefill(slot, tokens[slot.length : slot.length + min(slot.room, 7)])
        assert slot.nbytes <= most
    assert slot.past is not None
    assert slot.nbytes > most / 3
    slot.close()
