"""vLLM for CPUs as a peer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from laconic.bench.peers import vllm_worker
from laconic.bench.peers.piped import PipedPeer
from laconic.models.load import resolve
from laconic.models.text import Text

SPECULATION: dict[str, dict[str, Any] | None] = {
    "vllm": None,
    "vllm-ngram": {"method": "ngram", "num_speculative_tokens": 8, "prompt_lookup_max": 4, "prompt_lookup_min": 1},
    "vllm-suffix": {"method": "suffix", "num_speculative_tokens": 16},
}
"""Peers by name, and what vLLM is told about speculation for each."""


def start(
    name: str,
    python: Path,
    model: str,
    text: Text,
    *,
    context: int,
    threads: int,
    dtype: str = "float32",
    log: Path | None = None,
) -> PipedPeer:
    """The peer ``name``, under the interpreter of vLLM's environment. Raises PeerUnavailable if it does not start."""
    place = Path(resolve(model))
    settings = {
        "model": str(place.absolute()) if place.exists() else model,
        "dtype": dtype,
        "context": context,
        "threads": threads,
        "speculative": SPECULATION[name],
    }
    return PipedPeer(
        name,
        python,
        Path(vllm_worker.__file__),
        settings,
        text,
        context=context,
        environment=as_advised(python, threads),
        log=log,
    )


def as_advised(python: Path, threads: int) -> dict[str, str]:
    """The environment vLLM's guide asks for: Intel's OpenMP first, where it is installed, and the threads named."""
    environment = dict(os.environ) | {"OMP_NUM_THREADS": str(threads)}
    library = (python.parent.parent / "lib" / "libiomp5.so").absolute()
    if library.exists():
        environment["LD_PRELOAD"] = ":".join(filter(None, [str(library), environment.get("LD_PRELOAD")]))
    return environment
