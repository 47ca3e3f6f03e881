"""EAGLE-3: one layer over features of several depths, which drafts on from its own states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from laconic.speculation.drafters.head.block import Norm, PairLayer, TextLayer, ready
from laconic.speculation.drafters.head.contract import DraftHead, Shape, Span


class Eagle3(DraftHead):
    """EAGLE-3 (Li et al. 2025, arXiv 2503.01840).

    Features of several layers are joined by ``fc`` into the first state; drafted tokens go on from the layer's own
    output. It is trained on drafts of its own ("training-time test"), so no loss ties its states to the target's. The
    flags are those of the ``speculators`` format: norms before the features are joined (of all, or each its own), and,
    with ``norm_output`` (EAGLE-3.1), a draft that goes on from the normed state.

    With a ``window`` the layer sees the last so many tokens alone, so its memory is bounded however long the text is:
    the drafter of LongSpec (Yang et al. 2025, arXiv 2502.17421) less its look into the target's own cache.
    """

    def __init__(
        self, shape: Shape, *, norm_before_residual: bool = False, norm_before_fc: bool = False, fc_norm: bool = False,
        norm_output: bool = False, window: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(shape)
        self.window = window
        many = len(shape.layers)
        self.input_norm = Norm(many * shape.width, shape.eps) if norm_before_fc else None
        self.fc_norm = nn.ModuleList(Norm(shape.width, shape.eps) for _ in range(many)) if fc_norm else None
        self.norm_output = norm_output
        self.fc = nn.Linear(many * shape.width, shape.width, bias=False)
        self.layers = nn.ModuleList([PairLayer(shape, norm_before_residual=norm_before_residual)])
        self.norm = Norm(shape.width, shape.eps)
        self.lm_head = nn.Linear(shape.width, shape.kept, bias=False)
        self._laid_out: tuple[nn.Module, nn.Module] | None = None

    @property
    def layer(self) -> TextLayer:
        """Its one layer."""
        layer = self.layers[0]
        assert isinstance(layer, TextLayer)
        return layer

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """Along committed text."""
        return self._out(self.layer(heard, self._parts[0](self._normed(features)), spans))

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """One drafted token further."""
        return self._out(self.layer(heard, states, spans))

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """The same at every depth."""
        logits: Tensor = self._parts[1](states if self.norm_output else self.norm(states))
        return logits

    def _normed(self, features: Tensor) -> Tensor:
        """Features ``[..., n, width]`` end to end, normed where the head's flags say so."""
        if self.fc_norm is not None:
            features = torch.stack([norm(features[..., i, :]) for i, norm in enumerate(self.fc_norm)], -2)
        joined = features.flatten(-2)
        return joined if self.input_norm is None else self.input_norm(joined)

    def _out(self, states: Tensor) -> Tensor:
        return self.norm(states) if self.norm_output else states

    def unrolled(self, heard: Tensor, features: Tensor, steps: int) -> list[Tensor]:
        """Drafts of ``steps`` tokens from every place."""
        states = self.fc(self._normed(features))
        begun: list[tuple[Tensor, Tensor]] = []
        found = []
        for step in range(steps):
            left = heard.shape[1] - step
            begun = [(keys[:, :, :left], values[:, :, :left]) for keys, values in begun]
            states = self._out(self.layer.unrolled(heard[:, step:], states[:, :left], begun, self.window))
            last = states[:, :-1]
            found.append(self.lm_head(last if self.norm_output else self.norm(last)))
        return found

    def begin_as(self, norm: Tensor, output: Tensor) -> None:
        """The target's output, and its last features as the first state, mostly; the layer adds nothing yet.

        That state speaks of the next token, not of the one after it; still a head learns faster from it than from
        random weights, and the target's own last layer would be in the way (docs/results/drafters.md).
        """
        width = self.shape.width
        with torch.no_grad():
            self.norm.weight.copy_(norm)
            self.lm_head.weight.copy_(output)
            self.fc.weight.mul_(0.1)[:, -width:].add_(torch.eye(width))
        self.layer.begin()

    def packed(self) -> Eagle3:
        """Projections joined and reordered."""
        self.layer.pack()
        self._laid_out = ready(self.fc), ready(self.lm_head)
        del self.fc, self.lm_head
        return self

    @property
    def _parts(self) -> tuple[nn.Module, nn.Module]:
        return self._laid_out or (self.fc, self.lm_head)
