"""Where a model's sequences live and how its passes are made: the part of a CausalLM that differs by architecture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from laconic.models.base import Kept, ScoreTree, Slot
from laconic.models.partial import LayerPlan
from laconic.models.past import Held, Keeper, Past
from laconic.models.steering import Touch, Touches


class Made(NamedTuple):
    """What one pass gave. Request i's nodes are rows ``starts[i]`` and on of ``logits [nodes, vocab]``.

    ``hidden [nodes, width]`` are the inputs of the output head, where they were asked for.
    """

    logits: Tensor
    hidden: Tensor | None
    starts: Sequence[int]


class Host(Protocol):
    """Opens slots and makes passes over trees of tokens; see models.base for what both mean."""

    @property
    def path(self) -> str:
        """How passes are made, in a few words that a user will read."""
        ...

    @property
    def drafts(self) -> bool:
        """Whether a pass over several tokens is cheaper than as many passes."""
        ...

    @property
    def even(self) -> bool:
        """Whether a token has the same logits, bit for bit, in every pass, whatever else is in it."""
        ...

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots that are open."""
        ...

    def open(self) -> Slot:
        """A new, empty slot."""
        ...

    def steer(self, slot: Slot, vectors: Mapping[int, Tensor], start: int) -> None:
        """Add ``vectors[l] [hidden]`` behind layer l at positions ``start`` and later of a slot; none ends it."""
        ...

    @property
    def forgets(self) -> bool:
        """Whether slots can be reduced to part of what they have read; see models.base.Forgets."""
        ...

    def hold(self, slot: Slot, keeper: Keeper) -> None:
        """Have a keeper say what of a slot's text stays in the cache."""
        ...

    def holds(self, slot: Slot) -> Keeper | None:
        """Who says so, if anybody does."""
        ...

    @property
    def views(self) -> bool:
        """Whether a text can be read through part of what is kept of it; see models.base.Views."""
        ...

    def look(self, slot: Slot, tokens: Sequence[int]) -> list[Held | None]:
        """All that a slot holds, and the queries of its last ``tokens``; see models.base.Views."""
        ...

    def view(self, past: Past) -> Slot:
        """A slot that begins with a past."""
        ...

    def follow(self, view: Slot, slot: Slot) -> bool:
        """Bring a view up to a slot; see models.base.Views."""
        ...

    @property
    def resumes(self) -> bool:
        """Whether a copy of what a slot holds can be taken up by other slots; see models.base.Resumes."""
        ...

    def shrink(self) -> None:
        """Give back memory that no open slot needs, between passes."""
        ...

    def keep(self, slot: Slot) -> Kept:
        """A copy of what a slot has committed."""
        ...

    def resume(self, kept: Kept, length: int) -> Slot:
        """A new slot with the first ``length`` tokens of it."""
        ...

    @property
    def shows_layers(self) -> bool:
        """Whether outputs of layers can be kept beside the cache; see models.base.ShowsLayers."""
        ...

    def show(self, layers: Sequence[int]) -> None:
        """Keep these layers' outputs too, beside those that are kept already."""
        ...

    def shown(self, slot: Slot, begin: int, layers: Sequence[int]) -> Tensor | None:
        """Outputs ``[length - begin, layers, hidden]`` at a slot's tokens from ``begin`` on, if all of them were
        kept.
        """
        ...

    @property
    def runs_parts(self) -> bool:
        """Whether passes can be made through part of the layers; see models.base.RunsParts."""
        ...

    @property
    def runs_halves(self) -> bool:
        """Whether also through half a layer, its attention or its feed-forward network."""
        ...

    def partly(self, plan: LayerPlan, at_end: Touch | None) -> AbstractContextManager[None]:
        """Within, passes leave out what ``plan`` does, and ``at_end`` has its way with the last layer's output."""
        ...

    def through(self, slot: Slot, tree: ScoreTree, after: Touches) -> None:
        """A pass over a tree without logits, ``after[l]`` having its way with layer l's output ``[nodes, hidden]``.

        Nothing can be committed of it.
        """
        ...

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> None:
        """Commit ``tokens``, as many as one pass may hold, without logits."""
        ...

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot], *, hidden: bool) -> Made:
        """One pass over all trees; nothing is committed."""
        ...

    def watch(self, slot: Slot, tokens: Sequence[int], see: Mapping[int, Callable[[Tensor], None]]) -> None:
        """As :meth:`prefill`, showing ``see[l]`` the outputs ``[tokens, hidden]`` of layer l."""
        ...


def module_states(model: Any) -> dict[tuple[Any, str], Any]:
    """What the modules of a model hold beside their weights and buffers: tensors, or None where one may be put.

    Some architectures keep the state of the sequence that they have read last there.
    """
    return {
        (module, name): value
        for module in model.modules()
        for name, value in vars(module).items()
        if value is None or isinstance(value, Tensor)
    }


@contextmanager
def restored(model: Any) -> Iterator[None]:
    """Leave nothing of what is read within behind in the modules of a model."""
    before = module_states(model)
    try:
        yield
    finally:
        for (module, name), value in before.items():
            if getattr(module, name) is not value:
                setattr(module, name, value)


def cache_name(model: Any) -> str | None:
    """The argument under which a model takes and gives its cache; None where it keeps none."""
    taken = inspect.signature(model.forward).parameters
    return next((name for name in ("past_key_values", "cache_params", "state") if name in taken), None)


def head_input(model: Any, made: Callable[[], Any], wanted: bool) -> tuple[Any, Tensor | None]:
    """Call ``made`` and, where ``wanted``, keep what the output head of ``model`` is given meanwhile.

    What the head is given is what a hidden state is here; models differ in what they call their last one.
    """
    if not wanted:
        return made(), None
    seen: list[Tensor] = []
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        return made(), seen[0]
    finally:
        hook.remove()
