"""Work on one text that is taken up by another: the same logits as from nothing, whatever happens in between."""

from __future__ import annotations

from contextlib import closing

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from laconic.models.base import LanguageModel, Resumes, chain
from laconic.models.cache_host import CacheHost
from laconic.models.causal_lm import CausalLM
from laconic.models.slots import BLOCK

TEXT = [(7 * i * i + 3 * i) % 90 for i in range(300)]


def model(kind: str) -> CausalLM:
    made = CausalLM(small(), written_out=kind == "written-out")
    if kind == "own cache":
        made.host = CacheHost(small())
    return made


def small() -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def after(target: LanguageModel, slot: object, tokens: list[int]) -> torch.Tensor:
    return target.score([chain(tokens)], [slot]).of(0)  # type: ignore[list-item]


@pytest.mark.parametrize("kind", ["written-out", "slots", "own cache"])
@pytest.mark.parametrize("length", [1, 17, BLOCK + 5])
def test_a_text_goes_on_from_what_was_kept(kind: str, length: int) -> None:
    target = model(kind)
    assert isinstance(target, Resumes)
    assert target.resumes
    with closing(target.open()) as first:
        target.prefill(first, TEXT[: BLOCK + 20])
        kept = target.keep(first)
    assert kept.length == BLOCK + 20
    assert kept.nbytes > 0
    follows = [*TEXT[length : length + 9], 5]
    with closing(target.open()) as other, closing(target.resume(kept, length)) as again:
        after(target, other, TEXT[50:60])  # rows beside it take part in passes of their own
        found = after(target, again, follows)
        again.commit(range(len(follows)))
        assert again.length == length + len(follows)
    with closing(target.resume(kept, length)) as twice, closing(target.open()) as anew:
        assert after(target, twice, follows).allclose(found, atol=1e-5)
        target.prefill(anew, TEXT[:length])
        assert after(target, anew, follows).allclose(found, atol=1e-5)
    assert not target.slots


def test_more_than_was_kept_is_refused() -> None:
    target = model("written-out")
    with closing(target.open()) as slot:
        target.prefill(slot, TEXT[:8])
        kept = target.keep(slot)
    with pytest.raises(ValueError, match="resume 9 of 8"):
        target.resume(kept, 9)
    assert not target.slots


def test_an_idle_pool_gives_large_buffers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    target = model("written-out")
    monkeypatch.setattr("laconic.models.slots._IDLE", 1 << 10)
    pool = target.host.pool  # type: ignore[attr-defined]
    with closing(target.open()) as slot:
        target.prefill(slot, TEXT)
        kept = target.keep(slot)
        assert pool.nbytes > 1 << 10
    assert pool.nbytes == 0
    with closing(target.resume(kept, 20)) as slot:
        assert after(target, slot, [1]).isfinite().all()
