"""How often each token comes up: in a corpus (FR-Spec), or in what the target itself writes (VocabTrim)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from laconic.engine import Engine
from laconic.errors import TaskError
from laconic.models.text import Text
from laconic.types import Request

_PIECE = 1 << 16
"""Letters that are cut into tokens at once."""


def in_files(text: Text, vocab_size: int, files: Sequence[str | Path]) -> Tensor:
    """Counts ``[vocab_size]`` of tokens in files: plain text, or JSONL of which every string counts.

    Raises TaskError for a file that is not there or not what its name says.
    """
    counts = torch.zeros(vocab_size, dtype=torch.long)
    for file in files:
        for piece in _pieces(Path(file)):
            _count(counts, text.encode(piece))
    return counts


def in_answers(
    engine: Engine, requests: Sequence[Request], *, batch: int = 16, after: Callable[[int], Any] = lambda done: None
) -> Tensor:
    """Counts ``[vocab]`` of the tokens that ``engine``'s target writes itself; ``after`` is told how many are done."""
    counts = torch.zeros(engine.target.vocab_size, dtype=torch.long)
    for start in range(0, len(requests), batch):
        for result in engine.run(requests[start : start + batch], batch=batch):
            _count(counts, result.tokens)
        after(min(start + batch, len(requests)))
    return counts


def always(text: Text, vocab_size: int) -> list[int]:
    """Tokens that are kept however rare: ends, and the tags of a thought."""
    tags = text.encode(text.format.opens) + text.encode(text.format.closes) if text.format.thinks else []
    return sorted({token for token in (*text.eos, *tags) if token < vocab_size})


def _count(counts: Tensor, tokens: Sequence[int]) -> None:
    if tokens:
        counts += torch.bincount(torch.tensor(tokens), minlength=len(counts))[: len(counts)]


def _pieces(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8") as lines:
            if file.suffix == ".jsonl":
                for line in lines:
                    yield from _strings(json.loads(line))
            else:
                while piece := lines.read(_PIECE):
                    yield piece + lines.readline()
    except OSError as error:
        raise TaskError(f"cannot read '{file}': {error.strerror or error}.") from error
    except ValueError as error:
        raise TaskError(f"'{file}' is not what its name says: {error}.", "Give text or JSONL in UTF-8.") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
