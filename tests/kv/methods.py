"""Every kv method that takes something away, with budgets that a short text outgrows, and how tests drive one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.kv.base import KV, Telling
from laconic.models.base import Reduced
from laconic.models.causal_lm import CausalLM
from laconic.models.slot import CacheSlot
from laconic.policy import registry
from tests import tiny

SMALL = "budget=40,every=12,sinks=2,recent=6"
EXTRA = {"snapkv": "window=8,kernel=3", "h2o": "seen=16", "global-local": "seen=16,window=12"}
MERGERS = {"d2o": "", "cam": ":spread=5,window=10", "ems": ":window=10,alike=0.1"}
"""Knobs that would be too large for short texts."""
READING = {"quest": "budget=20,recent=6,whole=1,page=4", "sentences": "budget=20,recent=6,whole=1,longest=7"}
"""Those that keep everything and read part of it."""
EVICTING = [name for name in registry.names("kv") if name not in ("full", "quantised", *READING)]
CODECS = [f"{name}:bits=4" for name in registry.names("codec")]
MERGING = ["r-kv d2o", "steps d2o", "snapkv cam", "streaming-llm cam", "tova ems", "global-local ems"]
"""Evictors with a merger."""
REDUCING = [*EVICTING, *MERGING, "quantised", "quantised per-token", "quantised gear", *READING]
"""Specs for :func:`spec`."""
TEXT = tiny.text()


def spec(name: str, more: str = "") -> str:
    """A method with a small budget; ``quantised NAME`` is with that codec, ``EVICTOR NAME`` with that merger."""
    if name.startswith("quantised"):
        codec = name.partition(" ")[2]
        return f"quantised:recent=6{f',codec=[{codec}:bits=4]' if codec else ''}{',' + more if more else ''}"
    if name in READING:
        return f"{name}:{READING[name]}{',' + more if more else ''}"
    name, _, merger = name.partition(" ")
    merge = merger and f"merge=[{merger}{MERGERS[merger]}]"
    return f"{name}:" + ",".join(part for part in (SMALL, EXTRA.get(name, ""), merge, more) if part)


def policy(name: str, more: str = "") -> KV:
    """The same, built."""
    return cast(KV, registry.build("kv", spec(name, more)))


def opened(model: CausalLM, made: KV, tokens: Sequence[int], prompt: int) -> CacheSlot:
    """An empty slot that is kept as the policy says; ``tokens`` are what will be written, ``prompt`` of them given."""
    slot = model.open()
    keeper = made.start(Telling(tokens, prompt, TEXT))
    assert keeper is not None
    model.hold(slot, keeper)
    return cast(CacheSlot, slot)


def fit(slot: Reduced) -> None:
    """Reduce a slot that has no room left, as the loop does before a pass."""
    if slot.room <= 0:
        slot.compact()


@contextmanager
def closing_all(slots: Sequence[CacheSlot]):  # type: ignore[no-untyped-def]
    """Close them at the end."""
    try:
        yield slots
    finally:
        for slot in slots:
            slot.close()
