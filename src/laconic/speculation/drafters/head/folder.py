"""What drafters share whose head lies in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from laconic.errors import UnmetNeed
from laconic.models.base import Narrows, RunsParts
from laconic.speculation.base import Tools
from laconic.speculation.drafters.head.drafter import HeadDrafter
from laconic.speculation.drafters.head.files import Loaded, load


class FolderHead(HeadDrafter):
    """Base of them: the head is read from ``path``, once, and must be the target's."""

    files = frozenset({"path"})
    hints: ClassVar[Mapping[str, str]] = {"path": "Train one: laconic fit head mtp OUT; then --drafter head:OUT."}

    if TYPE_CHECKING:

        @property
        def path(self) -> str:
            """A knob of every subclass, its first: the folder."""

    @cached_property
    def loaded(self) -> Loaded:
        """The head, read once."""
        return load(self.path)

    def head_of(self, tools: Tools) -> Loaded:
        """The one in the folder."""
        return self.loaded

    def reads_layers(self, layers: int) -> Sequence[int]:
        """Those that the head was trained on, and the one that it hears of tokens from."""
        shape = self.loaded.head.shape
        return sorted({*shape.layers, *([shape.early - 1] if shape.early else [])})

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise HeadError unless the head was trained on this target, UnmetNeed where that cannot run its first
        layers alone and the head needs it.
        """
        self.loaded.suits(target)
        early = self.loaded.head.shape.early
        if early and not (isinstance(target, RunsParts) and target.runs_parts and isinstance(target, Narrows)):
            raise UnmetNeed(
                f"this head hears of tokens from the target's first {early} layers, which this model cannot run alone.",
                "Use it with a model that laconic runs over slots, without recurrent layers (laconic inspect).",
            )
