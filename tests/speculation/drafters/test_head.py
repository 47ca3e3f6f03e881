"""Draft heads: what they say while drafting is what they were trained to say, along any tree, alone and in a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from laconic.engine import Engine, Methods
from laconic.errors import HeadError, UnmetNeed
from laconic.models.cache_host import CacheHost
from laconic.models.causal_lm import CausalLM
from laconic.speculation.drafters.head.contract import Span
from laconic.speculation.drafters.head.files import load
from laconic.speculation.drafters.head.kinds import built
from laconic.speculation.drafters.head.memory import Memory, causal
from tests import tiny
from tests.draft_heads import KINDS, LAYERS, head


def target() -> CausalLM:
    return CausalLM(tiny.model())


def features(model: CausalLM, tokens: list[int]) -> torch.Tensor:
    found = model.residuals(tokens, LAYERS)
    return torch.stack([found[layer] for layer in LAYERS], 1)


TEXT = [(5 * i * i + 3 * i + 1) % 256 for i in range(24)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [2, 9, 17])
def test_drafting_says_what_training_taught(kind: str, cut: int) -> None:
    """A chain down the text itself from after ``cut`` tokens, with the text before it read in two parts."""
    model = target()
    made = head(kind, model)
    steps = min(4, made.head.depth or 4)
    found = features(model, TEXT)
    heard = found[:, 0] if made.head.shape.early else model.embeddings(TEXT)
    taught = made.head.unrolled(heard[None, 1:], found[None, :-1], steps)
    quick = made.ready(found)
    memory, first = Memory(made.head.window), cut // 2
    state = None
    for begin, end in ((0, first), (first, cut - 1)):  # pairs
        if end > begin:
            span = Span(memory, 0, end - begin, torch.arange(begin, end), causal(memory, end - begin))
            state = quick.read(heard[begin + 1 : end + 1], found[begin:end], [span])[-1]
            memory.commit()
    assert state is not None
    for step in range(steps):
        hidden = memory.sees(cut - 1 + step).start
        said = quick.logits(state[None], [step])[0]
        assert said.allclose(taught[step][0, cut - 2], atol=1e-4), step
        seen = torch.arange(memory.filled - memory.gone + 1)[None] >= hidden
        span = Span(memory, 0, 1, torch.tensor([cut - 1 + step]), seen if hidden else None)
        state = quick.step(state[None], heard[cut + step, None], [step], [span])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_kept_in_a_folder_and_bound_to_its_target(kind: str, tmp_path: Path) -> None:
    model = target()
    made = head(kind, model)
    made.save(tmp_path / "head")
    again = load(tmp_path / "head")
    again.suits(model)
    assert again.head.shape == made.head.shape
    assert all(a.equal(b) for a, b in zip(made.head.parameters(), again.head.parameters(), strict=True))
    assert again.head.kept.equal(made.head.kept)
    with pytest.raises(HeadError, match="another target"):
        again.suits(CausalLM(tiny.model(1)))
    with pytest.raises(HeadError, match="no trained draft head"):
        load(tmp_path / "none")
    said = json.loads((tmp_path / "head" / "draft_head.json").read_text())
    (tmp_path / "head" / "draft_head.json").write_text(json.dumps(said | {"kind": "eagle33"}))
    with pytest.raises(HeadError, match="no kind of head"):
        load(tmp_path / "head")


def test_memory_forgets_drafts_and_grows() -> None:
    memory = Memory()
    entries = torch.arange(600 * 2 * 4, dtype=torch.float32).view(600, 2, 4)
    memory.append(entries[:250], entries[:250])
    memory.commit()
    keys, values = memory.append(entries[250:270], -entries[250:270])
    assert keys.equal(entries[:270])
    assert values[250:].equal(-entries[250:270])
    assert (memory.length, memory.filled) == (250, 270)
    memory.trim(250)
    keys, _ = memory.append(entries[300:302], entries[300:302])
    assert keys.equal(torch.cat([entries[:250], entries[300:302]]))
    memory.trim(100)
    assert (memory.length, memory.filled) == (100, 100)
    assert memory.nbytes == 2 * 512 * 2 * 4 * 4


def test_memory_with_a_window_is_bounded_and_forgets_what_nothing_sees() -> None:
    memory = Memory(300)
    entries = torch.arange(3000 * 2, dtype=torch.float32).view(3000, 1, 2)
    for begin in range(0, 3000, 100):
        keys, _ = memory.append(entries[begin : begin + 100], entries[begin : begin + 100])
        assert keys.equal(entries[memory.gone : begin + 100])
        memory.commit()
        visible = memory.sees(memory.length)
        assert memory.length == begin + 100
        assert visible.stop - visible.start == min(299, memory.length), "and the token itself"
    assert memory.gone > 2000
    assert memory.nbytes <= 2 * 1024 * 2 * 4
    for back in (2999, 2900, 2800):
        memory.trim(back)
        assert memory.length == memory.filled == back
        visible = memory.sees(back)
        assert visible.stop - visible.start == 299, "a short step back needs nothing that is gone"
    memory.trim(memory.gone + 100)  # from where something that is gone would be seen
    assert (memory.length, memory.gone) == (0, 0)


def test_a_window_is_for_heads_with_attention_to_the_text() -> None:
    with pytest.raises(HeadError, match="no window"):
        built("medusa", head("mtp", target()).head.shape, {"window": 8})
    for wrong in (-3, "6", 2.5, None, [6], 1e30):
        with pytest.raises(HeadError, match="number of tokens"):
            built("mtp", head("mtp", target()).head.shape, {"window": wrong})


def test_a_target_that_does_not_show_its_layers_is_refused(tmp_path: Path) -> None:
    model = target()
    head("eagle3", model).save(tmp_path)
    model.host = CacheHost(tiny.model())
    with pytest.raises(UnmetNeed, match="outputs of the target's layers"):
        Engine(model, tiny.text(), Methods(drafter=f"head:{tmp_path}"))
