"""Layers with a recurrent state inside a pass over trees: linear attention, state spaces, short convolutions.

Such a layer's *mixer* reads tokens in order and keeps a state of fixed size. In a pass over trees each path is a row of
its own for the mixers alone; attention and everything else see the nodes once. Behind a pass the state is that after
the last drafted token, which is seldom where the text ends. So the outputs of a mixer's linear layers are kept, and
where a draft was accepted in part, the mixer is run once more over the accepted tokens without them: what is left, a
convolution and the recurrence, reads no weights to speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

from laconic.models.host import cache_name, restored

if TYPE_CHECKING:
    from transformers import PreTrainedModel

State = dict[tuple[str, int], Tensor]
"""What one mixer keeps of a sequence, by kind (``conv``, ``recurrent``) and number; the first dimension is the row."""
States = dict[int, State]
"""The states of all mixers, by layer."""


class Mismatch(RuntimeError):
    """A mixer does not do what its states can be kept by."""


@dataclass(slots=True)
class Read:
    """What the mixers read in one pass: ``rows`` paths of up to ``width`` tokens, from states ``before`` to ``after``.

    By layer: the mixer's arguments, and the outputs ``[rows, width, ...]`` of its linear layers in the order in which
    they were asked.
    """

    rows: int
    width: int
    before: States
    after: States = field(default_factory=dict)
    given: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    linear: dict[int, list[Tensor]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept of this pass."""
        kept = [t for outputs in self.linear.values() for t in outputs]
        return sum(t.nbytes for t in kept) + sum(t.nbytes for state in self.before.values() for t in state.values())


