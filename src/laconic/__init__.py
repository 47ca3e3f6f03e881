"""laconic: reasoning models that answer with fewer tokens, each token sooner, and proof of what was kept."""

from laconic.engine import Engine, Methods, Stream
from laconic.errors import LaconicError
from laconic.models.text import Markup
from laconic.policy import Card, Needs, Policy, knobs, registry
from laconic.types import Event, Limits, Request, Result, Sampling, Step, Usage

__all__ = [
    "Card",
    "Engine",
    "Event",
    "LaconicError",
    "Limits",
    "Markup",
    "Methods",
    "Needs",
    "Policy",
    "Request",
    "Result",
    "Sampling",
    "Step",
    "Stream",
    "Usage",
    "knobs",
    "registry",
]
