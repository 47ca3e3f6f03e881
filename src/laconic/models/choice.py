"""Which way of making passes a model gets: the fastest that gives its own logits in a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from transformers import PreTrainedModel, cache_utils
from transformers.cache_utils import (
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

from laconic.errors import BrokenLogits, UnsupportedModel
from laconic.models import attention, fast, trial
from laconic.models.cache_host import CacheHost
from laconic.models.host import Host
from laconic.models.memory import give_back
from laconic.models.mixers import Mismatch, Mixers
from laconic.models.slot_host import SlotHost

_HELD: set[type] = {
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    *filter(None, [getattr(cache_utils, "DummyLayer", None)]),  # since Transformers 5.20
}
"""Kinds of layers whose state slots can hold."""
_SHORT = 120
"""Characters of an error that a note quotes."""


def choose(model: PreTrainedModel, *, written_out: bool = True) -> tuple[Host, tuple[str, ...]]:
    """A host for ``model``, and a sentence about each faster way that was not taken.

    Raises UnsupportedModel where none gives the model's logits, or where the model is not causal.
    """
    kind = model.config.model_type
    own = model.config._attn_implementation
    if own == attention.NAME:  # of an earlier CausalLM over the same model
        model.set_attn_implementation(own := "sdpa" if model._supports_sdpa else "eager")
    try:
        truths = trial.truths(model)
    except BrokenLogits:
        raise
    except Exception as error:  # whatever a model's own code raises
        raise UnsupportedModel(f"'{kind}' fails in Transformers itself: {_short(error)}") from error
    if any(trial.looks_ahead(model, truth) for truth in truths):
        raise UnsupportedModel(
            f"'{kind}' is not causal: what it says of a token depends on later ones.", "Give a text-generation model."
        )
    give_back()
    notes: list[str] = []
    for name, make in _ways(model, own, written_out, notes):
        fault = ""
        try:
            host = make()
            for at, truth in enumerate(truths):
                fault = fault or trial.fault(host, truth, brief=at > 0)
            if not fault and host.path == "recomputed" and trial.forgets(model):
                fault = "what it says of a long text's beginning depends on what follows"
        except Mismatch as error:
            fault = str(error)
        except Exception as error:  # a way that does not suit a model may fail in any part of it
            fault = f"it fails: {_short(error)}"
        if not fault:
            if isinstance(host, SlotHost):
                host.pack()
            give_back()
            return host, tuple(notes)
        notes.append(f"{name}: {fault}")
    raise UnsupportedModel(
        f"no way of decoding '{kind}' gives its own logits ({'; '.join(notes)}).",
        "Its cache may not work in this version of Transformers.",
    )


def _ways(model: Any, own: str, written_out: bool, notes: list[str]) -> Iterator[tuple[str, Callable[[], Host]]]:
    """The ways to try, fastest first. ``own`` is the model's own attention."""
    kinds = _layers(model)
    reason = _no_slots(model, kinds)
    if reason:
        notes.append(f"slots: {reason}")
    elif _recurrent(kinds):
        mixers: list[Mixers] = []
        for chunked in (True, False) if model.device.type == "cpu" else (False,):
            how = "slots, recurrent, short chunks" if chunked else "slots, recurrent"
            yield how, lambda: _recurrent_host(model, mixers, chunked=chunked)  # noqa: B023  (called before the next)
            for found in mixers:
                found.remove()
            model.set_attn_implementation(own)
    else:
        if written_out and fast.suits(model):
            yield "written-out", lambda: SlotHost(model, written_out=True)
        elif written_out:
            notes.append("written-out: not for this architecture")
        yield "slots", lambda: SlotHost(model)
        model.set_attn_implementation(own)
    yield "own cache", lambda: CacheHost(model)
    yield "own cache, stepwise", lambda: CacheHost(model, stepwise=True)


def _no_slots(model: Any, kinds: set[type] | None) -> str:
    """Why slots cannot hold what a model keeps of a sequence; nothing where they may."""
    types = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if kinds is None or not kinds <= _HELD or "chunked_attention" in types:
        return f"layers of type {', '.join(sorted(types)) or 'unknown to Transformers caches'}"
    return ""


def _recurrent_host(model: Any, found: list[Mixers], *, chunked: bool) -> SlotHost:
    found[:] = [Mixers(model, chunked=chunked)]
    return SlotHost(model, mixers=found[0])


def _recurrent(kinds: set[type] | None) -> bool:
    """Whether some layer keeps a recurrent state."""
    return any(issubclass(kind, LinearAttentionCacheLayerMixin) for kind in kinds or ())


def _layers(model: Any) -> set[type] | None:
    """The classes of a model's cache layers; None where Transformers' own cache cannot be made for it."""
    try:
        return {type(layer) for layer in DynamicCache(config=model.config).layers}
    except (KeyError, TypeError, ValueError, AttributeError):  # layer types or sizes of an architecture of its own
        return None


def _short(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
