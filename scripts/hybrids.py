"""What of drafting's speed-up is left on a model with recurrent layers.

    OMP_NUM_THREADS=1 python scripts/hybrids.py [--hidden 1024] [--json docs/results/hybrids.json]

Two random models of the Qwen3.5 kind and the same sizes: one with attention in every layer, one with three gated delta
nets to each attention layer. A round scores a draft behind 128 tokens and commits what is kept of it; a plain pass
scores one token. The speed-up of a draft is tokens kept times plain seconds over its seconds, from medians of rounds
measured in turn. The share is the hybrid's speed-up over the other's, with quartiles over the repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.qwen3_5 import Qwen3_5TextConfig

from laconic.bench.provenance import provenance
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM

LINEAR, FULL = "linear_attention", "full_attention"
LAYERS = {"attention": [FULL] * 8, "hybrid": [LINEAR, LINEAR, LINEAR, FULL] * 2}
DRAFTS = ((4, 3), (8, 5), (8, 9), (16, 8))
"""Tokens drafted, and tokens kept, the model's own included."""
ROUNDS = 8


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    models = {name: made(layers, given.hidden) for name, layers in LAYERS.items()}
    for name, lm in models.items():
        print(f"{name}: {lm.parameters / 1e6:.0f} M parameters, passes: {lm.path}")
    found: dict[tuple[int, int], list[dict[str, float]]] = {draft: [] for draft in DRAFTS}
    for _ in range(given.repeats):
        for drafted, kept in DRAFTS:
            gains = {}
            for name, lm in models.items():
                plain, guessed = seconds(lm, 0, 1), seconds(lm, drafted, kept)
                gains[name] = kept * plain / guessed
            found[drafted, kept].append(gains)
    rows = []
    for (drafted, kept), all_gains in found.items():
        share = statistics.quantiles([gains["hybrid"] / gains["attention"] for gains in all_gains], n=4)
        row: dict[str, Any] = {"drafted": drafted, "kept": kept, "share": share}
        row |= {name: statistics.median(gains[name] for gains in all_gains) for name in models}
        rows.append(row)
        print(f"{drafted:2} drafted, {kept} kept: {row['attention']:.2f} with attention, {row['hybrid']:.2f} hybrid, "
              f"share {share[1]:.2f} ({share[0]:.2f} to {share[2]:.2f})")  # fmt: skip
    if given.json:
        record = {"rows": rows, "hidden": given.hidden, "repeats": given.repeats, "provenance": provenance()}
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def made(layers: list[str], hidden: int) -> CausalLM:
    """A random model with these layers."""
    torch.manual_seed(0)
    config = Qwen3_5TextConfig(
        vocab_size=8192, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=len(layers),
        num_attention_heads=8, num_key_value_heads=2, head_dim=hidden // 8, linear_num_key_heads=8,
        linear_num_value_heads=8, linear_key_head_dim=hidden // 8, linear_value_head_dim=hidden // 8,
        max_position_embeddings=2048, layer_types=layers,
    )  # fmt: skip
    return CausalLM(AutoModelForCausalLM.from_config(config).eval())


def seconds(lm: CausalLM, drafted: int, kept: int) -> float:
    """Median seconds of a round: one pass over the draft, and the commit."""
    taken = []
    with closing(lm.open()) as slot:
        lm.prefill(slot, list(range(100, 228)))
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            lm.score([chain(list(range(10, 11 + drafted)))], [slot])
            slot.commit(range(kept))
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
