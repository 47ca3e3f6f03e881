"""Calls of tools read out of replies, in the syntax that the model's own chat template writes them in."""

from laconic.models.formats.called.pieces import Content, Piece, Thought
from laconic.models.formats.called.reader import Called, Reader, parse
from laconic.models.formats.syntax.call import Call

__all__ = ["Call", "Called", "Content", "Piece", "Reader", "Thought", "parse"]
