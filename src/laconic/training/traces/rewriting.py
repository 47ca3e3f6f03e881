"""A model that rewrites texts: any engine, here or behind a server."""

from __future__ import annotations

from laconic.engine import Engine
from laconic.errors import TraceError


def rewritten(rewriter: Engine, instruction: str, text: str) -> str:
    """What ``rewriter`` answers to an instruction and a text below it.

    Raises TraceError where it is cut off or says nothing, and what the engine raises.
    """
    result = rewriter.generate(f"{instruction}\n\n{text}")
    if result.finish_reason != "stop":
        raise TraceError("the rewriter did not come to an end")
    if not result.answer.strip():
        raise TraceError("the rewriter said nothing")
    return result.answer.strip()
