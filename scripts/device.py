"""Is laconic right and quick on this machine's device? To be run whenever a GPU is at hand.

    python scripts/device.py [--device auto] [--model bundled] [--json out/device.json]

Exactness: in float32 and in the device's own format, the same questions decoded plainly, drafted, as trees and in a
batch must give the same tokens, and float32 those of the CPU. Times: a pass over 1, 4 and 16 new tokens behind 512 by
laconic's way and by the Transformers model with its own cache, in turn; medians and quartiles of the ratio.
Ends with 1 where a check that is promised fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache

from laconic import Engine, Limits, Methods
from laconic.bench.provenance import provenance
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.devices import best, named_device, preferred
from laconic.models.load import load_text, resolve
from laconic.models.loading import read_config

QUESTIONS = [f"What is {a} * {b} + {c}?" for a, b, c in ((37, 48, 15), (12, 9, 4), (81, 7, 30), (64, 3, 77))]
WAYS: dict[str, tuple[Methods, int]] = {
    "plain": (Methods(drafter="none", length="constant"), 1),
    "chain": (Methods(length="constant:5"), 1),
    "tree": (Methods(drafter="suffix:shared=false", shape="best-first", length="constant:8"), 1),
    "batch": (Methods(length="constant:5"), 4),
}
BEHIND, REPEATS = 512, 30


def main() -> None:
    """Check, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = named_device(given.device)
    own = preferred(device, read_config(resolve(given.model)).dtype or torch.float32)
    formats = list(dict.fromkeys((torch.float32, own, *((torch.bfloat16,) if device.type != "cpu" else ()))))
    text = load_text(given.model)
    reference = None
    rows, failed = [], []
    for dtype in formats:
        lm = CausalLM.load(resolve(given.model), dtype=dtype, device=str(device))
        tokens = {name: written(lm, text, methods, batch, given.tokens) for name, (methods, batch) in WAYS.items()}
        same = {
            name: sum(a == b for a, b in zip(found, tokens["plain"], strict=True)) for name, found in tokens.items()
        }
        if dtype == torch.float32 and device.type != "cpu":
            reference = written(CausalLM.load(resolve(given.model), dtype=dtype, device="cpu"), text, *WAYS["plain"],
                                given.tokens)  # fmt: skip
            same["as on the CPU"] = sum(a == b for a, b in zip(reference, tokens["plain"], strict=True))
        failed += [f"{dtype}: {name}" for name, n in same.items() if lm.exact and n < len(QUESTIONS)]
        model = AutoModelForCausalLM.from_pretrained(resolve(given.model), dtype=dtype).to(device).eval()
        times = {nodes: compared(lm, model, nodes) for nodes in (1, 4, 16)}
        rows.append(lm.describe() | {"same": same, "times": times})
        print(f"{dtype} on {device}: passes {lm.path}, exact {lm.exact}")
        print("  the same tokens as plain decoding:", ", ".join(f"{k} {n}/{len(QUESTIONS)}" for k, n in same.items()))
        for nodes, t in times.items():
            print(f"  {nodes:2} tokens: {t['ours_ms']:.2f} ms, Transformers {t['theirs_ms']:.2f} ms, ratio "
                  f"{t['ratio'][1]:.2f} ({t['ratio'][0]:.2f} to {t['ratio'][2]:.2f})")  # fmt: skip
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"rows": rows, "failed": failed, "accelerator": str(best()), "provenance": provenance()}
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print("FAILED: " + "; ".join(failed) if failed else "all that is promised holds")
    raise SystemExit(bool(failed))


def written(lm: CausalLM, text: Any, methods: Methods, batch: int, tokens: int) -> list[tuple[int, ...]]:
    """Tokens after each question."""
    engine = Engine(lm, text, methods)
    requests = [engine.request(question, limits=Limits(tokens, answer_room=0)) for question in QUESTIONS]
    return [result.tokens for result in engine.run(requests, batch=batch)]


@torch.inference_mode()
def compared(lm: CausalLM, model: Any, nodes: int) -> dict[str, Any]:
    """Seconds of a pass by laconic and by Transformers, and quartiles of theirs over ours."""
    tokens = [(7 * i + 3) % lm.vocab_size for i in range(min(BEHIND, lm.context - 32))]
    cache = DynamicCache(config=model.config)
    model(torch.tensor([tokens], device=model.device), past_key_values=cache, use_cache=True)
    more = torch.tensor([tokens[:nodes]], device=model.device)
    with closing(lm.open()) as slot:
        lm.prefill(slot, tokens)

        def ours() -> None:
            lm.score([chain(tokens[:nodes])], [slot])

        def theirs() -> None:
            model(more, past_key_values=cache, use_cache=True).logits.float()
            cache.crop(-nodes)

        pairs = [(timed(ours, lm.device), timed(theirs, lm.device)) for _ in range(REPEATS + 3)][3:]
    low, median, high = statistics.quantiles([b / a for a, b in pairs], n=4)
    return {"ours_ms": 1e3 * statistics.median(a for a, _ in pairs),
            "theirs_ms": 1e3 * statistics.median(b for _, b in pairs), "ratio": [low, median, high]}  # fmt: skip


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds until the device has done the work."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    begun = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
