"""One small architecture for each kind of layer, examined; and an examination that cannot be fooled."""

from collections.abc import Sequence

import pytest
import torch
from transformers import BertLMHeadModel

from laconic.bench.zoo.examine import examine
from laconic.bench.zoo.models import build, enliven, kinds
from laconic.bench.zoo.shrink import kept_layers
from laconic.errors import UnsupportedModel
from laconic.models.base import Scores, ScoreTree, Slot
from laconic.models.causal_lm import CausalLM
from laconic.models.slot_pass import SlotPass

KINDS = {
    "full attention": "llama",
    "sliding and full attention, soft caps": "gemma2",
    "sliding attention alone": "mistral",
    "sinks and experts": "gpt_oss",
    "learned positions": "gpt2",
    "latent attention": "deepseek_v3",
    "keys shared by layers": "gemma4_text",
    "chunked attention": "llama4_text",
    "indexed attention": "deepseek_v32",
    "compressed attention": "deepseek_v4",
    "ALiBi": "bloom",
    "state-space layers": "mamba",
    "state-space layers of several heads": "mamba2",
    "state-space layers, attention and experts": "jamba",
    "state-space layers beside attention in one layer": "falcon_h1",
    "state-space layers between shared attention": "zamba2",
    "gated delta rule and attention": "qwen3_next",
    "lightning attention": "minimax",
    "short convolutions": "lfm2",
    "linear recurrent units": "recurrent_gemma",
    "RWKV": "rwkv",
}


@pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in KINDS.items()])
def test_logits_are_those_of_the_model_alone(kind: str) -> None:
    verdict = examine(build(kind), kind)
    assert verdict.outcome == "exact", str(verdict)


def test_a_model_is_the_same_for_the_same_seed_and_depends_on_its_text() -> None:
    text = torch.arange(4, 104)[None]
    first, second, other = (build("llama", seed=seed)(input_ids=text).logits for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    top = first[0].topk(2, -1).values
    assert float(((top[:, 0] - top[:, 1]) / first.abs().max()).median()) > 1e-2
    assert len(set(first[0].argmax(-1).tolist())) > 20


def test_every_kind_of_layer_is_kept() -> None:
    default = {
        "num_hidden_layers": 8,
        "layer_types": ["linear"] * 3 + ["full"] + ["linear"] * 3 + ["full"],
        "mlp_layer_types": ["dense"] + ["sparse"] * 7,
    }
    assert kept_layers(default) == [0, 1, 3, 7]


def test_unknown_types_are_refused_by_name() -> None:
    assert "llama" in kinds()
    with pytest.raises(UnsupportedModel, match="'no-such'"):
        build("no-such")


class ForgetsWindows(CausalLM):
    """Scores sliding layers as if they saw everything, once it has passed its trial."""

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        with pytest.MonkeyPatch.context() as patch:
            seen = SlotPass.mask_for
            patch.setattr(SlotPass, "mask_for", lambda now, _: seen(now, None))
            return super().score(trees, slots)


class ForgetsBases(CausalLM):
    """Continues the text where a branch off an earlier point was asked for."""

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        return super().score([ScoreTree(tree.tokens, tree.parents) for tree in trees], slots)


class GivesNaN(CausalLM):
    """Its logits are not numbers, and it does not notice."""

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        scores = super().score(trees, slots)
        return Scores(scores.flat * float("nan"), scores.starts, scores.sizes)


@pytest.mark.parametrize(
    ("faulty", "kind", "check"),
    [(ForgetsWindows, "gemma2", "plain"), (ForgetsBases, "llama", "bases"), (GivesNaN, "llama", "plain")],
)
def test_faults_are_found(faulty: type[CausalLM], kind: str, check: str) -> None:
    verdict = examine(build(kind), kind, faulty)
    assert verdict.outcome == "wrong"
    assert check in verdict.reason


def test_a_model_that_sees_ahead_is_not_called_exact() -> None:
    config = build("bert").config
    config.is_decoder = False
    model = BertLMHeadModel(config).eval()
    enliven(model)
    verdict = examine(model, "bert")
    assert verdict.outcome in ("wrong", "refused")
