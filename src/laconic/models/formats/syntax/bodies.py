"""Calls written as data: JSON with the name in it or before it, Python, JSON with quotes of the family's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from laconic.models.formats.syntax.call import Call, as_object, named, nothing
from laconic.models.formats.syntax.literal import Broken, Incomplete, Literal, space
from laconic.models.formats.syntax.values import Schemas, decoded, typed, written

_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Whole:
    """One JSON object with name and arguments: ``{"name": "f", "arguments": {...}}``.

    The paths lead to both. Without a path to the name, the name is the key of the arguments.
    """

    name: tuple[str, ...]
    arguments: tuple[str, ...]

    def read(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int]:
        """The call that begins at ``at``, and where it ends."""
        at = space(text, at)
        value, end = decoded(text, at) if text.startswith("{", at) else nothing(text, at)
        if not self.name:
            if len(value) != 1:
                raise Broken
            name, arguments = next(iter(value.items()))
        else:
            name = _at(value, self.name)
            arguments = next((a for path in self._others() if (a := _at(value, path)) is not None), {})
        if not isinstance(name, str) or not name:
            raise Broken
        return Call(name, as_object(arguments)), end

    def _others(self) -> list[tuple[str, ...]]:
        """Where the arguments may be: under their own key, or under the one that other families have for it."""
        *above, key = self.arguments
        return [(*above, each) for each in dict.fromkeys((key, "arguments", "parameters"))]


@dataclass(frozen=True, slots=True)
class Named:
    """The name, a few words, and the arguments as a JSON object: ``f[ARGS]{...}``."""

    middle: Literal

    def read(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int]:
        """The call that begins at ``at``, and where it ends."""
        name, at = named(text, at)
        at = space(text, self.middle.match(text, at))
        _, end = decoded(text, at) if text.startswith("{", at) else nothing(text, at)
        return Call(name, as_object(text[at:end])), end


@dataclass(frozen=True, slots=True)
class Python:
    """A call as Python writes it: ``f(key="value", n=3)``."""

    def read(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int]:
        """The call that begins at ``at``, and where it ends."""
        name, opens = named(text, at)
        if not text.startswith("(", opens):
            nothing(text, opens)
        inside, end = _bracketed(text, opens)
        try:
            call = ast.parse(f"f{inside}", mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise Broken from None
        if not isinstance(call, ast.Call) or call.args or any(each.arg is None for each in call.keywords):
            raise Broken
        return Call(name, written({str(each.arg): _value(each.value) for each in call.keywords})), end


@dataclass(frozen=True, slots=True)
class Relaxed:
    """Keys without quotes, and texts between quotes of the family's own: ``f{key:<|"|>value<|"|>,n:3}``."""

    quote: str

    def read(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int]:
        """The call that begins at ``at``, and where it ends."""
        name, at = named(text, at)
        value, end = self._value(text, at) if text.startswith("{", at) else nothing(text, at)
        return Call(name, written(value)), end

    def _value(self, text: str, at: int) -> tuple[Any, int]:
        at = space(text, at)
        if text.startswith(self.quote, at):
            return self._text(text, at)
        if text.startswith("{", at):
            found = {}
            at = space(text, at + 1)
            while not text.startswith("}", at):
                key, at = self._text(text, at) if text.startswith(self.quote, at) else self._key(text, at)
                found[key], at = self._value(text, self._word(":", text, at))
                at = self._next(text, at, "}")
            return found, at + 1
        if text.startswith("[", at):
            items = []
            at = space(text, at + 1)
            while not text.startswith("]", at):
                item, at = self._value(text, at)
                items.append(item)
                at = self._next(text, at, "]")
            return items, at + 1
        stop = re.compile(r"[,}\]]").search(text, at)
        if stop is None:
            raise Incomplete
        word = text[at : stop.start()].strip()
        value = typed(word, frozenset(("number", "integer", "boolean", "null")))
        if isinstance(value, str):
            raise Broken
        return value, stop.start()

    def _text(self, text: str, at: int) -> tuple[str, int]:
        start = at + len(self.quote)
        end = text.find(self.quote, start)
        if end < 0:
            raise Incomplete
        return text[start:end], end + len(self.quote)

    def _key(self, text: str, at: int) -> tuple[str, int]:
        end = text.find(":", at)
        if end < 0:
            raise Incomplete
        return text[at:end].strip(), end

    def _word(self, word: str, text: str, at: int) -> int:
        return Literal((word,)).match(text, at)

    def _next(self, text: str, at: int, closes: str) -> int:
        """Behind the comma between two values, or at the bracket that closes them."""
        at = space(text, at)
        if text.startswith(",", at):
            return space(text, at + 1)
        if not text.startswith(closes, at):
            nothing(text, at)
        return at


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _bracketed(text: str, at: int) -> tuple[str, int]:
    """What stands between the brackets that open at ``at``, with them, and where they close.

    Brackets in strings do not count. A line break in a string, which Python does not take, is written out.
    """
    depth, quote, position, found = 0, "", at, []
    while position < len(text):
        character = text[position]
        if quote and character == "\\":
            character = text[position : position + 2]
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        position += len(character)
        found.append("\\n" if quote and character == "\n" else character)
        if not depth:
            return "".join(found), position
    raise Incomplete


def _value(node: ast.expr) -> Any:
    """The value of an expression of plain data, in which JSON's words may stand for Python's."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        return node.value
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {str(_value(key)): _value(each) for key, each in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if isinstance(value, int | float):
            return -value
    raise Broken
