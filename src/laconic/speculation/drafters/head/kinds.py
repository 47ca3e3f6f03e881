"""The kinds of heads, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laconic.errors import HeadError, did_you_mean
from laconic.speculation.drafters.head.contract import DraftHead, Shape
from laconic.speculation.drafters.head.eagle3 import Eagle3
from laconic.speculation.drafters.head.hydra import Hydra
from laconic.speculation.drafters.head.medusa import Medusa
from laconic.speculation.drafters.head.mtp import MTP
from laconic.speculation.drafters.head.recurrent import Recurrent

KINDS: Mapping[str, type[DraftHead]] = {
    "eagle3": Eagle3,
    "hydra": Hydra,
    "medusa": Medusa,
    "mtp": MTP,
    "recurrent": Recurrent,
}


def built(kind: str, shape: Shape, knobs: Mapping[str, Any]) -> DraftHead:
    """An untrained head of a kind. Raises HeadError for one that there is not."""
    if kind not in KINDS:
        raise HeadError(f"there is no kind of head called '{kind}'.", did_you_mean(kind, KINDS))
    return KINDS[kind](shape, **knobs)
