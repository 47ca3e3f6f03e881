"""laconic and its peers on the same problems: who is there, in which order they run, and the record of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from laconic.bench import record as numbers
from laconic.bench.compare import Bench, Setup, prepare
from laconic.bench.measure import Trial, Variant, measure
from laconic.bench.peers import llama, vllm
from laconic.bench.peers.base import PeerUnavailable
from laconic.bench.peers.hf import Checkpoint, TransformersGenerate
from laconic.bench.peers.llama import PROMPT_LOOKUP
from laconic.bench.peers.piped import PipedPeer
from laconic.bench.peers.standing import standing
from laconic.bench.peers.vllm import SPECULATION
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item
from laconic.errors import RequestError, did_you_mean
from laconic.models.foreign import ForeignModel

TRANSFORMERS = ("transformers", "transformers-assisted", "transformers-prompt-lookup")
PEERS = (*TRANSFORMERS, *SPECULATION, *PROMPT_LOOKUP)
OURS = ("baseline", "speculation", "laconic")


@dataclass(frozen=True, slots=True)
class Place:
    """Where peers live: the Python of vLLM's and llama.cpp's environments, and a folder for what they say."""

    vllm: Path | None = None
    llama: Path | None = None
    logs: Path | None = None


@dataclass
class Meeting:
    """Everyone who came, and why the others did not. Close it to stop the processes of peers."""

    bench: Bench
    variants: list[Variant]
    skipped: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Of the peers that are not in laconic's own environment."""
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def scratch(self) -> Path:
        """A folder that goes when the meeting closes."""
        return Path(self.stack.enter_context(TemporaryDirectory()))

    def close(self) -> None:
        """Stop every peer that has a process of its own."""
        self.stack.close()

    def run(self, items: Sequence[Item], after: Callable[[list[Trial], int], Any] = lambda *_: None) -> dict[str, Any]:
        """Measure and return the record. Raises TaskError if no problem was answered by every variant."""
        measured = measure(self.variants, items, self.bench.request, after=after)
        measured.require()
        trials, names = measured.trials, [variant.name for variant in self.variants]
        ours = [name for name in OURS if name in names]
        greedy = self.bench.setup.sampling.greedy
        return {
            "format": "laconic-peers-1",
            "variants": {name: numbers.summary(trials, name) for name in names},
            "ratios": {own: {name: numbers.ratio(trials, own, name) for name in names if name != own} for own in ours},
            "same_tokens": {
                name: numbers.identical(trials, name, "baseline") for name in names if greedy and name != "baseline"
            },
            "standing": standing(trials, [name for name in names if name not in OURS]),
            "skipped": self.skipped,
            "versions": self.versions,
            "items": numbers.rows(trials, names),
            "failures": [asdict(failure) for failure in measured.failures],
            "interrupted": measured.interrupted,
            "setup": self.bench.described([]) | {"peers": names},
            "provenance": provenance(),
        }


def meet(setup: Setup, peers: Sequence[str], place: Place) -> Meeting:
    """Load laconic's variants and every peer named. A peer that cannot run is skipped, with its reason.

    Raises RequestError for a name that is no peer, and what :func:`laconic.bench.compare.prepare` raises.
    """
    for name in peers:
        if name not in PEERS:
            raise RequestError(f"no peer is called '{name}'.", did_you_mean(name, PEERS))
    if setup.batch != 1:
        raise RequestError("peers are measured one request at a time.", "Use --batch 1.")
    bench = prepare(replace(setup, peer=False))
    variants = [variant for variant in bench.variants if variant.name in OURS]
    meeting = Meeting(bench, variants)
    shared: dict[str, Checkpoint] = {}
    for name in peers:
        make = _transformers if name in TRANSFORMERS else _piped
        try:
            meeting.variants.append(make(name, meeting, place, shared))
        except PeerUnavailable as error:
            meeting.skipped[name] = error.message
    return meeting


def _transformers(name: str, meeting: Meeting, place: Place, shared: dict[str, Checkpoint]) -> Variant:
    setup, engine = meeting.bench.setup, meeting.bench.engine
    load = partial(_once, shared, dtype=setup.dtype, device=torch.device(setup.device))
    assistant = None
    if name == "transformers-assisted":
        if engine.draft_model is None:
            raise PeerUnavailable("assisted generation needs a draft model, and none is in use.")
        if isinstance(engine.draft_model, ForeignModel):
            raise PeerUnavailable("assisted generation is run with draft models of the target's own vocabulary only.")
        assistant = load(setup.draft or "bundled-draft")
    return TransformersGenerate(
        load(setup.model),
        engine.text,
        engine.target.context,
        name=name,
        assistant=assistant,
        prompt_lookup=name == "transformers-prompt-lookup",
    )


def _once(shared: dict[str, Checkpoint], name: str, dtype: torch.dtype | None, device: torch.device) -> Checkpoint:
    if name not in shared:
        shared[name] = Checkpoint(name, dtype, device)
    return shared[name]


def _piped(name: str, meeting: Meeting, place: Place, shared: dict[str, Checkpoint]) -> Variant:
    setup, engine = meeting.bench.setup, meeting.bench.engine
    dtype = cast(torch.dtype, setup.dtype)
    engine_name, python = ("vllm", place.vllm) if name in SPECULATION else ("llama", place.llama)
    if python is None:
        raise PeerUnavailable(
            f"its environment is not named (--{engine_name}); scripts/install_{engine_name}.py makes one."
        )
    common: dict[str, Any] = {
        "context": engine.target.context,
        "threads": torch.get_num_threads(),
        "log": place.logs / f"{name}.log" if place.logs else None,
    }
    peer: PipedPeer
    if name in SPECULATION:
        dtype_name = str(dtype).removeprefix("torch.")
        peer = vllm.start(name, python, setup.model, engine.text, dtype=dtype_name, **common)
    else:
        peer = llama.start(name, python, setup.model, engine.text, dtype=dtype, folder=meeting.scratch, **common)
    meeting.stack.callback(peer.close)
    meeting.versions[engine_name] = peer.version
    return peer