class Mixers:
    """All mixers of a model, found by watching who writes to a cache. Raises Mismatch if there are none.

    ``chunked`` asks Transformers' reference kernels, which read texts in chunks of 64 tokens and fill up shorter ones,
    for chunks no longer than the pass: by the mixer's own ``chunk_size`` where it has one, else by a keyword. Not all
    mixers take that; those that do not raise TypeError.
    """

    def __init__(self, model: PreTrainedModel, *, chunked: bool = False) -> None:
        self._chunked = chunked
        self._config = model.config
        self._found, cache = _watch(model)
        if not self._found:
            raise Mismatch("no layer with a recurrent state was found")
        self._empty = {layer: _saved(cache.layers[layer], None) for layer in self._found}
        self._kernels = {layer: dict(cache.layers[layer].conv_kernel_size) for layer in self._found}
        self._layout: Layout | None = None
        self._reading: Read | None = None
        self._recording: list[Tensor] | None = None
        self._replaying: Iterator[Tensor] | None = None
        self._record = False
        self.cache: Any = None
        """The cache that the model is given; mixers are given another in its place."""
        for layer, module in self._found.items():
            vars(module)["forward"] = self._wrapped(layer, module.forward)
            for inner in module.modules():
                if isinstance(inner, nn.Linear):
                    vars(inner)["forward"] = self._remembering(inner.forward)

    def remove(self) -> None:
        """Leave the model as it was."""
        for module in self._found.values():
            for inner in module.modules():
                vars(inner).pop("forward", None)

    def empty(self, rows: int) -> States:
        """The states before the first token of ``rows`` sequences."""
        return {
            layer: {key: t.new_zeros((rows, *t.shape[1:])) for key, t in state.items()}
            for layer, state in self._empty.items()
        }

    @contextmanager
    def reading(self, layout: Layout, before: States, *, record: bool) -> Iterator[Read]:
        """Let the pass made within read ``layout``'s paths from ``before``; ``record`` keeps what replays need."""
        self._layout = layout
        self._reading = Read(layout.rows, layout.width, before)
        self._record = record
        try:
            yield self._reading
        finally:
            self._layout = self._reading = None

    @torch.inference_mode()
    def replay(self, read: Read, rows: Sequence[int], count: int) -> States:
        """The states after the first ``count`` tokens of some rows of a pass."""
        at = torch.tensor(list(rows), device=next(iter(read.linear.values()))[0].device)
        done: States = {}
        for layer, module in self._found.items():
            args, options = read.given[layer]
            here = (read.rows, read.width)
            args = tuple(_cut(value, here, at, count) for value in args)
            options = {name: _cut(value, here, at, count) for name, value in options.items()}
            cache = self._loaded(layer, {key: t[at] for key, t in read.before[layer].items()})
            self._replaying = (t[at, :count] for t in read.linear[layer])
            try:
                with self._chunk(module, count) as chunk:
                    named = dict(_with_named(options, cache)) | chunk
                    type(module).forward(module, *_with(args, cache), **named)
            finally:
                self._replaying = None
            done[layer] = _saved(cache.layers[layer], self._kernels[layer])
        return done

    def _wrapped(self, layer: int, inner: Callable[..., Any]) -> Callable[..., Any]:
        """A mixer that is given paths in place of trees, and a cache of their states."""

        def forward(*args: Any, **options: Any) -> Any:
            layout, read = self._layout, self._reading
            if layout is None or read is None:
                return inner(*args, **options)
            args = tuple(layout.to_paths(value) for value in args)
            options = {name: layout.to_paths(value) for name, value in options.items()}
            mine = tuple(_PAST if value is self.cache else value for value in args)
            named = {name: _PAST if value is self.cache else value for name, value in options.items()}
            cache = self._loaded(layer, read.before[layer])
            self._recording = [] if self._record else None
            try:
                with self._chunk(self._found[layer], layout.width) as chunk:
                    out = inner(*_with(mine, cache), **dict(_with_named(named, cache)), **chunk)
                if self._record:
                    read.given[layer] = mine, named
                    read.linear[layer] = [_shaped(t, layout.rows, layout.width) for t in self._recording or ()]
            finally:
                self._recording = None
            read.after[layer] = _saved(cache.layers[layer], self._kernels[layer])
            if isinstance(out, tuple):
                return (layout.to_nodes(out[0]), *out[1:])
            return layout.to_nodes(out)

        return forward

    def _remembering(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """A linear layer whose outputs are kept, or given once more."""

        def forward(x: Tensor) -> Tensor:
            if self._replaying is not None:
                return next(self._replaying)
            made: Tensor = inner(x)
            if self._recording is not None:
                self._recording.append(made)
            return made

        return forward

    @contextmanager
    def _chunk(self, module: nn.Module, width: int) -> Iterator[dict[str, int]]:
        """Short chunks for a call within; what is yielded must be among its keywords."""
        own = getattr(module, "chunk_size", None)
        short = min(own or 64, -(-width // 8) * 8)
        if not self._chunked or own is None:
            yield {"chunk_size": short} if self._chunked else {}
            return
        vars(module)["chunk_size"] = short
        try:
            yield {}
        finally:
            vars(module)["chunk_size"] = own

    def _loaded(self, layer: int, state: State) -> DynamicCache:
        """A cache as it stands after the tokens that made ``state``, for one mixer."""
        cache = DynamicCache(config=self._config)
        mine: Any = cache.layers[layer]
        mine.record_past = True
        for (kind, number), t in state.items():
            # Mixers write into the states that they are given.
            getattr(mine, f"{kind}_states")[number] = t.clone()
            getattr(mine, f"is_{kind}_states_initialized")[number] = True
            mine.has_previous_state[number] = True
            mine.dtype, mine.device = t.dtype, t.device
        mine.conv_kernel_size.update(self._kernels[layer])
        return cache


class Layout:
    """How the nodes ``[rows * width]`` of a pass lie in its paths, and back.

    ``ways`` are the paths: for each, the places of its nodes among all. Shorter ones are filled up with their last
    node, which changes nothing before it.
    """

    def __init__(self, ways: Sequence[Sequence[int]], shape: tuple[int, int], device: torch.device) -> None:
        self.rows, self.width = len(ways), max(len(way) for way in ways)
        self.lengths = [len(way) for way in ways]
        self._shape = shape
        filled = [[*way, *[way[-1]] * (self.width - len(way))] for way in ways]
        back = [0] * (shape[0] * shape[1])  # places of padding take whatever stands first
        for row, way in enumerate(ways):
            for at, node in enumerate(way):
                back[node] = row * self.width + at
        self._same = filled == [[row * shape[1] + at for at in range(shape[1])] for row in range(shape[0])]
        self._gather = torch.tensor(filled, device=device)
        self._back = torch.tensor(back, device=device)

    def to_paths(self, value: Any) -> Any:
        """``[rows, width, ...]`` of nodes as ``[paths, longest, ...]``; anything else as it is."""
        if self._same or not _laid_out(value, self._shape):
            return value
        return value.flatten(0, 1)[self._gather]

    def to_nodes(self, value: Tensor) -> Tensor:
        """The reverse."""
        if self._same:
            return value
        nodes = value.flatten(0, 1)[self._back]
        return nodes.view(*self._shape, *nodes.shape[1:])


_PAST = object()
"""Stands for the cache among the arguments of a mixer."""


def _with(args: Sequence[Any], cache: Any) -> Iterator[Any]:
    return (cache if value is _PAST else value for value in args)


def _with_named(options: dict[str, Any], cache: Any) -> Iterator[tuple[str, Any]]:
    return ((name, cache if value is _PAST else value) for name, value in options.items())


def _laid_out(value: Any, shape: tuple[int, int]) -> bool:
    return isinstance(value, Tensor) and value.dim() >= 2 and tuple(value.shape[:2]) == shape


def _cut(value: Any, shape: tuple[int, int], rows: Tensor, count: int) -> Any:
    return value[rows, :count] if _laid_out(value, shape) else value


def _shaped(t: Tensor, rows: int, width: int) -> Tensor:
    """A linear layer's output as ``[rows, width, ...]``. Raises Mismatch where it has not one value a token."""
    if tuple(t.shape[:2]) == (rows, width):
        return t
    if t.shape[0] == rows * width:
        return t.reshape(rows, width, *t.shape[1:])
    raise Mismatch(f"a linear layer gives {list(t.shape)}, not one row a token")


def _saved(layer: Any, kernels: dict[int, int] | None) -> State:
    """The states in a cache's layer; of a convolution's, which keeps all it has seen, the part that goes on."""
    found: State = {}
    for number in range(layer.number_of_states):
        conv, recurrent = layer.conv_states[number], layer.recurrent_states[number]
        if conv is not None:
            found["conv", number] = conv if kernels is None else conv[..., -kernels[number] :]
        if recurrent is not None:
            found["recurrent", number] = recurrent
    return found


@torch.inference_mode()
def _watch(model: PreTrainedModel) -> tuple[dict[int, nn.Module], Any]:
    """Which module writes the recurrent state of which layer, and the cache after a short text."""
    running: list[nn.Module] = []
    found: dict[int, nn.Module] = {}
    cache = DynamicCache(config=model.config)

    def spied(write: Callable[..., Any], layer: int) -> Callable[..., Any]:
        def update(*args: Any, **options: Any) -> Any:
            found[layer] = running[-1]
            return write(*args, **options)

        return update

    for index, layer in enumerate(cache.layers):
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            for name in ("update_conv_state", "update_recurrent_state"):
                setattr(layer, name, spied(getattr(layer, name), index))
    hooks = [hook for module in model.modules() for hook in _tracked(module, running)]
    try:
        text = torch.tensor([[0] * 8], device=model.device)
        with restored(model):
            model(input_ids=text, use_cache=True, **{cache_name(model) or "past_key_values": cache})
    finally:
        for hook in hooks:
            hook.remove()
    return found, cache


def _tracked(module: nn.Module, running: list[nn.Module]) -> list[Any]:
    return [
        module.register_forward_pre_hook(lambda m, _: running.append(m)),
        module.register_forward_hook(lambda *_: running.pop() and None, always_call=True),
    ]
