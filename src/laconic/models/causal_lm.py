"""Any decoder-only Transformers checkpoint as a LanguageModel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from laconic.errors import RequestError, UnsupportedModel
from laconic.models import attention, fast, packed
from laconic.models.base import Scores, ScoreTree, Slot, chain
from laconic.models.loading import read_config, read_model
from laconic.models.slots import CacheSlot, SlotPass, SlotPool
from laconic.models.steering import NOWHERE, Steering, Touches, decoder_layers, hooked, pushes

PREFILL_CHUNK = 512
"""Prompt tokens per prefill pass; bounds the memory of a pass."""

_LAYERS_WE_DECODE = {"full_attention", "sliding_attention"}


class CausalLM:
    """A Transformers causal language model with a slot KV cache. Build it with :meth:`load` or from a model.

    ``written_out`` False keeps to Transformers' own modules. Otherwise, in bfloat16 on a CPU, the written-out pass may
    take the model's weights over (``fast.packed``), and Transformers' modules are empty afterwards.
    """

    def __init__(self, model: PreTrainedModel, *, written_out: bool = True) -> None:
        refuse(model.config, model)
        attention.install()
        model.set_attn_implementation(attention.NAME)
        self.model = model.eval().requires_grad_(False)
        config = model.config.get_text_config()
        self.config = config
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self.context = int(getattr(config, "max_position_embeddings", None) or 1 << 20)
        self.hidden_size = int(model.get_output_embeddings().weight.shape[1])
        self.keep_hidden = False
        """Whether scores come with hidden states; see models.base.ShowsHidden."""
        self._fingerprint: str | None = None
        self.passes = 0
        self.num_layers = int(config.num_hidden_layers)
        self._decoder_layers = decoder_layers(model, self.num_layers)
        self.pool = SlotPool(self.num_layers, model.device)
        # Transformers builds a mask of its own unless it is given one of four dimensions; ours comes with the pass.
        self._placeholder = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=model.device)
        self.fast = self._try_fast() if written_out else None
        """The written-out forward pass, where it gives the same logits."""

    @staticmethod
    def load(
        name: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu", written_out: bool = True
    ) -> CausalLM:
        """Load a checkpoint by path or hub name. ``dtype`` None keeps float32 on the CPU, the checkpoint's elsewhere.

        Raises ModelNotFound, UnsupportedModel naming what stands in the way, and what ``loading.read_model`` does.
        """
        refuse(read_config(name))
        model = read_model(name, dtype=dtype or (torch.float32 if device == "cpu" else "auto"))
        return CausalLM(model.to(device), written_out=written_out)

    def open(self) -> CacheSlot:
        """A new, empty slot."""
        return self.pool.open()

    @torch.inference_mode()
    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens`` in chunks, without the output head; returns the number of passes."""
        mine = cast("CacheSlot", slot)
        starts = range(0, len(tokens), PREFILL_CHUNK)
        for start in starts:
            part = tokens[start : start + PREFILL_CHUNK]
            trees = [chain(part)]
            now = self.pool.begin(trees, [mine])
            self._forward(now, logits=False, after=self._pushes(now, trees, [mine]))
            slot.commit(range(len(part)))
        return len(starts)

    @torch.inference_mode()
    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """One pass over all trees; see models.base.LanguageModel."""
        mine = cast("Sequence[CacheSlot]", slots)
        now = self.pool.begin(trees, mine)
        made = self._forward(now, logits=True, after=self._pushes(now, trees, mine))
        assert made is not None
        logits, hidden = made
        self.passes += 1
        rows = [slot.row - now.lo for slot in mine]
        starts = [now.starts[row] for row in rows] if self.fast is not None else [row * now.width for row in rows]
        scores = Scores(logits, starts, [len(tree) for tree in trees], hidden if self.keep_hidden else None)
        scores.check()
        return scores

    def embedding(self, token: int) -> torch.Tensor:
        """The input embedding of ``token``, shape ``[hidden_size]``."""
        return cast(torch.Tensor, self.model.get_input_embeddings().weight[token])

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this model from others by its weights.

        Taken from gains, biases and an even sample of the embeddings, all rounded to bfloat16, so that a checkpoint has
        the same in float32 and in bfloat16. Projections are left out: ``fast.pack`` may have taken them over.
        """
        if self._fingerprint is None:
            self._fingerprint = _digest(self.model)
        return self._fingerprint

    def steer(self, slot: Slot, vectors: Mapping[int, torch.Tensor], start: int) -> None:
        """Push the slot's residual stream from a position on; see models.base.Steerable."""
        for layer, vector in vectors.items():
            if not 0 <= layer < self.num_layers or tuple(vector.shape) != (self.hidden_size,):
                raise RequestError(
                    f"cannot add a vector {list(vector.shape)} after layer {layer}.",
                    f"This model has layers 0 to {self.num_layers - 1}, and its residual stream {self.hidden_size} "
                    "values.",
                )
        like = self.model.get_input_embeddings().weight
        ready = {layer: vector.to(like.device, like.dtype) for layer, vector in vectors.items()}
        cast("CacheSlot", slot).steering = Steering(ready, start) if ready else None

    @torch.inference_mode()
    def residuals(self, tokens: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """Outputs ``[tokens, hidden_size]`` of these layers along a text; see models.base.Steerable."""
        found: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
        after = {layer: _kept(parts) for layer, parts in found.items()}
        with closing(self.open()) as slot:
            for start in range(0, len(tokens), PREFILL_CHUNK):
                part = tokens[start : start + PREFILL_CHUNK]
                self._forward(self.pool.begin([chain(part)], [slot]), logits=False, after=after)
                slot.commit(range(len(part)))
        return {layer: torch.cat(parts) for layer, parts in found.items()}

    def _pushes(self, now: SlotPass, trees: Sequence[ScoreTree], slots: Sequence[CacheSlot]) -> Touches:
        if all(slot.steering is None for slot in slots):
            return NOWHERE
        sizes = [(slot.row - now.lo, len(tree), slot.steering) for tree, slot in zip(trees, slots, strict=True)]
        return pushes(now, sizes, padded=self.fast is None)

    def _forward(
        self, now: SlotPass, *, logits: bool, after: Touches = NOWHERE
    ) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        if self.fast is not None:
            return self.fast(self.pool, logits=logits, after=after)
        with hooked(self._decoder_layers, after, (now.rows, now.width)):
            return self._plain_forward(now, logits=logits)

    def _plain_forward(self, now: SlotPass, *, logits: bool) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """The pass through Transformers' own modules; hidden states only where they are to be kept."""
        seen: list[torch.Tensor] = []
        head = self.model.get_output_embeddings()
        # What the head is given is what a hidden state is here; models differ in what they call their last one.
        hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) if self.keep_hidden else None
        try:
            made = self._call(now, logits)
        finally:
            if hook is not None:
                hook.remove()
        if not logits:
            return None
        return made.logits.flatten(0, 1), seen[0].flatten(0, 1) if seen else None

    def _call(self, now: SlotPass, logits: bool) -> Any:
        return (self.model if logits else self.model.base_model)(
            input_ids=now.tokens.to(self.model.device),
            position_ids=now.positions,
            attention_mask=self._placeholder,
            past_key_values=self.pool.cache,
            use_cache=True,
            slot_pass=now,
        )

    @torch.inference_mode()
    def _try_fast(self) -> fast.FastDecoder | None:
        """The fast path, if it gives this model's logits on a trial prompt."""
        candidate = fast.build(self.model)
        if candidate is None:
            return None
        slot = self.pool.open()
        now = self.pool.begin([chain([(7 * i + 1) % self.vocab_size for i in range(24)])], [slot])
        theirs, ours = self._plain_forward(now, logits=True), candidate(self.pool, logits=True)
        slot.close()
        assert theirs is not None
        assert ours is not None
        expected, found = theirs[0], ours[0]
        difference = float((found - expected).abs().max())  # NaN compares as not close
        if not difference <= _CLOSE[expected.dtype] * float(expected.abs().max()):
            return None
        if packed.worthwhile(self.model.get_input_embeddings().weight):
            candidate.pack(self.model)
        return candidate


