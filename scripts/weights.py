"""What coded weights save and cost: size beside its bound and general compressors, decoding beside a copy, passes.

    laconic specimen smollm2
    python scripts/weights.py --models smollm2,bundled --json docs/results/weights.json

Everything that is timed is timed in turn with what it is compared with, in one process and on one thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from laconic.bench.provenance import provenance
from laconic.models.base import chain
from laconic.models.causal_lm import CausalLM
from laconic.models.dfloat11 import huffman
from laconic.models.dfloat11.codec import Coded, exponents
from laconic.models.dfloat11.folder import stored
from laconic.models.dfloat11.write import compress

WIDTHS = (1, 8, 64, 256)
"""Nodes of the passes that are timed."""
_BEFORE = 100
"""Tokens in the cache before them."""


def main() -> None:
    """Measure each model and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="smollm2,bundled")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in given.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measured(name, Path(folder) / "coded", given.rounds)
        print(name, json.dumps(found[name], indent=1), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"weights": found, "provenance": provenance()}, indent=1) + "\n")


def measured(name: str, place: Path, rounds: int) -> dict[str, Any]:
    """Everything of one model."""
    report = compress(name, place, cast=True)
    tensors = {key: tensor.read() for key, tensor in stored(place).items()}
    coded = {key: tensor for key, tensor in tensors.items() if isinstance(tensor, Coded)}
    plain = {key: tensor.decode() for key, tensor in coded.items()}
    told = report.as_dict() | {"path": None, "grown": len(report.grown)}
    table = next(key for key in plain if "embed" in key)
    parts = {"embedding": [table], "layers": [key for key in plain if key != table]}
    return {
        "report": told,
        "entropy": {part: entropy([plain[key] for key in keys]) for part, keys in parts.items()},
        "general": general(plain),
        "decode": decoding(coded, plain, rounds),
        "held": held(place),
        "passes": passes(place, rounds),
    }


def entropy(tensors: list[torch.Tensor]) -> float:
    """Bits of an exponent, each tensor by its own histogram."""
    total = sum(tensor.numel() for tensor in tensors)
    return sum(huffman.entropy(exponents(tensor)) * tensor.numel() for tensor in tensors) / total


def general(plain: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What compressors that know nothing of numbers make of the same bytes, as shares of them, and their seconds."""
    raw = b"".join(tensor.view(torch.int16).numpy().tobytes() for tensor in plain.values())
    found: dict[str, Any] = {}
    begun = time.perf_counter()
    found["zlib -6"] = {"ratio": len(zlib.compress(raw, 6)) / len(raw), "seconds": time.perf_counter() - begun}
    if program := shutil.which("zstd"):
        for level in ("-3", "-19"):
            begun = time.perf_counter()
            # The highest levels take minutes; a part of the bytes says what they can do.
            some = raw if level == "-3" else raw[: 32 << 20]
            out = subprocess.run([program, level, "-c", "-q", "-T1"], input=some, stdout=subprocess.PIPE, check=True)
            seconds = time.perf_counter() - begun
            found[f"zstd {level}"] = {
                "ratio": len(out.stdout) / len(some), "seconds": seconds, "share": len(some) / len(raw),
            }  # fmt: skip
    return found


def decoding(coded: dict[str, Coded], plain: dict[str, torch.Tensor], rounds: int) -> dict[str, Any]:
    """Decoding every coded weight, in copies of as many bytes."""
    out = {key: torch.empty_like(tensor) for key, tensor in plain.items()}

    def decode() -> None:
        for key, tensor in coded.items():
            tensor.decode_into(out[key].view(-1))

    def copy() -> None:
        for key, tensor in plain.items():
            out[key].copy_(tensor)

    return ratio(decode, copy, rounds)


def ratio(one: Callable[[], None], other: Callable[[], None], rounds: int) -> dict[str, float]:
    """Times of ``one`` in times of ``other``, in turn: median and quartiles."""
    found = []
    for turn in range(rounds + 1):
        seconds = []
        for call in (one, other):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
        if turn:  # the first warms up
            found.append(seconds[0] / seconds[1])
    low, middle, high = statistics.quantiles(found, n=4)
    return {"ratio": middle, "low": low, "high": high}


def held(place: Path) -> dict[str, Any]:
    """Bytes of weights in memory, decoded and kept coded."""
    decoded = CausalLM.load(place, dtype=torch.bfloat16, written_out=False)
    coded = CausalLM.load(place, weights="coded")
    layers = [layer.parameters() for layer in coded.model.model.layers]
    inside = sum(parameter.nbytes for layer in layers for parameter in layer)
    return {"decoded": decoded.weights_bytes, "coded": coded.weights_bytes, "layers_decoded": inside}


def passes(place: Path, rounds: int) -> dict[str, Any]:
    """Passes with weights kept coded, in passes with decoded ones: on the same modules, and on the fastest path."""
    coded = CausalLM.load(place, weights="coded")
    others = {
        lm.path: lm for lm in (CausalLM.load(place, dtype=torch.bfloat16, written_out=way) for way in (False, True))
    }
    found: dict[str, Any] = {}
    for path, lm in others.items():
        with closing(coded.open()) as mine, closing(lm.open()) as theirs:
            sides = [(coded, mine), (lm, theirs)]
            for model, slot in sides:
                model.prefill(slot, [7 + i % 50 for i in range(_BEFORE)])
            for width in WIDTHS:
                tree = chain([5 + i % 50 for i in range(width)])
                one, other = (lambda m=m, s=s, t=tree: m.score([t], [s]) for m, s in sides)  # type: ignore[misc]
                found.setdefault(path, {})[str(width)] = ratio(one, other, rounds)
    return found


if __name__ == "__main__":
    main()
