"""Calls whose arguments stand between tags, each for itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from laconic.models.formats.syntax.call import Call, closed, named
from laconic.models.formats.syntax.literal import Broken, Incomplete, Literal
from laconic.models.formats.syntax.values import Schemas, of_schema, typed, written

_CDATA = ("<![CDATA[", "]]>")


@dataclass(frozen=True, slots=True)
class Tagged:
    """Every argument between tags of its own: ``<parameter=key>value</parameter>``.

    ``middle`` stands between the name and the first of them; ``begins``, ``parts`` and ``ends`` around key and value.
    ``before`` and ``after`` are the line breaks at the ends of a value that are not its own. ``text`` is what ``parts``
    says (where it has a wild part) of a value that is a text.
    """

    middle: Literal
    begins: Literal
    parts: tuple[str, ...]
    ends: Literal
    before: str = ""
    after: str = ""
    text: str = ""

    def read(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int]:
        """The call that begins at ``at``, and where it ends: before one of ``ends``, which must follow it."""
        name, at = named(text, at)
        at = self.middle.match(text, at)
        found: dict[str, Any] = {}
        schema = known.get(name, {})
        while self.begins.follows(text, at):
            key, says, value, at = self._argument(text, self.begins.match(text, at), ends)
            plain = says == self.text if self.text else None
            types = of_schema(schema, key) - ({"string"} if plain is False else set())
            found[key] = value if plain else typed(value, types)
        closed(text, at, ends)
        return Call(name, written(found)), at

    def _argument(self, text: str, at: int, ends: tuple[Literal, ...]) -> tuple[str, str, str, int]:
        """Key, what is said of the type, value, and where the argument ends."""
        between, says = text.find(self.parts[0], at), ""
        if between < 0:
            raise Incomplete
        key, at = text[at:between].strip(), between + len(self.parts[0])
        if len(self.parts) > 1:
            between = text.find(self.parts[1], at)
            if between < 0:
                raise Incomplete
            says, at = text[at:between], between + len(self.parts[1])
        if "\n" in key or not key:
            raise Broken
        at = self._inner(text, at)
        stop, following = at, (self.begins, *ends)
        while True:
            stop = text.find(self.ends.trigger, stop)
            if stop < 0:
                raise Incomplete
            after = self.ends.match(text, stop)
            if any(each.follows(text, after) for each in following):
                return key, says, _plain(text[at:stop].removesuffix(self.after)), after
            stop += 1

    def _inner(self, text: str, at: int) -> int:
        """Where a value begins behind its tag: behind the line break that the family puts there."""
        return at + len(self.before) if self.before and text.startswith(self.before, at) else at


@dataclass(frozen=True, slots=True)
class Keyed:
    """Every argument between tags that its key names, and what it holds in turn: ``<key><inner>value</inner></key>``.

    ``sign`` stands before every tag. What a list holds is tagged ``item``.
    """

    middle: Literal
    sign: str

    def read(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int]:
        """The call that begins at ``at``, and where it ends: before one of ``ends``, which must follow it."""
        name, at = named(text, at)
        at = self.middle.match(text, at)
        schema, found = known.get(name, {}), {}
        while (pair := self._pair(text, at)) is not None:
            key, inner, at = pair
            found[key] = self._value(inner, of_schema(schema, key))
        closed(text, at, ends)
        return Call(name, written(found)), at

    def _pair(self, text: str, at: int) -> tuple[str, str, int] | None:
        """The tag at ``at``: key, what stands in it, and where it ends; None where none stands there."""
        opens = re.compile(rf"\s*{re.escape(self.sign)}<([^<>\s/]+)>").match(text, at)
        if opens is None:
            if re.compile(rf"\s*{re.escape(self.sign)}<[^<>\s/]*$").match(text, at):
                raise Incomplete
            return None
        closes = f"{self.sign}</{opens.group(1)}>"
        end = text.find(closes, opens.end())
        if end < 0:
            raise Incomplete
        return opens.group(1), text[opens.end() : end], end + len(closes)

    def _value(self, inner: str, types: frozenset[str]) -> Any:
        pairs, at = [], 0
        while (pair := self._pair(inner, at)) is not None:
            pairs.append(pair[:2])
            at = pair[2]
        if not pairs or inner[at:].strip():
            return typed(inner, types)
        values = [self._value(each, of_schema({}, "")) for _, each in pairs]
        listed = "object" not in types or all(key == "item" for key, _ in pairs)
        return values if listed else dict(zip((key for key, _ in pairs), values, strict=True))


def _plain(value: str) -> str:
    """A value without the marks of XML that say it is text as it stands."""
    return (
        value[len(_CDATA[0]) : -len(_CDATA[1])] if value.startswith(_CDATA[0]) and value.endswith(_CDATA[1]) else value
    )
