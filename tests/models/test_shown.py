"""What layers put out, kept beside the cache: it follows whatever happens to a slot."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch

from laconic.errors import RequestError, UnsupportedModel
from laconic.models.base import ScoreTree, ShowsLayers, chain
from laconic.models.cache_host import CacheHost
from laconic.models.causal_lm import CausalLM
from laconic.models.slots import BLOCK
from tests.models.test_kept import TEXT, small

LAYERS = (0, 1)


def model(kind: str, dtype: torch.dtype = torch.float32) -> CausalLM:
    return CausalLM(small().to(dtype), written_out=kind == "written-out")


def truth(target: CausalLM, tokens: list[int]) -> torch.Tensor:
    found = target.residuals(tokens, LAYERS)
    return torch.stack([found[layer] for layer in LAYERS], 1)


@pytest.mark.parametrize("kind", ["written-out", "slots"])
def test_outputs_follow_prompts_drafts_rollbacks_and_copies(kind: str) -> None:
    target = model(kind)
    assert isinstance(target, ShowsLayers)
    assert target.shows_layers
    target.show(LAYERS)
    text = TEXT[: BLOCK - 6]  # what comes next outgrows the buffers
    other = target.open()
    with closing(target.open()) as first:
        target.prefill(other, TEXT[:5])
        target.prefill(first, text)
        # A tree of which a branch is kept, beside a row of another length.
        tree = ScoreTree([1, 2, 3, 4, 5], [-1, 0, 0, 2, 3])
        target.score([tree, chain([9, 8])], [first, other])
        first.commit([0, 2, 3, 4])
        other.commit([0])
        kept = [*text, 1, 3, 4, 5]
        assert first.length == len(kept)
        shown = target.shown(first, 0, LAYERS)
        assert shown is not None
        assert shown.shape == (len(kept), 2, 32)
        assert shown.allclose(truth(target, kept), atol=1e-5)
        rest = target.shown(first, 7, (1,))
        assert rest is not None
        assert rest.allclose(truth(target, kept)[7:, 1:], atol=1e-5)
        first.rollback(3)
        with closing(first.fork()) as copy:
            target.score([chain([7, 6, 5]), chain([2])], [copy, first])
            copy.commit(range(3))
            first.commit([0])
            mine, theirs = target.shown(copy, 0, LAYERS), target.shown(first, 0, LAYERS)
            assert mine is not None
            assert theirs is not None
            assert mine.allclose(truth(target, [*text, 1, 7, 6, 5]), atol=1e-5)
            assert theirs.allclose(truth(target, [*text, 1, 2]), atol=1e-5)
            before = mine.clone()
            other.close()  # the last row moves into the gap
            again = target.shown(copy, 0, LAYERS)
            assert again is not None
            assert again.equal(before)


def test_what_was_read_before_anybody_asked_is_not_there() -> None:
    target = model("written-out")
    with closing(target.open()) as slot:
        target.prefill(slot, TEXT[:10])
        target.show((1,))
        assert target.shown(slot, 0, (1,)) is None
        target.score([chain(TEXT[10:14])], [slot])
        slot.commit(range(4))
        assert target.shown(slot, 9, (1,)) is None
        late = target.shown(slot, 10, (1,))
        assert late is not None
        assert late[:, 0].allclose(truth(target, TEXT[:14])[10:, 1], atol=1e-5)
        target.show((0,))  # beside what is kept already; neither is known of what came before
        assert target.shown(slot, 10, (1,)) is None
        slot.rollback(4)
        assert target.shown(slot, 10, (1,)) is None
        target.score([chain(TEXT[10:12])], [slot])
        slot.commit(range(2))
        both = target.shown(slot, 10, (0, 1))
        assert both is not None
        assert both.allclose(truth(target, TEXT[:12])[10:], atol=1e-5)


def test_a_text_that_is_taken_up_again_brings_its_outputs() -> None:
    target = model("written-out")
    target.show(LAYERS)
    with closing(target.open()) as slot:
        target.prefill(slot, TEXT[:40])
        kept = target.keep(slot)
    bare = 40 * 2 * 2 * 2 * 8 * 4
    assert kept.nbytes == bare + 40 * 2 * 32 * 4  # keys and values of two layers; two outputs
    with closing(target.resume(kept, 30)) as again:
        shown = target.shown(again, 0, LAYERS)
        assert shown is not None
        assert shown.allclose(truth(target, TEXT[:30]), atol=1e-5)
        assert again.nbytes == kept.nbytes * 30 // 40
    other = model("written-out")
    with closing(other.open()) as slot:
        other.prefill(slot, TEXT[:40])
        kept = other.keep(slot)
    other.show(LAYERS)
    with closing(other.resume(kept, 40)) as again:
        assert other.shown(again, 0, LAYERS) is None


@pytest.mark.parametrize("kind", ["written-out", "slots"])
def test_outputs_are_those_of_a_steered_stream(kind: str) -> None:
    target = model(kind)
    target.show((0,))
    with closing(target.open()) as slot:
        target.steer(slot, {0: torch.full((32,), 0.5)}, 3)
        target.prefill(slot, TEXT[:6])
        shown = target.shown(slot, 0, (0,))
        assert shown is not None
        moved = shown[:, 0] - truth(target, TEXT[:6])[:, 0]
        assert moved.allclose(torch.tensor([0.0, 0, 0, 0.5, 0.5, 0.5])[:, None].expand(6, 32), atol=1e-5)


def test_logits_are_the_same_and_nothing_is_kept_unasked() -> None:
    target = model("written-out")
    with closing(target.open()) as slot:
        target.prefill(slot, TEXT[:20])
        before, held = target.score([chain(TEXT[20:24])], [slot]).flat.clone(), slot.nbytes
    target.show(LAYERS)
    with closing(target.open()) as slot:
        target.prefill(slot, TEXT[:20])
        assert target.score([chain(TEXT[20:24])], [slot]).flat.equal(before)
        assert slot.nbytes == held + 20 * 2 * 32 * 4


def test_what_cannot_be_shown_is_refused() -> None:
    target = model("slots")
    with pytest.raises(RequestError, match="no layer 2"):
        target.show((2,))
    target.host = CacheHost(small())
    assert not target.shows_layers
    with pytest.raises(UnsupportedModel, match="own cache"):
        target.show((1,))
