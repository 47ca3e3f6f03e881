"""Where records keep question, response and right answer: names in common use, or those that the user gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laconic.bench.replay.chat import Unusable

_QUESTIONS = ("question", "problem", "instruction", "query", "prompt", "input", "doc.question", "doc.problem")
_RESPONSES = ("response", "model_response", "generation", "generations", "responses", "completion", "output", "resps")
_ANSWERS = ("answer", "expected_answer", "ground_truth", "gold", "target")
_CONVERSATIONS = ("messages", "conversations", "conversation", "traj", "trajectory")


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of fields, dotted where one lies in another (``doc.problem``, ``outputs.0``); None for the common ones."""

    question: str | None = None
    response: str | None = None
    answer: str | None = None

    def single(self, entry: dict[str, Any]) -> tuple[str, list[str]] | None:
        """A question and the responses to it; None if this is no such record.

        Raises Unusable where a name that the user gave leads nowhere.
        """
        asked = [text] if (text := _first(entry, self.question, _QUESTIONS, "question", _text)) else []
        said = _first(entry, self.response, _RESPONSES, "response", _texts)
        if said is None or not (asked or self.response):
            return None
        return (asked or [""])[0], said

    def right(self, entry: dict[str, Any]) -> str | None:
        """The right answer, if the record brings one."""
        found: str | None = _first(entry, self.answer, _ANSWERS, "answer", _scalar)
        return found


def conversation(entry: dict[str, Any]) -> list[Any] | None:
    """The messages of a recorded conversation, under any of its common names."""
    for name in _CONVERSATIONS:
        if isinstance(entry.get(name), list):
            return list(entry[name])
    return None


def _first(entry: dict[str, Any], given: str | None, common: Sequence[str], what: str, read: Any) -> Any:
    if given is not None:
        found = read(_at(entry, given))
        if found is None and what != "answer":
            raise Unusable(f"no text in its field '{given}' (--{what}-field)")
        return found
    return next((found for name in common if (found := read(_at(entry, name))) is not None), None)


def _at(entry: Any, name: str) -> Any:
    """What lies at a dotted name; None where nothing does. A field that is itself named with a dot comes first."""
    if isinstance(entry, dict) and name in entry:
        return entry[name]
    for part in name.split("."):
        if isinstance(entry, dict):
            entry = entry.get(part)
        elif isinstance(entry, list) and part.isdecimal() and int(part) < len(entry):
            entry = entry[int(part)]
        else:
            return None
    return entry


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> list[str] | None:
    """One text, or all texts of a list, which may lie in lists of their own (``resps`` of lm-evaluation-harness)."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        return None
    parts = [_texts(one) for one in value]
    return [text for part in parts if part for text in part] if parts and all(parts) else None


def _scalar(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None
