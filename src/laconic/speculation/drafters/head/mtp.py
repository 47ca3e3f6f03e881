"""One layer behind the joined embedding and state: EAGLE's first architecture, and DeepSeek-V3's multi-token
prediction.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from laconic.speculation.drafters.head.block import FusedLayer
from laconic.speculation.drafters.head.contract import Shape
from laconic.speculation.drafters.head.eagle3 import Eagle3


class MTP(Eagle3):
    """Multi-token prediction as in DeepSeek-V3 (arXiv 2412.19437, section 2.2), one module for all depths.

    It differs from EAGLE-3 in where the embedding comes in: joined with the state by one projection (EAGLE, Li et al.
    2024). Features of several layers may be read here too, and it is trained on drafts of its own.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.layers = torch.nn.ModuleList([FusedLayer(shape)])

    def begin_as(self, layer: Mapping[str, Tensor], norm: Tensor, output: Tensor) -> None:
        """As EAGLE-3; the projection begins with the state alone."""
        super().begin_as(layer, norm, output)
        width = self.shape.width
        with torch.no_grad():
            fused = self.layer
            assert isinstance(fused, FusedLayer)
            fused.eh_proj.weight[:, width:] = torch.eye(width)
            fused.hnorm.weight.copy_(norm)
