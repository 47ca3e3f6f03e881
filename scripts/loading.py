"""How much memory loading a model takes, as multiples of its weights.

    python scripts/loading.py smollm2 float32 [--transformers]

Peaks of resident memory while the model is loaded, less what the process had before, over the bytes of the weights as
loaded: anonymous memory, mapped pages of the file, and both; sampled every 2 ms (Linux). One load a process.
"""

from __future__ import annotations

import argparse
import re
import threading
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from laconic.models.causal_lm import CausalLM
from laconic.models.load import resolve

KINDS = ("RssAnon", "RssFile", "VmRSS")


def main() -> None:
    """Load, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--transformers", action="store_true", help="Transformers alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    name, dtype = resolve(given.model), getattr(torch, given.dtype)
    begun, peak, over = resident(), dict.fromkeys(KINDS, 0.0), threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            for kind, size in resident().items():
                peak[kind] = max(peak[kind], size)

    watching = threading.Thread(target=watch)
    watching.start()
    if given.transformers:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    else:
        lm = CausalLM.load(name, dtype=dtype, device="cpu")
        model = lm.model
    over.set()
    watching.join()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    after = resident()
    for kind in KINDS:
        high, left = ((size[kind] - begun[kind]) / weights for size in (peak, after))
        print(f"{kind}: peak {high:.2f}, after {left:.2f}")


def resident() -> dict[str, float]:
    """Bytes of this process in memory, by kind."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return {kind: 1024.0 * int(re.findall(rf"{kind}:\s+(\d+)", status)[0]) for kind in KINDS}


if __name__ == "__main__":
    main()
