"""What an early exit could save at most: where recorded thoughts first state the answer, and what comes after."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.bench.grading import same
from laconic.bench.replay.records import Recording
from laconic.bench.replay.statements import final_answer
from laconic.bench.replay.tokens import Tokenizer
from laconic.bench.stats import bootstrap_median, bootstrap_ratio
from laconic.intervals import wilson
from laconic.models.formats import Format
from laconic.models.formats.table import TABLE
from laconic.thinking.scores.cues import counts
from laconic.thinking.scores.redundancy import loops, repeated
from laconic.thinking.statements import CUES, statements

NGRAM = 16
"""Tokens that must repeat exactly to count as repeated."""


@dataclass(frozen=True, slots=True)
class Thought:
    """One recorded thought, measured in tokens of the replay's tokenizer.

    ``stated`` counts the tokens up to the end of the first step that states the answer, ``concluded`` those up to the
    first step that does so with a word of conclusion; None where no step does.
    """

    id: str
    tokens: int
    steps: int
    reply_tokens: int
    answer: str
    right: bool | None
    stated: int | None
    concluded: int | None
    restated: int
    """Later steps that conclude it again."""
    cues: dict[str, int]
    repeated: int
    """Tokens at the end of an n-gram of 16 that came before in the same thought."""
    loops: int
    """Steps that occur three times or more."""
    finished: bool
    """Whether the thought came to its end; one that was cut off has no answer."""


_FORMS = (*TABLE, Format("<thinking>", "</thinking>"))
"""Those that open models write, and one that is common in recordings of others."""


def split(text: str) -> tuple[str, str] | None:
    """A written text as thought and reply, by the first known closing tag; None if it has none.

    The opening tag may be missing, as where a chat template wrote it. A text that opens a thought and never closes it
    was cut off inside it: it has no reply.
    """
    for form in _FORMS:
        before, tag, reply = text.partition(form.closes)
        if tag:
            return before.partition(form.opens)[2] if form.opens in before else before, reply
    for form in _FORMS:
        if text.lstrip().startswith(form.opens):
            return text.partition(form.opens)[2], ""
    return None


def measure(recording: Recording, tokenizer: Tokenizer) -> Thought | None:
    """The last thought of a recording; None if it holds none."""
    parts = next((found for turn in reversed(recording.turns) if (found := split(turn.written))), None)
    if parts is None or not parts[0].strip():
        return None
    thought, reply = parts
    ids = tokenizer.encode(thought)
    answer = final_answer(reply, recording.answer)
    all_of_them = list(statements(thought, answer)) if answer else []
    concluding = [statement for statement in all_of_them if statement.concluding]
    stated, concluded = (
        len(tokenizer.encode(thought[: which[0].end])) if which else None for which in (all_of_them, concluding)
    )
    steps = [step for step in thought.split("\n\n") if step.strip()]
    return Thought(
        recording.id,
        len(ids),
        len(steps),
        len(tokenizer.encode(reply)),
        answer,
        same(recording.answer, answer) if answer and recording.answer else None,
        stated,
        concluded,
        len({statement.step for statement in concluding}) - 1 if concluding else 0,
        counts(thought),
        repeated(ids, NGRAM),
        loops(steps),
        _finished(next(turn.written for turn in reversed(recording.turns) if split(turn.written))),
    )


def _finished(written: str) -> bool:
    return any(form.closes in written for form in _FORMS)


def summary(recordings: Sequence[Recording], tokenizer: Tokenizer) -> dict[str, Any] | None:
    """Statistics over a file's thoughts; None if it holds none. Shares of tokens are pooled, with a bootstrap
    interval over thoughts; shares of thoughts carry Wilson's interval."""
    found = [(recording, measure(recording, tokenizer)) for recording in recordings]
    thoughts = [thought for _, thought in found if thought is not None]
    if not thoughts:
        return None
    asked = [t for t in thoughts if t.answer]
    concluded = [t for t in asked if t.concluded is not None]
    tokens = sum(t.tokens for t in thoughts)
    return {
        "n": len(thoughts),
        "without_thought": [recording.id for recording, thought in found if thought is None],
        "unfinished": [t.id for t in thoughts if not t.finished],
        "without_answer": [t.id for t in thoughts if t.finished and not t.answer],
        "never_stated": [t.id for t in asked if t.stated is None],
        "right": _share([t.right for t in thoughts if t.right is not None]),
        "tokens": _spread([t.tokens for t in thoughts]),
        "steps": _spread([t.steps for t in thoughts]),
        "reply_tokens": _spread([t.reply_tokens for t in thoughts]),
        "stated": _share([t.stated is not None for t in asked]) | _after([(t.stated, t.tokens) for t in thoughts]),
        "concluded": _share([t.concluded is not None for t in asked])
        | _after([(t.concluded, t.tokens) for t in thoughts]),
        "restated": _share([t.restated > 0 for t in concluded]),
        "restatements": _spread([t.restated for t in concluded]),
        "cues_per_1000": {name: 1000 * sum(t.cues[name] for t in thoughts) / tokens for name in CUES},
        "repeated_share": _pooled([(t.repeated, t.tokens) for t in thoughts]),
        "with_loops": _share([t.loops > 0 for t in thoughts]),
    }


def _after(places: Sequence[tuple[int | None, int]]) -> dict[str, Any]:
    """Share of the thinking tokens after the place. A thought without one saves nothing and counts in full."""
    own = [(tokens - place) / tokens for place, tokens in places if place is not None]
    pooled = _pooled([(tokens - place if place is not None else 0, tokens) for place, tokens in places])
    return {"after": pooled | {"per_thought": _spread(own)}}


def _pooled(pairs: Sequence[tuple[int, int]]) -> dict[str, Any]:
    low_high = bootstrap_ratio([(float(a), float(b)) for a, b in pairs])
    return {"share": sum(a for a, _ in pairs) / sum(b for _, b in pairs), "ci": low_high}


def _share(flags: Sequence[bool]) -> dict[str, Any]:
    """A share of thoughts; None where there is none to ask about."""
    share = sum(flags) / len(flags) if flags else None
    return {"share": share, "ci": wilson(sum(flags), len(flags)), "n": len(flags)}


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    """Median with its 95 % interval, and the quartiles."""
    if not values:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": statistics.median(values), "ci": bootstrap_median(values), "quartiles": [low, high]}
