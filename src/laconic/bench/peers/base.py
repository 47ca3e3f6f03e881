"""What every peer's answer is turned into, so that one counter counts for all."""

from __future__ import annotations

from collections.abc import Sequence

from laconic.errors import ModelError, RequestError
from laconic.models.text import Text
from laconic.transcript import Transcript
from laconic.types import FinishReason, Request, Result, Usage


class PeerUnavailable(ModelError):
    """A peer that cannot be run here."""


def result(
    text: Text, request: Request, written: Sequence[int], *, passes: int, drafted: int = 0, accepted: int = 0
) -> Result:
    """A result from the tokens that a peer wrote after the prompt, its end token included.

    ``passes`` are the peer's own target passes, its prefill among them.
    """
    transcript = Transcript(text, request, list(request.prompt))
    for token in written:
        transcript.push(token)
    parts = transcript.parts()
    usage = Usage(
        prompt=len(request.prompt),
        thinking=transcript.count("thinking"),
        answer=transcript.count("answer"),
        drafted=drafted,
        accepted=accepted,
        target_passes=passes,
    )
    finish: FinishReason = "stop" if written and written[-1] in text.eos else "length"
    return Result(parts.text, parts.thinking, parts.answer, tuple(written), finish, usage)


def one_at_a_time(name: str, batch: int) -> None:
    """Raise RequestError for batches: peers are measured one request at a time."""
    if batch != 1:
        raise RequestError(f"{name} is measured one request at a time.", "Use --batch 1, or leave the peer out.")
