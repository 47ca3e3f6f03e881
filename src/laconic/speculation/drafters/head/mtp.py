"""One layer behind the joined embedding and state: EAGLE's first architecture, and DeepSeek-V3's multi-token
prediction.
"""

from __future__ import annotations

from torch import nn

from laconic.speculation.drafters.head.block import FusedLayer
from laconic.speculation.drafters.head.contract import Shape
from laconic.speculation.drafters.head.eagle3 import Eagle3


class MTP(Eagle3):
    """Multi-token prediction as in DeepSeek-V3 (arXiv 2412.19437, section 2.2), one module for all depths.

    It differs from EAGLE-3 in where the embedding comes in: joined with the state by one projection (EAGLE, Li et al.
    2024). Features of several layers may be read here too, and it is trained on drafts of its own.
    """

    def __init__(self, shape: Shape, *, window: int = 0) -> None:
        super().__init__(shape, window=window)
        self.layers = nn.ModuleList([FusedLayer(shape)])
