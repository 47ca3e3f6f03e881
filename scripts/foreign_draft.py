"""Teach the bundled draft model to write as ``smollm2-reasoner`` does: a draft with a tokenizer of its own for it.

    python scripts/foreign_draft.py build/foreign-draft --minutes 30
    python -m laconic.models.specimen.reasoner.problems --n 80 --out problems.jsonl
    laconic compare --model smollm2-reasoner --draft-model build/foreign-draft --drafter draft-text \\
        --tasks problems.jsonl --n 80 --dtype bfloat16 --threads 1 --no-hf

It has 0.4 million parameters and the bundled pair's 640 tokens, where the reasoner has 49,152; it learns from the text
that the reasoner was taught with, of which no problem of the evaluation is part. One process of one thread; seeded, but
ended by the clock.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from torch.nn import functional

from laconic.models.reasoner import draft_path
from laconic.models.reasoner.batches import batches
from laconic.models.reasoner.learner import Learner
from laconic.models.reasoner.network import DRAFT, build
from laconic.models.reasoner.tokenizer import END, PAD, load_tokenizer, save_tokenizer
from laconic.models.specimen.reasoner.thoughts import examples

WARMUP = 50
"""Steps."""
DECAY = 0.7
"""The share of the time over which the rate falls to zero."""


def main() -> None:
    """Train, say how it goes, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.01, help="of Muon; AdamW takes a sixth of it")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    learner, tokenizer = begun(given.rate)
    source = batches(tokenizer, examples(given.seed + 1), given.batch_tokens, given.seed)
    losses: list[float] = []
    start = time.monotonic()
    for count in itertools.count():
        done = (time.monotonic() - start) / 60 / given.minutes
        if done >= 1:
            break
        tokens, weights = next(source)
        where, labels = weights[:, 1:] > 0, tokens[:, 1:]
        loss = functional.cross_entropy(learner.logits(tokens[:, :-1], where), labels[where])
        learner.step(loss, min(1.0, (count + 1) / WARMUP, (1 - done) / DECAY), count)
        losses.append(loss.item())
        if len(losses) == 100:
            said = {"step": count + 1, "minutes": round(done * given.minutes, 2), "loss": round(sum(losses) / 100, 4)}
            print(json.dumps(said), flush=True)
            losses.clear()
    network = learner.mean
    network.config.use_cache = True
    network.save_pretrained(given.out)
    (given.out / "model.safetensors").chmod(0o644)
    save_tokenizer(tokenizer, given.out)


def begun(rate: float) -> tuple[Learner, object]:
    """The bundled draft model's weights in a learner, and its tokenizer."""
    from safetensors.torch import load_file

    tokenizer = load_tokenizer(draft_path())
    eos, pad = tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(PAD)
    network = build(DRAFT, len(tokenizer), eos, pad)
    weights = {name: weight.float() for name, weight in load_file(draft_path() / "model.safetensors").items()}
    network.load_state_dict(weights, strict=False)
    network.tie_weights()
    return Learner(network, rate), tokenizer


if __name__ == "__main__":
    main()
