"""The kinds of heads, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laconic.errors import HeadError, did_you_mean
from laconic.speculation.drafters.head.clover import Clover
from laconic.speculation.drafters.head.contract import DraftHead, Shape
from laconic.speculation.drafters.head.eagle3 import Eagle3
from laconic.speculation.drafters.head.hydra import Hydra
from laconic.speculation.drafters.head.kangaroo import Kangaroo
from laconic.speculation.drafters.head.medusa import Medusa
from laconic.speculation.drafters.head.mtp import MTP
from laconic.speculation.drafters.head.recurrent import Recurrent

KINDS: Mapping[str, type[DraftHead]] = {
    "clover": Clover,
    "eagle3": Eagle3,
    "hydra": Hydra,
    "kangaroo": Kangaroo,
    "medusa": Medusa,
    "mtp": MTP,
    "recurrent": Recurrent,
}


def kind(name: str) -> type[DraftHead]:
    """The kind of this name. Raises HeadError for one that there is not."""
    if name not in KINDS:
        raise HeadError(f"there is no kind of head called '{name}'.", did_you_mean(name, KINDS))
    return KINDS[name]


def built(name: str, shape: Shape, knobs: Mapping[str, Any]) -> DraftHead:
    """An untrained head of a kind. Raises HeadError for one that there is not, and for a window that it cannot have."""
    made, window = kind(name), knobs.get("window", 0)
    if not (isinstance(window, int) and 0 <= window < 1 << 31):
        raise HeadError(f"a window is a number of tokens, not {window!r}.")
    if window and not issubclass(made, Eagle3):
        raise HeadError(f"a head of the kind '{name}' has no window.", "Take one that has attention: mtp, eagle3.")
    return made(shape, **knobs)
