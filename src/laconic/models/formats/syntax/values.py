"""Values of arguments that a family writes as plain text: typed by the tool's JSON schema, else by how they look."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from laconic.models.formats.syntax.literal import Broken, Incomplete

Tool = Mapping[str, Any]
Schemas = Mapping[str, Mapping[str, Any]]
"""The schema of each tool's arguments by the tool's name."""
_ALL = frozenset(("string", "integer", "number", "boolean", "object", "array", "null"))
_PYTHON = {"True": True, "False": False, "None": None}
_CUT = 8
"""Characters at the end of a text in which a JSON value may look broken and is only cut."""


def schemas(tools: Iterable[Tool]) -> dict[str, Mapping[str, Any]]:
    """The schemas of OpenAI's tools by name, in the form of either of its interfaces; empty for one without."""
    found = {}
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found[function["name"]] = schema if isinstance(schema, Mapping) else {}
    return found


def decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at ``at``, and where it ends; line breaks in its strings are taken as they are.

    Raises Incomplete where the text ends inside it, Broken where it is none.
    """
    try:
        return json.JSONDecoder(strict=False, parse_constant=_refused).raw_decode(text, at)
    except json.JSONDecodeError as error:
        cut = error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()) - _CUT
        raise (Incomplete if cut else Broken) from None
    except (ValueError, RecursionError):
        raise Broken from None


def strict(text: str) -> bool:
    """Whether a text is JSON without any allowance."""
    try:
        json.loads(text, parse_constant=_refused)
    except ValueError:
        return False
    return True


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def written(value: Any) -> str:
    """A value as JSON. Raises Broken for a number that JSON does not know."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise Broken from None


def of_schema(schema: Mapping[str, Any], name: str) -> frozenset[str]:
    """The types that a schema allows for its property ``name``; all of them where it says nothing."""
    properties = schema.get("properties")
    said = properties.get(name) if isinstance(properties, Mapping) else None
    return _types(said, schema, 0)


def typed(text: str, types: frozenset[str]) -> Any:
    """The value of ``text``: of another type than text where one is allowed and it reads as such, else the text."""
    if types == {"string"}:
        return text
    bare = text.strip()
    for read in (_json, _literal):
        value = read(bare)
        if value is not _NONE and kind(value) & types:
            return value
    return text


def kind(value: Any) -> frozenset[str]:
    """The JSON schema types of a value."""
    if isinstance(value, bool):
        return frozenset(("boolean",))
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return frozenset(("integer", "number"))
    names = {float: "number", str: "string", type(None): "null", dict: "object", list: "array"}
    return frozenset((names[type(value)],)) if type(value) in names else frozenset()


_NONE = object()


def _json(text: str) -> Any:
    try:
        value, end = decoded(text, 0)
    except Broken:
        return _NONE
    return _NONE if end != len(text) or isinstance(value, str) else value


def _literal(text: str) -> Any:
    """A value as Python writes it, which is how templates print data that they do not turn into JSON."""
    if text in _PYTHON:
        return _PYTHON[text]
    if not text.startswith(("{", "[")):
        return _NONE
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _NONE
    return value


def _types(schema: Any, whole: Mapping[str, Any], depth: int) -> frozenset[str]:
    if not isinstance(schema, Mapping) or depth > 8:
        return _ALL
    if isinstance(schema.get("$ref"), str):
        return _types(_referred(schema["$ref"], whole), whole, depth + 1)
    said = schema.get("type")
    if isinstance(said, str):
        return frozenset((said,))
    if isinstance(said, Sequence):
        return frozenset(map(str, said))
    if "const" in schema or isinstance(schema.get("enum"), Sequence):
        return frozenset().union(*map(kind, schema.get("enum", [schema.get("const")])))
    for several in ("anyOf", "oneOf"):
        if isinstance(schema.get(several), Sequence):
            return frozenset().union(*(_types(each, whole, depth + 1) for each in schema[several]))
    if isinstance(schema.get("allOf"), Sequence):
        return _ALL.intersection(*(_types(each, whole, depth + 1) for each in schema["allOf"]))
    return _ALL


def _referred(path: str, whole: Mapping[str, Any]) -> Any:
    found: Any = whole
    for step in path.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found
