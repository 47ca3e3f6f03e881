"""How a family writes calls of tools: read off what its chat template renders, and found again in replies."""

from laconic.models.formats.syntax.call import Call
from laconic.models.formats.syntax.form import Syntax

__all__ = ["Call", "Syntax"]
