"""How a model writes: where its thought begins and ends, what comes between it and the answer, how it is switched."""

from laconic.models.formats.discover import discover
from laconic.models.formats.format import Format
from laconic.models.formats.switches import Effort, Switch

__all__ = ["Effort", "Format", "Switch", "discover"]
