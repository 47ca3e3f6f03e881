"""Any decoder-only Transformers checkpoint as a LanguageModel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from laconic.errors import RequestError, UnmetNeed, UnsupportedModel, did_you_mean
from laconic.models import bare
from laconic.models.bare import Bare
from laconic.models.base import Kept, Reduced, Scores, ScoreTree, Slot, chain
from laconic.models.brought import BroughtHead, brought
from laconic.models.devices import AUTO, SPREAD, fetched, named_device, placed, preferred
from laconic.models.dfloat11.held import held
from laconic.models.experts import routed
from laconic.models.host import Host
from laconic.models.loaded import note
from laconic.models.loading import check_scale, read_config, read_model
from laconic.models.narrow import OutputHead
from laconic.models.partial import LayerPlan
from laconic.models.past import CacheShape, Held, Keeper, Past
from laconic.models.steering import Touch, Touches

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

DECODED = "decoded"
"""How weights are kept if nothing else is said; the other way is "coded"."""
CODED = "written-out: weights are kept coded and decoded layer by layer in every pass, which is slower"
"""The note of a model that keeps them so."""
PREFILL_CHUNK = 512
"""Prompt tokens per prefill pass; bounds the memory of a pass."""


class CausalLM:
    """A Transformers causal language model with slots of cache. Build it with :meth:`load` or from a model.

    How its passes are made is chosen by trial (``models.choice``): ``path`` names the way, ``notes`` say what else was
    tried and why it was not taken. ``written_out`` False keeps to Transformers' own modules. Otherwise, in bfloat16 on
    a CPU, the written-out pass may take the model's weights over (``fast.packed``), and Transformers' modules are empty
    afterwards. Raises UnsupportedModel where no way gives this model's logits.
    """

    def __init__(self, model: PreTrainedModel | Bare, *, written_out: bool = True) -> None:
        refuse(model.config)
        self.model = model.eval().requires_grad_(False)
        config = model.config.get_text_config()
        self.config = config
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self.context = context(config)
        self.hidden_size = int(model.get_output_embeddings().weight.shape[1])
        self.keep_hidden = False
        """Whether scores come with hidden states; see models.base.ShowsHidden."""
        self._fingerprint = digest(model)
        self._held = held(model)
        self.passes = 0
        self.part_passes = 0
        self._partly = 0
        self._own_head: BroughtHead | tuple[str, str] | None = None
        self._narrows = False
        """Whether it has been seen that the head can be asked about some tokens only."""
        self.num_layers = int(config.num_hidden_layers)
        self.lora_scale = 1.0
        """The strength of the LoRA update that was merged in, where one was (models.adapters)."""
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.dtype, self.device = model.dtype, model.device
        self.weights_bytes = self._held.nbytes if self._held else sum(weight.nbytes for weight in model.parameters())
        """Bytes of the weights as they were loaded; those that stay coded, with the buffer they are decoded into."""
        self.host, self.notes = _host(model, self._fingerprint, written_out=written_out and self._held is None)
        self.notes = (*([CODED] if self._held else []), *self.notes)
        self._head = OutputHead(model, self.host, self.vocab_size)
        note(self)

    @property
    def path(self) -> str:
        """How passes are made, in a few words."""
        return f"{self.host.path}, weights coded" if self._held else self.host.path

    @staticmethod
    def load(
        name: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: str = AUTO,
        written_out: bool = True,
        weights: str = DECODED,
        lora_scale: float | None = None,
    ) -> CausalLM:
        """Load a checkpoint by path or hub name on a device (see devices.named_device).

        ``dtype`` None is what suits the device and the checkpoint (devices.preferred). ``device="spread"`` puts layers
        on all accelerators, and on the CPU what they cannot hold. ``weights="coded"`` keeps the layers' weights of a
        checkpoint that ``laconic compress-weights`` wrote as they are stored, and every pass decodes them: less memory,
        slower passes, on the CPU and in bfloat16 alone. ``lora_scale`` multiplies an adapter's LoRA update before it is
        merged: 0 is the base, 1 (or None) the adapter as saved. Raises ModelNotFound, UnsupportedModel naming what
        stands in the way, RequestError for a device that is not here, and what ``loading.read_model`` does.
        """
        check_scale(name, lora_scale)
        coded = kept_coded(weights, device, dtype)
        place, config = named_device(device), read_config(name)
        refuse(config)
        if coded:
            return CausalLM(read_model(name, dtype=torch.bfloat16, coded=True), written_out=written_out)
        chosen = dtype or preferred(place, config.dtype or torch.float32)
        if written_out and device != SPREAD and bare.shipped(name) and bare.plain(config):
            made = bare.read(name, config).to(chosen)
            if digest(made) in bare.KNOWN:  # else somebody has put other weights there
                return CausalLM(placed(made, place))
        spread = device == SPREAD
        model = read_model(name, dtype=chosen, spread=spread, lora_scale=lora_scale)
        loaded = CausalLM(model if spread else placed(model, place), written_out=written_out)
        loaded.lora_scale = 1.0 if lora_scale is None else lora_scale
        return loaded

    @property
    def exact(self) -> bool:
        """Whether a token's logits do not depend on the pass that it is in, beyond what the loop settles.

        So it is in float32, where ties are settled by a pass of their own, and with the project's own kernels. In other
        16-bit passes two tokens may be as likely as each other, and then drafts and batches can decide which is taken;
        so can they, in float32 too, of a mixture of experts, where two experts are (see experts.routed).
        """
        if self.host.even or self.dtype == torch.float64:
            return True
        return self.dtype == torch.float32 and not self.routed

    @property
    def routed(self) -> bool:
        """Whether it is a mixture of experts."""
        return routed(self.model.config)

    def describe(self) -> dict[str, Any]:
        """What the model is and how its passes are made; plain values, ready for JSON."""
        return {
            "model_type": self.model.config.model_type,
            "parameters": self.parameters,
            "context": self.context,
            "path": self.path,
            "notes": list(self.notes),
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "weights": "coded" if self._held else DECODED,
            "weights_bytes": self.weights_bytes,
            "exact": self.exact,
            "routed": self.routed,
            **({} if self.lora_scale == 1 else {"lora_scale": self.lora_scale}),
        }

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots that are open."""
        return self.host.slots

    def open(self) -> Slot:
        """A new, empty slot."""
        return self.host.open()

    @property
    def forgets(self) -> bool:
        """Whether slots can be reduced to part of what they have read; see models.base.Forgets."""
        return self.host.forgets

    @property
    def cache_shape(self) -> CacheShape:
        """What a token takes in the cache, by the configuration; see models.base.Forgets."""
        config = self.config
        heads = int(config.num_attention_heads)
        kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
        dim = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * self.num_layers
        attending = sum(kind in ("full_attention", "sliding_attention", "attention") for kind in kinds)
        sliding = sum(kind == "sliding_attention" for kind in kinds)
        window = getattr(config, "sliding_window", None)
        if window and not getattr(config, "layer_types", None) and getattr(config, "use_sliding_window", True):
            sliding = attending  # Mistral, all layers at once
        windows = (int(window),) * sliding if window else ()
        return CacheShape(attending, heads, kv_heads, dim, self.dtype.itemsize, windows)

    def hold(self, slot: Slot, keeper: Keeper) -> None:
        """Have a keeper say what of a slot's text stays in the cache; see models.base.Forgets."""
        self.host.hold(slot, keeper)

    def holds(self, slot: Slot) -> Keeper | None:
        """Who says so, if anybody does."""
        return self.host.holds(slot)

    @property
    def views(self) -> bool:
        """Whether texts can be read through part of what is kept of them; see models.base.Views."""
        return self.host.views

    @torch.inference_mode()
    def look(self, slot: Slot, tokens: Sequence[int]) -> list[Held | None]:
        """All that a slot holds, and the queries of its last ``tokens``; see models.base.Views."""
        self.part_passes += bool(tokens)
        return self.host.look(slot, tokens)

    def view(self, past: Past) -> Slot:
        """A slot that begins with a past; see models.base.Views."""
        return self.host.view(past)

    def follow(self, view: Slot, slot: Slot) -> bool:
        """Bring a view up to a slot; see models.base.Views."""
        return self.host.follow(view, slot)

    @property
    def resumes(self) -> bool:
        """Whether work on one text can be taken up by another; see models.base.Resumes. Not with recurrent states."""
        return self.host.resumes

    def shrink(self) -> None:
        """Give back memory that no open slot needs; see models.base.Shrinks."""
        self.host.shrink()

    def keep(self, slot: Slot) -> Kept:
        """A copy of what the slot has committed."""
        return self.host.keep(slot)

    def resume(self, kept: Kept, length: int) -> Slot:
        """A new slot with the first ``length`` tokens of what was kept."""
        return self.host.resume(kept, length)

    @torch.inference_mode()
    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens`` in chunks, without the output head; returns the number of passes.

        A slot that is to be reduced on the way is.
        """
        start = passes = 0
        while start < len(tokens):
            room = getattr(slot, "room", PREFILL_CHUNK)
            if room <= 0:
                cast("Reduced", slot).compact()
                continue
            chunk = tokens[start : start + min(PREFILL_CHUNK, room)]
            self.host.prefill(slot, chunk)
            start, passes = start + len(chunk), passes + 1
        return passes

    @torch.inference_mode()
    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """One pass over all trees; see models.base.LanguageModel."""
        made = self.host.score(trees, slots, hidden=self.keep_hidden)
        if self._partly:
            self.part_passes += 1
        else:
            self.passes += 1
        scores = Scores(self._head.widened(made.logits), made.starts, [len(tree) for tree in trees], made.hidden)
        scores.check()
        return scores

    def narrowed(self, kept: torch.Tensor) -> AbstractContextManager[None]:
        """Ask the output head about some tokens only; see models.base.Narrows."""
        if not self._narrows:
            self._try_narrow()
        return self._head.only(kept)

    def _try_narrow(self) -> None:
        """Raise UnsupportedModel if some logits alone are others: a model may do more with them than its head does."""
        tokens = range(min(4, self.vocab_size))
        some = torch.arange(0, self.vocab_size, 2)
        with closing(self.open()) as slot:
            whole = self.score([chain(tokens)], [slot]).flat[:, some].float()
            with self._head.only(some):
                found = self.score([chain(tokens)], [slot]).flat[:, some].float()
        if not torch.allclose(found, whole, rtol=1e-2, atol=1e-2 * float(whole.abs().max())):
            raise UnsupportedModel(
                f"the output head of '{self.config.model_type}' cannot be asked about some tokens only.",
                "Draft without keep=...",
            )
        self._head.forget(some)
        self._narrows = True

    def embedding(self, token: int) -> torch.Tensor:
        """The input embedding of ``token``, shape ``[hidden_size]``."""
        return cast(torch.Tensor, self.model.get_input_embeddings().weight[token])

    def embeddings(self, tokens: Sequence[int]) -> torch.Tensor:
        """The input embeddings of ``tokens``, shape ``[tokens, hidden_size]``."""
        weight = cast(torch.Tensor, self.model.get_input_embeddings().weight)
        return weight[torch.tensor(tokens, device=weight.device)]

    @property
    def shows_layers(self) -> bool:
        """Whether layers' outputs can be kept; see models.base.ShowsLayers. Where passes are made over slots."""
        return self.host.shows_layers

    def show(self, layers: Sequence[int]) -> None:
        """Keep these layers' outputs too. Raises RequestError for a layer that the model does not have."""
        odd = next((layer for layer in layers if not 0 <= layer < self.num_layers), None)
        if odd is not None:
            raise RequestError(f"there is no layer {odd}.", f"This model has layers 0 to {self.num_layers - 1}.")
        self.host.show(layers)

    def shown(self, slot: Slot, begin: int, layers: Sequence[int]) -> torch.Tensor | None:
        """Outputs of layers at a slot's tokens; see models.base.ShowsLayers."""
        return self.host.shown(slot, begin, layers)

    @property
    def runs_parts(self) -> bool:
        """Whether passes can be made through part of the layers; see models.base.RunsParts."""
        return self.host.runs_parts

    @property
    def runs_halves(self) -> bool:
        """Whether also through half a layer; see models.base.RunsParts."""
        return self.host.runs_halves

    @property
    def head_cost(self) -> float:
        """What the output head costs, in layers, by its weights."""
        head = self.vocab_size * self.hidden_size
        outside = head if self.config.tie_word_embeddings else 2 * head
        return head * self.num_layers / max(self.parameters - outside, 1)

    @contextmanager
    def partly(self, plan: LayerPlan, at_end: Touch | None = None) -> Iterator[None]:
        """Make passes through part of the layers; see models.base.RunsParts."""
        odd = plan.beyond(self.num_layers)
        if odd is not None:
            raise RequestError(f"there is no layer {odd}.", f"This model has layers 0 to {self.num_layers - 1}.")
        self._partly += 1
        try:
            with self.host.partly(plan, at_end):
                yield
        finally:
            self._partly -= 1

    @torch.inference_mode()
    def through(self, slot: Slot, tree: ScoreTree, after: Touches) -> None:
        """A pass without logits, touched; see models.base.RunsParts."""
        self.host.through(slot, tree, after)
        self.part_passes += 1

    def own_head(self) -> BroughtHead:
        """The head that the checkpoint brings; see models.base.BringsHead."""
        if self._own_head is None:
            try:
                self._own_head = brought(self.model)
            except UnmetNeed as error:  # asked by every way to draft that is tried, and read from the file each time
                self._own_head = error.message, error.hint
        if isinstance(self._own_head, tuple):
            raise UnmetNeed(*self._own_head)
        return self._own_head

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that tell this model from others by its weights; see :func:`digest`."""
        return self._fingerprint

    def known_as(self, fingerprint: str) -> None:
        """Go by the fingerprint of the model that this one was trained from, whose heads it is to be given: they then
        read states that are a little other than those they were trained on, and draft worse, never otherwise wrong."""
        self._fingerprint = fingerprint

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
        self.host.steer(slot, {layer: vector.to(like.device, like.dtype) for layer, vector in vectors.items()}, start)

    @torch.inference_mode()
    def residuals(self, tokens: Sequence[int], layers: Sequence[int]) -> dict[int, torch.Tensor]:
        """Outputs ``[tokens, hidden_size]`` of these layers along a text; see models.base.Steerable."""
        found: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
        see = {layer: parts.append for layer, parts in found.items()}
        with closing(self.open()) as slot:
            for start in range(0, len(tokens), PREFILL_CHUNK):
                self.host.watch(slot, tokens[start : start + PREFILL_CHUNK], see)
        return {layer: torch.cat(parts) for layer, parts in found.items()}


def _host(model: PreTrainedModel | Bare, fingerprint: str, *, written_out: bool) -> tuple[Host, tuple[str, ...]]:
    """How a model's passes are made, and notes on what was tried; a bare model has had its trial before."""
    if isinstance(model, Bare):
        if fingerprint not in bare.KNOWN:
            raise UnsupportedModel("a model without Transformers' own pass must be one that is known to run right.")
        from laconic.models.slot_host import SlotHost

        host = SlotHost(model, written_out=True)
        host.pack()
        return host, ()
    from laconic.models.choice import choose

    return choose(model, written_out=written_out)


