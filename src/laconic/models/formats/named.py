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


def named(said: str) -> Format:
    """A family's format, or one of ``OPEN,CLOSE`` tags; for ``none`` that of a model that does not think.

    Raises RequestError for anything else.

    >>> named("<note>,</note>").closes
    '</note>'
    """
    if said == "none":
        return Format()
    if said in FAMILIES:
        return replace(FAMILIES[said], source="given")
    opens, comma, closes = (part.strip() for part in said.partition(","))
    if not (opens and comma and closes):
        raise RequestError(
            f"'{said}' is no format of thoughts.",
            did_you_mean(said, (*FAMILIES, "none")) or "Name a family, or its tags as OPEN,CLOSE.",
        )
    return Format(opens, closes)
