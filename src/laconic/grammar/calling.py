"""A grammar under which a reply is a call of a tool, in the syntax that the model's family writes calls in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from laconic.errors import RequestError, UnmetNeed, did_you_mean
from laconic.grammar.said import DEFAULT, sized
from laconic.models.formats import Format
from laconic.models.formats.syntax import Syntax
from laconic.models.formats.syntax.bodies import Named, Whole
from laconic.models.formats.syntax.literal import WILD
from laconic.models.formats.syntax.values import Tool, schemas
from laconic.types import Grammar, GrammarLimits

_WRITING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_HINT = "Leave the choice to the model (tool_choice auto)."


def calling(
    form: Format, tools: Sequence[Tool], *, name: str = "", several: bool = True, limits: GrammarLimits = DEFAULT
) -> Grammar:
    """A reply that calls one of ``tools``, or the one of this ``name``; ``several`` allows more than one call.

    Raises UnmetNeed for families whose arguments are not JSON, or whose calls no template shows, and RequestError for a
    name that is not among the tools.
    """
    known = schemas(tools)
    if not known or (name and name not in known):
        raise RequestError(
            f"there is no tool '{name}'." if name else "there are no tools to call.",
            did_you_mean(name, known) if known else "Give tools.",
        )
    chosen = {name: known[name]} if name else known
    syntax = form.calls
    if syntax is None or not isinstance(syntax.body, Whole | Named) or WILD in _parts(syntax):
        raise UnmetNeed("a call of a tool cannot be required of this model: its calls are not tags around JSON.", _HINT)
    rules = [_call(syntax.body, tool, dict(schema)) for tool, schema in chosen.items()]
    source = {
        "opens": syntax.opens.parts,
        "joins": syntax.joins.parts if syntax.joins is not None and several else None,
        "closes": syntax.closes.parts,
        "calls": rules,
    }
    return sized(Grammar("calls", json.dumps(source), limits), "tools' schemas together")


def _parts(syntax: Syntax) -> tuple[str, ...]:
    middle = syntax.body.middle.parts if isinstance(syntax.body, Named) else ()
    return (*syntax.opens.parts, *middle, *(syntax.joins.parts if syntax.joins else ()), *syntax.closes.parts)


def _call(body: Whole | Named, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """What stands for one tool: words, then JSON of a schema."""
    schema = schema or {"type": "object"}
    if isinstance(body, Named):
        return {"words": [name, *body.middle.parts], "schema": {**schema, "x-guidance": _WRITING}}
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    if not body.name:
        return {"words": [], "schema": {**_object({name: schema}), **shared, "x-guidance": _WRITING}}
    whole: dict[str, Any] = {}
    for path, value in ((body.name, {"const": name}), (body.arguments, schema)):
        _put(whole, path, value)
    return {"words": [], "schema": {**_nested(whole), **shared, "x-guidance": _WRITING}}


def _put(tree: dict[str, Any], path: tuple[str, ...], value: dict[str, Any]) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {"\0": {}})["\0"]
    tree[path[-1]] = value


def _nested(tree: dict[str, Any]) -> dict[str, Any]:
    return _object({key: _nested(value["\0"]) if "\0" in value else value for key, value in tree.items()})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with exactly these properties, in this order."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
