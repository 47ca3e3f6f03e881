"""What a request may say of its answer's grammar. Whether it can be kept to is known once it meets a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from laconic.errors import RequestError
from laconic.types import Grammar, GrammarLimits

DEFAULT = GrammarLimits()
_COMPACT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_FLEXIBLE = {"whitespace_flexible": True, "whitespace_pattern": r" |\n[ \t]{0,24}"}


def json_schema(
    schema: Mapping[str, Any] | str | bool, *, compact: bool = False, limits: GrammarLimits = DEFAULT
) -> Grammar:
    """An answer that is JSON of this schema. ``compact`` fixes the white space, which then costs no pass.

    Otherwise a blank, or a line break with at most 24 more characters, may stand between its parts: without a bound,
    small models would write nothing else for ever. Raises RequestError for what is no schema, or is too large.
    """
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except json.JSONDecodeError as error:
            raise RequestError(f"the JSON schema is no JSON: {error}.", "Give an object, or true.") from None
    if not isinstance(schema, Mapping | bool):
        raise RequestError(f"a JSON schema is an object or a boolean, not a {type(schema).__name__}.")
    whole = dict(schema) if isinstance(schema, Mapping) else ({} if schema else {"not": {}})
    try:
        source = json.dumps({"schema": whole, "writing": _COMPACT if compact else _FLEXIBLE}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RequestError(f"the JSON schema holds what is no JSON: {error}.") from None
    return sized(Grammar("json", source, limits), "JSON schema")


def json_object(*, compact: bool = False, limits: GrammarLimits = DEFAULT) -> Grammar:
    """An answer that is a JSON object, whatever it holds."""
    return json_schema({"type": "object"}, compact=compact, limits=limits)


def regex(pattern: str, *, limits: GrammarLimits = DEFAULT) -> Grammar:
    """An answer that a regular expression matches as a whole (Rust's syntax: no look-around, no back references)."""
    if not pattern:
        raise RequestError("the regular expression is empty.", "An answer must be able to say something.")
    return sized(Grammar("regex", pattern, limits), "regular expression")


def choice(texts: Sequence[str], *, limits: GrammarLimits = DEFAULT) -> Grammar:
    """An answer that is one of these texts, letter by letter."""
    if isinstance(texts, str) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise RequestError("a choice is a list of texts that are not empty.", "For example ['yes', 'no'].")
    return sized(Grammar("choice", json.dumps(list(dict.fromkeys(texts))), limits), "choice")


def lark(grammar: str, *, limits: GrammarLimits = DEFAULT) -> Grammar:
    """An answer of a grammar in Lark's syntax as llguidance takes it, from its rule ``start`` on."""
    if not grammar.strip():
        raise RequestError("the grammar is empty.", "It needs a rule `start`.")
    return sized(Grammar("lark", grammar, limits), "grammar")


def sized(grammar: Grammar, what: str) -> Grammar:
    """The grammar, if its source is no larger than its limits say. Raises RequestError."""
    most = grammar.limits.size
    if len(grammar.source) > most:
        raise RequestError(
            f"the {what} has {len(grammar.source)} characters, at most {most} are taken.", "Make it smaller."
        )
    return grammar
