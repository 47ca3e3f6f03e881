"""Shared by drafters that keep a copy of the request's tokens: where does the copy still agree with them?"""

from __future__ import annotations

from laconic.models.prefix import common_prefix

__all__ = ["common_prefix"]
