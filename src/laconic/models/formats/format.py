"""What laconic knows of how a model writes its thought and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from laconic.models.formats.switches import Effort, Switch
from laconic.models.formats.syntax import Syntax

Part = Literal["thinking", "answer", "aside"]
Source = Literal["given", "response_template", "rendered", "table", "none"]


@dataclass(frozen=True, slots=True)
class Format:
    r"""How a model writes.

    A whole reply is ``opens``, ``lead``, the thought, ``trail``, ``closes``, ``bridge``, the answer. Tags hold no white
    space at their ends and may be one token or several. No ``closes`` is a model without a thinking phase; then
    ``reason`` says why it may have one all the same, and is empty where nothing speaks for it.

    >>> Format("<think>", "</think>").bridge
    '\n\n'
    """

    opens: str = ""
    closes: str = ""
    bridge: str = "\n\n"
    """What the family writes between the closing tag and the answer: white space, and maybe a header of the answer."""
    lead: str = "\n"
    """White space after the opening tag."""
    trail: str = "\n"
    """White space before the closing tag."""
    headers: tuple[str, ...] = ()
    """What opens an answer (a prefix, up to ``header_end``), where a model says so; no part of the answer."""
    header_end: str = ""
    """What ends a header; empty where a header is whole as it stands."""
    answer_end: str = ""
    """What closes an answer, where a model says so; no part of it."""
    asides: tuple[str, ...] = ()
    """What begins neither thought nor answer: calls of tools, comments in a channel of their own."""
    aside_end: str = ""
    """What ends an aside; empty where it is known only by what comes next."""
    turn: str = ""
    """What begins a message of the assistant, where thought and answer are messages of their own."""
    switch: Switch | None = None
    """How the template switches thinking off and on; None where it cannot."""
    effort: Effort | None = None
    """The template's own levels of effort; None where it has none."""
    calls: Syntax | None = None
    """How calls of tools are written, where the template shows it; None where none can be read out of a reply."""
    source: Source = "given"
    """Who says so: the user, the checkpoint's own ``response_template``, a past turn rendered by the template, a table
    of what is left, or nobody."""
    reason: str = ""
    """Why no format is known although the model may think."""

    @property
    def thinks(self) -> bool:
        """Whether there is a thinking phase that laconic can follow."""
        return bool(self.closes)

    @property
    def calls_tools(self) -> bool:
        """Whether calls of tools can be read out of the model's replies (models.formats.called)."""
        return self.calls is not None or bool(self.turn and self.header_end)

    @property
    def ending(self) -> str:
        """What closes a thought and hands over to the answer."""
        return self.closes + self.bridge

    @property
    def message_end(self) -> str:
        """What ends a thought that is a message of its own; empty elsewhere."""
        return self.closes.partition(self.turn)[0] if self.turn else ""

    def part(self, begun: str) -> Part | None:
        """Which part of a reply it is that has ``begun`` so; None as long as that cannot be told.

        What is neither thought nor answer is an aside where messages have headers, and elsewhere an answer without one.
        """
        if begun.startswith(self.opens):
            return "thinking"
        header = next((header for header in self.headers if begun.startswith(header)), None)
        if header is not None:
            return "answer" if self.header_end in begun[len(header) :] else None
        if any(known.startswith(begun) for known in (self.opens, *self.headers)):
            return None
        return "aside" if self.turn else "answer"

    def empty(self, opened: bool) -> str:
        """An empty thought, whose tag the prompt has ``opened`` already or not, and the bridge to the answer."""
        begun = "" if opened else self.opens + self.lead
        return f"{begun}{self.trail}{self.ending}"
