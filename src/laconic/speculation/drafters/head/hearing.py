"""How a head hears of tokens: their embeddings, or what the target's first layers make of them.

Of what the target has read, the outputs of these layers are kept with all others that a head asks for. Of the last
committed token and of drafted ones they are made here, by passes through those layers over the target's own cache,
which is then as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from laconic.models.base import LanguageModel, Narrows, RunsParts, ScoreTree, Slot, chain
from laconic.models.partial import LayerPlan
from laconic.speculation.base import Context, Grown, Tools

_NONE = torch.tensor([0])
"""A pass that is made for a layer's output needs no logits: these are the fewest that can be asked for."""


class Draft(Protocol):
    """A draft under construction, as far as it matters here."""

    nodes: Grown

    @property
    def context(self) -> Context:
        """The request's."""
        ...


class Hearing(Protocol):
    """What is heard of the tokens of requests' texts and drafts, in one round."""

    def known(self, context: Context) -> int:
        """How many tokens of the text can be heard of."""
        ...

    def text(self, contexts: Sequence[Context], ranges: Sequence[tuple[int, int]]) -> Tensor:
        """Of the tokens ``begin .. end`` of each text, ``[rows, width]``, one request after the other."""
        ...

    def drafted(self, drafts: Sequence[Draft], nodes: Sequence[Sequence[int]]) -> Tensor:
        """Of these nodes of each draft, ``[rows, width]``, one request after the other. Not empty."""
        ...


class Embedded:
    """Embeddings."""

    def __init__(self, tools: Tools) -> None:
        assert tools.embed is not None  # a target that shows its layers shows its embeddings
        self._embed = tools.embed

    def known(self, context: Context) -> int:
        """All."""
        return len(context.tokens)

    def text(self, contexts: Sequence[Context], ranges: Sequence[tuple[int, int]]) -> Tensor:
        """Of texts."""
        pairs = zip(contexts, ranges, strict=True)
        return self._embed([token for context, (begin, end) in pairs for token in context.tokens[begin:end]])

    def drafted(self, drafts: Sequence[Draft], nodes: Sequence[Sequence[int]]) -> Tensor:
        """Of drafts."""
        pairs = zip(drafts, nodes, strict=True)
        return self._embed([draft.nodes.tokens[node] for draft, mine in pairs for node in mine])


@dataclass(slots=True)
class Place:
    """A request's place in the target's cache during a round: ``length`` tokens of text were there.

    ``tip`` is the drafted token that was committed last, -1 the last token of the text; None once the draft is no
    chain.
    """

    slot: Slot
    length: int
    last: Tensor | None = None
    """What was heard of the text's last token, ``[1, width]``."""
    tip: int | None = -1


class FirstLayers:
    """Outputs of the target's first ``early`` layers.

    While a draft is a chain, each pass runs over one token; once it branches, over all that has grown so far.
    """

    def __init__(self, target: RunsParts, early: int) -> None:
        self._model: Any = target
        self._layer = early - 1
        self._plan = LayerPlan.first(early, of=target.num_layers)
        self._places: dict[int, Place] = {}

    def known(self, context: Context) -> int:
        """What the target has read and, where that is all that is missing, the last token."""
        length = self._place(context).length
        return length + (length + 1 == len(context.tokens))

    def text(self, contexts: Sequence[Context], ranges: Sequence[tuple[int, int]]) -> Tensor:
        """Of texts: what the target has kept, and a pass for the last token."""
        self._root([c for c, (_, end) in zip(contexts, ranges, strict=True) if end > self._place(c).length])
        parts: list[Tensor] = []
        for context, (begin, end) in zip(contexts, ranges, strict=True):
            place = self._place(context)
            if begin < min(end, place.length):
                assert context.outputs is not None
                kept = context.outputs(begin, (self._layer,))
                assert kept is not None  # features of the same tokens were there
                parts.append(kept[: min(end, place.length) - begin, 0])
            if end > place.length:
                assert place.last is not None
                parts.append(place.last)
        return torch.cat(parts)

    def drafted(self, drafts: Sequence[Draft], nodes: Sequence[Sequence[int]]) -> Tensor:
        """Of drafts, all requests in one pass."""
        self._root([draft.context for draft in drafts])
        places = [self._place(draft.context) for draft in drafts]
        trees: list[ScoreTree] = []
        for draft, place, mine in zip(drafts, places, nodes, strict=True):
            grown = draft.nodes
            if len(mine) == 1 and place.tip is not None and grown.parents[mine[0]] == place.tip:
                trees.append(chain([grown.tokens[mine[0]]]))
                continue
            place.slot.rollback(place.slot.length - place.length - 1)
            place.tip = None
            trees.append(ScoreTree(list(grown.tokens), list(grown.parents)))
        parts = []
        for place, mine, tree, found in zip(places, nodes, trees, self._pass(places, trees), strict=True):
            if place.tip is None:
                parts.append(found[list(mine)])
                continue
            assert len(tree) == 1
            place.slot.commit([0])
            place.tip = mine[0]
            parts.append(found)
        return torch.cat(parts)

    def close(self) -> None:
        """Leave the cache as it was."""
        for place in self._places.values():
            place.slot.rollback(place.slot.length - place.length)

    def _place(self, context: Context) -> Place:
        if id(context) not in self._places:
            assert context.slot is not None
            slot = context.slot()
            self._places[id(context)] = Place(slot, slot.length)
        return self._places[id(context)]

    def _root(self, contexts: Iterable[Context]) -> None:
        """Read the last tokens of texts."""
        due = [(c, self._place(c)) for c in contexts if self._place(c).last is None]
        if not due:
            return
        places = [place for _, place in due]
        found = self._pass(places, [chain([context.tokens[place.length]]) for context, place in due])
        for place, heard in zip(places, found, strict=True):
            place.slot.commit([0])
            place.last = heard

    def _pass(self, places: Sequence[Place], trees: Sequence[ScoreTree]) -> list[Tensor]:
        """What the layers make of each tree, ``[nodes, width]``."""
        seen: list[Tensor] = []

        def see(x: Tensor) -> Tensor:
            seen.append(x.clone())
            return x

        with self._model.partly(self._plan, see), cast(Narrows, self._model).narrowed(_NONE):
            scores = cast(LanguageModel, self._model).score(trees, [place.slot for place in places])
        every = seen[-1]  # the first time, the head is tried in passes of its own
        return [every[start : start + len(tree)] for start, tree in zip(scores.starts, trees, strict=True)]


@contextmanager
def hearing(tools: Tools, early: int) -> Iterator[Hearing]:
    """For a round of a head with ``early`` layers before it."""
    if not early:
        yield Embedded(tools)
        return
    assert tools.target is not None  # see Head.suits
    found = FirstLayers(tools.target, early)
    try:
        yield found
    finally:
        found.close()