def _kept(parts: list[torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A touch that changes nothing and copies what it sees to ``parts``; a pass may go on in the same memory."""

    def keep(x: torch.Tensor) -> torch.Tensor:
        parts.append(x.clone())
        return x

    return keep


_CLOSE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference on the trial prompt, relative to the largest logit: what rounding in another order may make."""


_SAMPLED = 1024
"""Embeddings that go into a fingerprint, at most."""


def _digest(model: PreTrainedModel) -> str:
    table = model.get_input_embeddings().weight
    parts = [table[:: max(1, -(-len(table) // _SAMPLED))]]
    parts += [parameter for _, parameter in sorted(model.named_parameters()) if parameter.dim() == 1]
    made = hashlib.sha256(f"{model.config.model_type} {tuple(table.shape)}".encode())
    for part in parts:
        made.update(part.detach().to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return made.hexdigest()[:16]


def refuse(config: PreTrainedConfig, model: PreTrainedModel | None = None) -> None:
    """Raise UnsupportedModel, by name, for what cannot be decoded with a slot KV cache."""
    kind = config.model_type
    text = config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModel(f"'{kind}' is an encoder-decoder.", "Only decoder-only models are supported.")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and text.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnsupportedModel(f"'{kind}' is not a causal language model.", "Give a text-generation checkpoint.")
    types = set(getattr(text, "layer_types", None) or ()) | set(getattr(text, "layers_block_type", None) or ())
    other = sorted(types - _LAYERS_WE_DECODE - {"attention"})
    if other:
        raise UnsupportedModel(
            f"'{kind}' has layers of type {', '.join(other)}, whose state cannot be rolled back token by token.",
            "State-space and linear-attention layers are not supported yet.",
        )
    if model is not None and (getattr(model, "_is_stateful", False) or not model._supports_attention_backend):
        raise UnsupportedModel(
            f"'{kind}' keeps a recurrent state or does not take an attention function.",
            "Models whose attention goes through Transformers' attention interface are supported.",
        )
