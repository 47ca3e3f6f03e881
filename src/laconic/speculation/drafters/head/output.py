"""What most heads share: a norm and an output over the kept tokens, at the end of everything."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from laconic.speculation.drafters.head.block import Norm, TextLayer, ready
from laconic.speculation.drafters.head.contract import DraftHead, Shape


class Residual(nn.Module):
    """``x + SiLU(W x + b)``, the block of Medusa. It begins as nothing but ``x``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]``."""
        out: Tensor = x + F.silu(self.linear(x))
        return out


class Outputs(DraftHead):
    """A head that ends in the target's own kind of output: ``norm``, then ``lm_head`` over the kept tokens."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.norm = Norm(shape.width, shape.eps)
        self.lm_head = nn.Linear(shape.width, shape.kept, bias=False)
        self._laid_out: tuple[nn.Module, ...] = ()

    def say(self, x: Tensor) -> Tensor:
        """Logits ``[..., kept]`` of ``x [..., width]``, normed."""
        (head,) = self._laid_out or (self.lm_head,)
        logits: Tensor = head(x)
        return logits

    def begin_as(self, norm: Tensor, output: Tensor) -> None:
        """The target's norm and output."""
        with torch.no_grad():
            self.norm.weight.copy_(norm)
            self.lm_head.weight.copy_(output)

    def packed(self) -> DraftHead:
        """The output reordered; all else is small."""
        self._laid_out = (ready(self.lm_head),)
        del self.lm_head
        return self


class LayerAndOutputs(Outputs):
    """Such a head with one ``layer`` along the text, which adds nothing before it is trained."""

    def __init__(self, shape: Shape, layer: TextLayer) -> None:
        super().__init__(shape)
        self.layer = layer

    def begin_as(self, norm: Tensor, output: Tensor) -> None:
        """The target's norm and output."""
        super().begin_as(norm, output)
        self.layer.begin()

    def packed(self) -> DraftHead:
        """Projections joined and reordered."""
        self.layer.pack()
        return super().packed()
