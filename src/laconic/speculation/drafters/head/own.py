"""The multi-token-prediction head that a checkpoint brings along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from laconic.errors import UnmetNeed
from laconic.models.base import BringsHead
from laconic.models.brought import BroughtHead
from laconic.policy import Card, knobs
from laconic.speculation.base import Tools
from laconic.speculation.drafters.head.contract import About, DraftHead, Shape, Span
from laconic.speculation.drafters.head.drafter import HeadDrafter
from laconic.speculation.drafters.head.files import Loaded
from laconic.speculation.drafters.head.memory import Memory


class _Entries:
    """A request's memory, as attention modules of Transformers write to their cache and read from it."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append entries ``[1, heads, rows, dim]``; returns all of them."""
        kept = self._memory.append(keys[0].transpose(0, 1), values[0].transpose(0, 1))
        return kept[0].transpose(0, 1)[None], kept[1].transpose(0, 1)[None]


class Brought(DraftHead):
    """Transformers' modules behind the interface of a draft head; it can say every token.

    It drafts on from its own states. Of several layers, each meant for a depth of its own, the first does so alone.
    """

    def __init__(self, brought: BroughtHead) -> None:
        width, vocab = int(brought.module.config.hidden_size), brought.vocab
        super().__init__(Shape(width, (brought.layer,), vocab, vocab, 1, 1, width, width))
        self._brought = brought  # its embedding and output are the target's: no part of this module

    def read(self, heard: Tensor, features: Tensor, spans: Sequence[Span]) -> Tensor:
        """Along committed text, from the target's last states, normed."""
        return self._run(self._brought.norm(features[:, -1]), heard, spans)

    def step(self, states: Tensor, heard: Tensor, depths: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """One drafted token further."""
        return self._run(states, heard, spans)

    def logits(self, states: Tensor, depths: Sequence[int]) -> Tensor:
        """By the target's output head."""
        made = self._brought.module
        logits: Tensor = made._project_to_logits(states)  # scales and cuts as the target does
        return logits

    def _run(self, states: Tensor, heard: Tensor, spans: Sequence[Span]) -> Tensor:
        return torch.cat([
            self._one(states[span.begin : span.end], heard[span.begin : span.end], span) for span in spans
        ])  # fmt: skip

    def _one(self, states: Tensor, heard: Tensor, span: Span) -> Tensor:
        """A request's rows. Positions are those of the tokens that are heard of, one behind their states'."""
        made = self._brought.module
        positions = (span.positions + 1).to(states.device)[None]
        angles = None
        if made.rotary_emb is not None:
            angles = made.rotary_emb(heard[None], position_ids=positions)
        mask = None
        if span.seen is not None:
            least = torch.finfo(states.dtype).min
            mask = states.new_zeros(span.seen.shape).masked_fill_(~span.seen.to(states.device), least)[None, None]
        out: Tensor = made.layers[0](
            heard[None],
            states[None],
            position_embeddings=angles,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=_Entries(span.memory),
        )
        if made.use_shared_post_norm:
            out = made.shared_post_norm(out)
        return out[0]


class _Ready(Loaded):
    """A head that is in the target's own number format and on its device already."""

    def ready(self, like: Tensor) -> DraftHead:
        """As it is."""
        return self.head


@knobs
class OwnMTP(HeadDrafter):
    """Draft with the multi-token-prediction head that the checkpoint brings: DeepSeek-V3, GLM-4.5, Qwen3-Next, Qwen3.5.

    Nothing has to be trained, and nothing named. The head was trained for the token after the next one; further ones
    are drafted from its own states, as servers do, and hold less often. Its layer is Transformers' own.
    """

    card = Card(paper="DeepSeek-V3 Technical Report", lossless=True, arxiv="2412.19437")

    def head_of(self, tools: Tools) -> Loaded:
        """The target's own."""
        assert tools.own_head is not None  # see suits
        brought = tools.own_head()
        if brought.kept is None:
            brought.kept = _Ready(Brought(brought).eval(), About("brought", "", {}))
        kept: Loaded = brought.kept
        return kept

    def reads_layers(self, layers: int) -> Sequence[int]:
        """The last one."""
        return (layers - 1,)

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise UnmetNeed where the checkpoint brings no head, or none that can be read."""
        if not isinstance(target, BringsHead):
            raise UnmetNeed(
                f"'{self.name}' drafts with a head that a checkpoint brings, which this model cannot look for.",
                "Use it with a model that laconic runs itself (CausalLM).",
            )
        target.own_head()