def kept_coded(weights: str, device: str, dtype: torch.dtype | None) -> bool:
    """Whether weights are to be kept coded. Raises RequestError where that cannot be had, or for another word."""
    if weights not in (DECODED, "coded"):
        raise RequestError(f"weights cannot be kept '{weights}'.", did_you_mean(weights, (DECODED, "coded")))
    if weights == DECODED:
        return False
    if named_device(device).type != "cpu":
        raise RequestError("coded weights are decoded on the CPU.", "Say --device cpu, or --weights decoded.")
    if dtype not in (None, torch.bfloat16):
        raise RequestError(f"coded weights are bfloat16, not {dtype}.", "Leave out --dtype, or say --weights decoded.")
    return True


_SAMPLES = 64
"""Values of each matrix that go into a fingerprint, at most."""


def digest(model: PreTrainedModel | Bare) -> str:
    """Sixteen hexadecimal digits that tell a model from others by its weights, whatever its number format.

    Taken from an even sample of every parameter, rounded to bfloat16, so that a checkpoint has the same in float32 and
    in bfloat16. Vectors go in whole.
    """
    made = hashlib.sha256(f"{model.config.model_type} {tuple(model.get_input_embeddings().weight.shape)}".encode())
    for name, _ in sorted(model.named_parameters()):
        path, _, own = name.rpartition(".")
        with fetched(module := model.get_submodule(path)):
            parameter = getattr(module, own)
            flat = parameter.detach().reshape(-1)
            part = flat if parameter.dim() == 1 else flat[:: max(1, -(-flat.numel() // _SAMPLES))]
            made.update(f"{name} {tuple(parameter.shape)}".encode())
            if part.dtype.is_floating_point:
                part = part.to("cpu", torch.bfloat16).view(torch.int16)
            made.update(part.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return made.hexdigest()[:16]


def context(config: PreTrainedConfig) -> int:
    """Longest sequence that a model can take, in tokens.

    Rotary embeddings that change once a text is longer than some length (``longrope``, ``dynamic``) would give the keys
    in the cache other angles than those that follow: such a model is taken up to that length.
    """
    longest = int(getattr(config, "max_position_embeddings", None) or 1 << 20)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("longrope", "dynamic"):
        original = rope.get("original_max_position_embeddings") or getattr(
            config, "original_max_position_embeddings", None
        )
        return min(longest, int(original or longest))
    return longest


def refuse(config: PreTrainedConfig) -> None:
    """Raise UnsupportedModel, by name, for what is no decoder-only language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.model_type
    text = config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModel(f"'{kind}' is an encoder-decoder.", "Only decoder-only models are supported.")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and text.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UnsupportedModel(f"'{kind}' is not a causal language model.", "Give a text-generation checkpoint.")
