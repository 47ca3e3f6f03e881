"""Where a reply begins: in a thought, in an answer, or before either."""

from __future__ import annotations

from laconic.models.formats.format import Format


def begins(added: str, format: Format) -> str:
    """The phase in which a reply begins below ``added``: ``thinking``, ``answer``, or ``before`` either."""
    if not format.thinks:
        return "answer"
    opened, closed = added.rfind(format.opens), added.rfind(format.closes)
    ended = (format.message_end, format.message_end + format.turn)
    if format.turn and opened > closed and added.rstrip().endswith(ended):
        return "answer"
    if opened > closed:
        return "thinking"
    if any(added.rstrip().endswith(header) for header in format.headers if not format.header_end):
        return "answer"
    after = added[closed + len(format.closes) :].strip() if closed >= 0 else ""
    return "answer" if closed >= 0 and after in ("", format.bridge.strip()) else "before"
