"""One architecture of each kind of layer, built small and examined; all of them are examined by a script."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from laconic.bench.zoo import examine
from laconic.bench.zoo.build import build, kinds
from laconic.models.cache_host import CacheHost
from laconic.models.carried import Carried

EXACT = {
    "llama": "written-out",
    "gemma3_text": "slots",  # sliding and full attention
    "deepseek_v3": "slots",  # latent attention, experts
    "gpt_oss": "slots",  # sinks
    "qwen3_5_text": "slots, recurrent",  # gated delta rule
    "mamba2": "slots, recurrent",  # a state space and nothing else
    "falcon_h1": "slots, recurrent",  # attention and a state space side by side
    "lfm2": "slots, recurrent",  # short convolutions
    "deepseek_v32": "own cache",  # an indexer
    "llama4_text": "own cache, replayed",  # chunks
    "bloom": "own cache",  # no attention function
    "recurrent_gemma": "own cache, stepwise",  # states kept in modules
}


@pytest.mark.parametrize("kind", EXACT)
def test_is_exact_on_its_path(kind: str) -> None:
    verdict = examine.examine(build(kind))
    assert (verdict.outcome, verdict.path) == ("exact", EXACT[kind]), verdict


def test_what_is_not_causal_is_refused() -> None:
    verdict = examine.examine(build("roberta"))
    assert verdict.outcome == "refused"
    assert "not causal" in verdict.reason


def test_the_examination_finds_a_state_that_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recurrent state that stays where the draft ended, as Transformers' own ``crop`` leaves it."""
    monkeypatch.setattr(Carried, "_after", lambda self, kept, count: {
        layer: {key: t[kept.row : kept.row + 1] for key, t in state.items()} for layer, state in kept.read.after.items()
    })  # fmt: skip
    monkeypatch.setattr(examine.CausalLM, "__init__", _unchecked(examine.CausalLM.__init__))
    verdict = examine.examine(build("qwen3_5_text"))
    assert verdict.outcome == "wrong"
    assert verdict.reason.startswith("chain")


def _unchecked(init: Any) -> Any:
    """A model that is loaded without its trial."""

    def made(self: Any, model: Any, **options: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("laconic.models.trial.fault", lambda *_, **__: "")
            init(self, model, **options)

    return made


@pytest.mark.parametrize("kind", ["llama", "qwen3_5_text", "mamba2"])
def test_logits_depend_on_earlier_tokens_far_above_rounding(kind: str) -> None:
    """Otherwise an examination would pass whatever a cache holds."""
    model = build(kind)
    text = list(range(5, 45))
    with torch.inference_mode():
        one, other = (model(torch.tensor([tokens])).logits[0, -1] for tokens in (text, [*text[:37], 4, *text[38:]]))
    assert float((one - other).abs().max() / one.abs().max()) > 10 * examine.TOLERANCE


def test_a_copy_of_a_cache_is_a_copy() -> None:
    host = CacheHost(copy.deepcopy(build("bloom")))
    slot = host.open()
    host.prefill(slot, [3, 4, 5])
    twin = slot.fork()
    host.prefill(slot, [6, 7])
    assert twin.past.cache.get_seq_length() == 3
    assert len(kinds()) > 150
