"""Words by which a thought turns: it doubts, checks, tries another way, or gives one up."""

from __future__ import annotations

import re
from collections.abc import Sequence

from laconic.thinking.statements import CUES

_CUES = {name: re.compile(pattern) for name, pattern in CUES.items()}
_REFLECTS = re.compile(
    "|".join(f"(?:{pattern})" for pattern in CUES.values())
    + r"|\b[Ll]et me (?:also )?(?:try|look at|think again|start over|work it out once more|re)"
    r"|\b[Oo]ne more (?:check|way)\b|\b[Jj]ust to be (?:safe|sure)\b|\bI should (?:check|make sure|verify)\b"
)


def counts(text: str) -> dict[str, int]:
    """How often each cue word occurs."""
    return {name: len(pattern.findall(text)) for name, pattern in _CUES.items()}


def reflects(step: str) -> bool:
    """Whether a step turns back on the thought: its first sentence has a cue word."""
    return _REFLECTS.search(first_sentence(step)) is not None


def reflections(steps: Sequence[str]) -> tuple[int, float]:
    """Steps that turn back on the thought, and their share of all steps (0 where there is none)."""
    found = sum(map(reflects, steps))
    return found, found / len(steps) if steps else 0.0


def first_sentence(step: str) -> str:
    """Up to the first full stop, question or exclamation mark before a space, or the end of the line."""
    return re.split(r"(?<=[.!?])\s|\n", step.strip(), maxsplit=1)[0]
