"""Are EAGLE-3 heads of the ``speculators`` package the same here? Builds some, saves them, and compares logits.

    pip install speculators==0.9.0          # into an environment that has laconic too
    python scripts/speculators_same.py

For each set of the format's flags: the largest difference of logits over three steps of a draft, everywhere in a text.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from speculators import SpeculatorsConfig, VerifierConfig
from speculators.models.eagle3.config import Eagle3SpeculatorConfig
from speculators.models.eagle3.core import Eagle3DraftModel
from speculators.proposals.greedy import GreedyTokenProposalConfig
from torch import Tensor, nn
from transformers import LlamaConfig

from laconic.speculation.drafters.head.files import load

FLAGS: tuple[dict[str, bool], ...] = (
    {},
    {"norm_before_residual": True},
    {"norm_before_fc": True},
    {"fc_norm": True, "norm_output": True},
)
LENGTH, STEPS, KEPT = 40, 3, 100


def main() -> None:
    """Print one line for each set of flags; fail where logits differ."""
    for flags in FLAGS:
        torch.manual_seed(0)
        theirs = head(flags)
        tokens, features = torch.randint(0, 264, (1, LENGTH)), torch.randn(1, LENGTH - 1, 2, 32)
        said = logits(theirs, tokens, features)
        with tempfile.TemporaryDirectory() as folder:
            theirs.save_pretrained(folder)
            ours = load(folder).head
        embed = nn.Embedding.from_pretrained(theirs.embed_tokens.weight.detach())
        made = ours.unrolled(embed(tokens[:, 1:]), features, STEPS)
        apart = max(float((a[0] - b[0, : a.shape[1]]).abs().max()) for a, b in zip(made, said, strict=True))
        print(f"{', '.join(flags) or 'no flags'}: {apart:.1e} apart, logits up to {float(said[0].abs().max()):.1f}")
        assert apart < 1e-3


def head(flags: dict[str, bool]) -> Any:
    """A random head of theirs."""
    layer = LlamaConfig(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, rope_theta=5000.0, _attn_implementation="eager",
    )  # fmt: skip
    whole = SpeculatorsConfig(
        algorithm="eagle3",
        proposal_methods=[GreedyTokenProposalConfig(speculative_tokens=STEPS)],
        default_proposal_method="greedy",
        verifier=VerifierConfig(name_or_path=None, architectures=["LlamaForCausalLM"]),
    )
    made = Eagle3DraftModel(
        Eagle3SpeculatorConfig(
            transformer_layer_config=layer,
            draft_vocab_size=KEPT,
            eagle_aux_hidden_state_layer_ids=[1, 2],
            speculators_config=whole,
            **flags,
        )
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=0.3) if parameter.dim() > 1 else parameter.uniform_(0.5, 1.5)
        made.d2t.copy_(torch.arange(KEPT))
    return made.eval()


@torch.no_grad()
def logits(made: Any, tokens: Tensor, features: Tensor) -> list[Tensor]:
    """What it says at each step, the text's own tokens given as drafted."""
    seen: list[Tensor] = []
    hook = made.lm_head.register_forward_hook(lambda _, given, out: seen.append(out.detach()))
    made(
        hidden_states=features.flatten(2),
        input_ids=tokens[:, 1:],
        document_ids=torch.zeros(1, LENGTH - 1, dtype=torch.long),
        ttt_steps=STEPS,
    )
    hook.remove()
    return seen


if __name__ == "__main__":
    main()
