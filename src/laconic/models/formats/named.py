"""Formats by the names of families, or by their tags: what a user says where a chat template says nothing."""

from __future__ import annotations

from dataclasses import replace

from laconic.errors import RequestError, did_you_mean
from laconic.models.formats.format import Format
from laconic.models.formats.table import TABLE

_NAMES = {
    "gpt-oss": "<|channel|>analysis<|message|>",
    "apriel": "Here are my reasoning steps:",
    "think": "<think>",
    "gemma-4": "<|channel>thought",
    "magistral": "[THINK]",
    "exaone-deep": "<thought>",
    "seed-oss": "<seed:think>",
    "reasoning": "<reasoning>",
    "longcat": "<longcat_think>",
    "k2-horizon": "<ifm|think>",
    "inkling": "<|content_thinking|>",
    "apertus": "<|inner_prefix|>",
}
FAMILIES = {name: next(entry for entry in TABLE if entry.opens == opens) for name, opens in _NAMES.items()}
"""The table's formats by name."""


_HINT = "Name a family, or its tags as OPEN,CLOSE."


def named(said: str | Format) -> Format:
    """A family's format, or one of ``OPEN,CLOSE`` tags; for ``none`` that of a model that does not think.

    A format stays what it is. Raises RequestError for anything else.

    >>> named("<note>,</note>").closes
    '</note>'
    """
    if isinstance(said, Format):
        return said
    if not isinstance(said, str):
        raise RequestError(f"a format is a text or a Format, not {type(said).__name__!r}.", _HINT)
    if said == "none":
        return Format()
    if said in FAMILIES:
        return replace(FAMILIES[said], source="given")
    opens, comma, closes = (part.strip() for part in said.partition(","))
    if not (opens and comma and closes):
        raise RequestError(
            f"'{said}' is no format of thoughts.",
            did_you_mean(said, (*FAMILIES, "none")) or _HINT,
        )
    return Format(opens, closes)
