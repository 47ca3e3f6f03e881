"""Judging an answer against the right one."""

from __future__ import annotations

from laconic.answers import extract, number
from laconic.equality import same

__all__ = ["extract", "number", "same"]
