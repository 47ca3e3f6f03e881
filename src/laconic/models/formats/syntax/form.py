"""How a family writes the calls of a turn: what opens them, parts them and closes them, and each call's own body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from laconic.models.formats.syntax.bodies import Named, Python, Relaxed, Whole
from laconic.models.formats.syntax.call import Call
from laconic.models.formats.syntax.literal import Broken, Incomplete, Literal
from laconic.models.formats.syntax.marked import Keyed, Tagged
from laconic.models.formats.syntax.values import Schemas

__all__ = ["Section", "Syntax"]


Body = Whole | Named | Tagged | Keyed | Python | Relaxed


class Section(NamedTuple):
    """Calls that stand together: where they end in the text, and whether no more of them can come.

    ``broken`` says that another one was begun behind them which is none.
    """

    calls: tuple[Call, ...]
    end: int
    whole: bool
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Syntax:
    """How a family writes calls: ``opens``, a call, and further ones behind ``joins``, ``closes``.

    ``loose`` says that an answer may begin as a call does: then only calls of tools that are known count, and where no
    tag opens them, only at the very beginning. ``mark`` is a tag that may stand before the calls all the same.
    """

    opens: Literal
    joins: Literal | None
    closes: Literal
    body: Body
    loose: bool = False
    mark: str = ""

    @property
    def triggers(self) -> tuple[str, ...]:
        """Texts that begin a call wherever they stand."""
        return tuple(filter(None, (self.opens.trigger, self.mark)))

    def read(self, text: str, at: int, known: Schemas, *, final: bool = False) -> Section:
        """The calls that begin at ``at``; ``final`` says that the text goes no further.

        Raises Incomplete where the text ends before it can be told, Broken where there is no call. A call that is whole
        stands, whatever comes behind it.
        """
        marked = bool(self.mark) and text.startswith(self.mark, at)
        at = self.opens.match(text, at + len(self.mark) * marked)
        ends = tuple(each for each in (self.joins, self.closes) if each is not None and each.parts)
        call, at = self.body.read(text, at, known, ends)
        calls = [self._meant(call, known, marked)]
        while True:
            end, closed = _end(self.closes, text, at)
            following = self._next(text, at, known, ends)
            if following is not None:
                call, at = following
                calls.append(self._meant(call, known, marked))
            else:
                on = not final and not (closed and self.closes.parts) and self._goes_on(text, at)
                return Section(tuple(calls), at if on else end, not on, not on and end == at and self._begun(text, at))

    def _meant(self, call: Call, known: Schemas, marked: bool) -> Call:
        if self.loose and not marked and call.name not in known:
            raise Broken
        return call

    def _next(self, text: str, at: int, known: Schemas, ends: tuple[Literal, ...]) -> tuple[Call, int] | None:
        """The call behind this one and where it ends; None where there is none yet, or none at all."""
        if self.joins is None:
            return None
        try:
            return self.body.read(text, self.joins.match(text, at), known, ends)
        except Broken:
            return None

    def _begun(self, text: str, at: int) -> bool:
        """Whether another call is begun there."""
        try:
            return self.joins is not None and bool(self.joins.parts) and self.joins.match(text, at) <= len(text)
        except Broken:
            return False

    def _goes_on(self, text: str, at: int) -> bool:
        """Whether what stands behind a call may still become another one, or the end of them all."""
        if self.closes.parts and self.closes.follows(text, at):
            return True
        if self.joins is None:
            return False
        try:
            self.body.read(text, self.joins.match(text, at), {}, (self.joins, self.closes))
        except Incomplete:
            return True
        except Broken:
            return False
        return True


def _end(closes: Literal, text: str, at: int) -> tuple[int, bool]:
    """Where the calls end, behind as much of what closes them as stands there, and whether that is all of it."""
    for size in range(len(closes.parts), 0, -1):
        try:
            return Literal(closes.parts[:size]).match(text, at), size == len(closes.parts)
        except Incomplete:
            return len(text), False
        except Broken:
            continue
    return at, not closes.parts
