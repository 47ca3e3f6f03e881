"""What a configuration file promises, where ``laconic run`` uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laconic.engine import Engine
    from laconic.types import Limits, Sampling


@dataclass(frozen=True, slots=True)
class Kept:
    """A file's promise as one line for people and as ``told`` for JSON; both say whether it holds here."""

    line: str
    told: dict[str, Any]


def kept(
    path: Path | None, engine: Engine, sampling: Sampling, limits: Limits, *, thinking: bool, whole: bool
) -> Kept | None:
    """The promise of the file at ``path``; None without a file or a promise in it.

    ``whole`` is False where a question is asked in several calls, about which no file promises anything.
    """
    from laconic.bench.harm.promise import differences, said, told
    from laconic.config import load

    promise = load(path).promise if path is not None else None
    if promise is None:
        return None
    why_not = differences(promise, engine, sampling, limits, thinking=thinking)
    if not whole:
        why_not.append("the question is reasoned about in several calls")
    return Kept(said(promise, why_not), told(promise, why_not))
