"""Language models seen through: one that prefills the same prompt once, one that notes what each slot should hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch

from laconic.models.base import (
    Forgets,
    LanguageModel,
    Reduced,
    RunsParts,
    Scores,
    ScoreTree,
    ShowsLayers,
    Slot,
    Steerable,
    Views,
)
from laconic.models.past import FOREVER, Held, Keeper, Past
from laconic.models.steering import Touch
from laconic.models.wrapper import Wrapper


class ProxySlot:
    """A slot of the model behind. ``tokens`` are what it has been told to hold."""

    def __init__(self, owner: Proxy, inner: Slot, tokens: Sequence[int] = ()) -> None:
        self.owner = owner
        self.inner = inner
        self.tokens = list(tokens)
        self.scored: Sequence[int] = ()
        self.steered: tuple[Mapping[int, torch.Tensor], int] | None = None
        """How its residual stream is pushed, and from where."""
        owner.slots.append(self)

    @property
    def length(self) -> int:
        """Committed tokens."""
        return self.inner.length

    @property
    def nbytes(self) -> int:
        """Bytes of the committed tokens."""
        return self.inner.nbytes

    def commit(self, path: Sequence[int]) -> None:
        """Keep a path of the last pass."""
        self.inner.commit(path)
        self.tokens += [self.scored[node] for node in path]

    def rollback(self, count: int) -> None:
        """Forget the last ``count`` tokens, and with them what the slot behind forgets besides."""
        self.inner.rollback(count)
        del self.tokens[min(len(self.tokens) - count, self.inner.length) :]

    @property
    def room(self) -> int:
        """Tokens that may still be committed before :meth:`compact`; see models.base.Reduced."""
        return getattr(self.inner, "room", FOREVER)

    def compact(self, *, tidy: bool = False) -> None:
        """Reduce the slot behind."""
        cast(Reduced, self.inner).compact(tidy=tidy)

    def fork(self) -> ProxySlot:
        """A copy."""
        made = type(self)(self.owner, self.inner.fork(), self.tokens)
        made.steered = self.steered
        return made

    def close(self) -> None:
        """Give the place back."""
        self.inner.close()
        if self in self.owner.slots:  # no views are there
            self.owner.slots.remove(self)


class Proxy(Wrapper):
    """Passes everything on, and knows by the contract alone which tokens each of its open slots should hold."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self.slots: list[ProxySlot] = []
        if isinstance(model, Steerable):
            self.steer = self._steer
        if isinstance(model, ShowsLayers):
            self.shown = self._shown
        if isinstance(model, RunsParts):
            self.through = self._through
        if isinstance(model, Forgets):
            self.hold, self.holds = self._hold, self._holds
        if isinstance(model, Views):
            self.look, self.view, self.follow = self._look, self._view, self._follow

    def _hold(self, slot: Slot, keeper: Keeper) -> None:
        assert isinstance(slot, ProxySlot)
        cast(Forgets, self.model).hold(slot.inner, keeper)

    def _holds(self, slot: Slot) -> Keeper | None:
        assert isinstance(slot, ProxySlot)
        return cast(Forgets, self.model).holds(slot.inner)

    def _look(self, slot: Slot, tokens: Sequence[int]) -> list[Held | None]:
        assert isinstance(slot, ProxySlot)
        return cast(Views, self.model).look(slot.inner, tokens)

    def _view(self, past: Past) -> ProxySlot:
        made = ProxySlot(self, cast(Views, self.model).view(past))
        self.slots.remove(made)  # it is to hold less than its text
        return made

    def _follow(self, view: Slot, slot: Slot) -> bool:
        assert isinstance(view, ProxySlot)
        assert isinstance(slot, ProxySlot)
        return cast(Views, self.model).follow(view.inner, slot.inner)

    def _steer(self, slot: Slot, vectors: Mapping[int, torch.Tensor], start: int) -> None:
        assert isinstance(slot, ProxySlot)
        slot.steered = vectors, start
        cast(Steerable, self.model).steer(slot.inner, vectors, start)

    def _shown(self, slot: Slot, begin: int, layers: Sequence[int]) -> torch.Tensor | None:
        assert isinstance(slot, ProxySlot)
        return cast(ShowsLayers, self.model).shown(slot.inner, begin, layers)

    def _through(self, slot: Slot, tree: ScoreTree, after: Mapping[int, Touch]) -> None:
        assert isinstance(slot, ProxySlot)
        cast(RunsParts, self.model).through(slot.inner, tree, after)

    def open(self) -> ProxySlot:
        """A new, empty slot."""
        return ProxySlot(self, self.model.open())

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens``."""
        assert isinstance(slot, ProxySlot)
        slot.tokens += tokens
        return self.model.prefill(slot.inner, tokens)

    def score(self, trees: Sequence[ScoreTree], slots: Sequence[Slot]) -> Scores:
        """One pass."""
        inner = []
        for tree, slot in zip(trees, slots, strict=True):
            assert isinstance(slot, ProxySlot)
            slot.scored = tree.tokens
            inner.append(slot.inner)
        return self.model.score(trees, inner)


class PrefillOnce(Proxy):
    """Prefills a prompt when it is first asked for and copies the entries as long as the same one is asked again."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self._template: Slot | None = None
        self._held: list[int] = []

    def prefill(self, slot: Slot, tokens: Sequence[int]) -> int:
        """Commit ``tokens``; to an empty slot by copying, where they were the last ones to be prefilled."""
        assert isinstance(slot, ProxySlot)
        if slot.length or (isinstance(self.model, Forgets) and self.model.holds(slot.inner) is not None):
            return super().prefill(slot, tokens)
        if self._template is None or self._held != list(tokens):
            self.close()
            self._template, self._held = self.model.open(), list(tokens)
            self.model.prefill(self._template, tokens)
        slot.inner.close()
        slot.inner = self._template.fork()
        if slot.steered is not None:
            cast(Steerable, self.model).steer(slot.inner, *slot.steered)
        slot.tokens += tokens
        return 1

    def close(self) -> None:
        """Forget the prompt that is held."""
        if self._template is not None:
            self._template.close()
        self._template = None
