"""llama.cpp as a peer, through its Python package."""

from __future__ import annotations

from pathlib import Path

import torch

from laconic.bench.peers import gguf, llama_worker
from laconic.bench.peers.piped import PipedPeer
from laconic.models.load import resolve
from laconic.models.text import Text

PROMPT_LOOKUP = {"llama.cpp": 0, "llama.cpp-prompt-lookup": 10}
"""Peers by name, and how many tokens each drafts from the prompt; 10 is the package's own default."""


def start(
    name: str,
    python: Path,
    model: str,
    text: Text,
    *,
    context: int,
    threads: int,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    log: Path | None = None,
) -> PipedPeer:
    """The peer ``name``, under the interpreter of llama.cpp's environment; the model is written to ``folder`` once.

    Raises PeerUnavailable if the model cannot be written for it, or it does not start.
    """
    written = folder / "model.gguf"
    if not written.exists():
        gguf.write(resolve(model), text, written, dtype)
    settings = {
        "model": str(written.absolute()),
        "context": context,
        "threads": threads,
        "prompt_lookup": PROMPT_LOOKUP[name],
    }
    return PipedPeer(name, python, Path(llama_worker.__file__), settings, text, context=context, log=log)
