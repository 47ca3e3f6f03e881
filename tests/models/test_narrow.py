"""An output head asked about some tokens only: the same logits for these, none for others, and less work."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch

from laconic.errors import BrokenLogits, UnsupportedModel
from laconic.models.base import Narrows, Scores, chain
from laconic.models.causal_lm import CausalLM
from laconic.models.load import load_model
from laconic.models.native.bf16 import kernels
from laconic.models.packed import NativeProjection, PackedProjection, PlainProjection, _reorders
from tests import tiny

KEPT = torch.tensor([0, 3, 31, 32, 33, 100, 263])
KINDS = {
    "written-out": lambda: CausalLM(tiny.model(0)),
    "slots": lambda: CausalLM(tiny.model(0), written_out=False),
    "with a bias": lambda: CausalLM(tiny.model(0, bias=tiny.REASONER), written_out=False),
    "bfloat16": lambda: CausalLM(tiny.model(0).bfloat16()),
    "bare": lambda: load_model("bundled-draft"),
}


def score(model: CausalLM) -> Scores:
    with closing(model.open()) as slot:
        return model.score([chain([5, 6, 7])], [slot])


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_kept_tokens_are_the_same_and_others_are_none(kind: str) -> None:
    model = KINDS[kind]()
    assert isinstance(model, Narrows)
    model.keep_hidden = True
    whole = score(model)
    with model.narrowed(KEPT):
        narrow = score(model)
    assert narrow.flat.shape == whole.flat.shape
    assert torch.allclose(narrow.flat[:, KEPT].float(), whole.flat[:, KEPT].float(), rtol=1e-2, atol=1e-5)
    others = torch.ones(model.vocab_size, dtype=torch.bool)
    others[KEPT] = False
    assert narrow.flat[:, others].eq(-torch.inf).all()
    assert narrow.hidden is not None
    assert whole.hidden is not None
    assert torch.equal(narrow.hidden, whole.hidden)
    assert torch.equal(score(model).flat, whole.flat)


def test_one_within_another_and_one_that_is_left_by_an_error() -> None:
    model, few = CausalLM(tiny.model(0)), torch.tensor([1, 2])
    whole = score(model).flat
    with model.narrowed(KEPT):
        with model.narrowed(few):
            assert score(model).flat.isfinite().sum(-1).eq(2).all()
        assert score(model).flat.isfinite().sum(-1).eq(len(KEPT)).all()
    with pytest.raises(BrokenLogits), model.narrowed(KEPT):
        raise BrokenLogits("a pass went wrong")
    assert torch.equal(score(model).flat, whole)


def test_a_head_is_cut_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cuts = CausalLM(tiny.model(0)), []
    honest = PlainProjection.only
    monkeypatch.setattr(PlainProjection, "only", lambda self, outputs: cuts.append(1) or honest(self, outputs))
    with model.narrowed(KEPT):
        pass
    made = len(cuts)
    for _ in range(3):
        with model.narrowed(KEPT):
            score(model)
    assert len(cuts) == made


def test_some_outputs_of_every_kind_of_projection() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 48).bfloat16(), torch.randn(70, 48).bfloat16(), torch.randn(70).bfloat16()
    some = torch.tensor([0, 31, 32, 64, 69])
    kinds = [PlainProjection(weight, bias)]
    if kernels() is not None:
        kinds.append(NativeProjection(kernels(), weight, bias))  # type: ignore[arg-type]
    if _reorders():
        kinds.append(PackedProjection(weight, bias))  # type: ignore[arg-type]
    for projection in kinds:
        assert torch.allclose(projection.only(some)(x).float(), projection(x)[:, some].float(), rtol=2e-2, atol=2e-2)
    if kernels() is not None:
        assert torch.equal(kinds[1].only(some)(x), kinds[1](x)[:, some])


def test_a_model_that_does_more_with_its_logits_is_refused() -> None:
    made = tiny.model(0)
    honest = made.forward

    def centred(*args, **kwargs):
        out = honest(*args, **kwargs)
        out.logits = out.logits - out.logits.mean(-1, keepdim=True) * 3
        return out

    model = CausalLM(made, written_out=False)
    made.forward = centred
    with pytest.raises(UnsupportedModel, match="some tokens only"), model.narrowed(KEPT):
        pass
