"""How many layers draft, and how far, goes by how often each would have been right lately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field

from laconic.errors import UnmetNeed
from laconic.models.partial import LayerPlan
from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Context, Judge, TokenTree, Tools
from laconic.speculation.drafters.itself.drafter import Own, SelfDrafter
from laconic.speculation.drafters.itself.units import logits_of


class Record:
    """Of one request: how often each exit was right lately, how far it has been looked at, and what is best now."""

    __slots__ = ("drafted", "exit", "read", "right")

    def __init__(self, exits: int, read: int) -> None:
        self.right = torch.zeros(exits)
        """Weighted share ``[exits]``; nothing is believed right before it was seen to be."""
        self.read = read
        self.exit = -1
        """Place in the list of exits of the one that drafts next; -1 for none."""
        self.drafted = 0
        """Tokens that are worth drafting with it."""


@knobs
class DynamicExit(SelfDrafter):
    """Draft with the first layers, as many and as far as pays, which DEL learns from every token that is written.

    What each exit would have said is known for free of its layers: the target's own pass went through them. Norm and
    output head are put on the states that the layers of ``exits`` had at each token newly read, and the share that
    named the right one, recent tokens counting more, is each exit's chance to be right, ``a``. Before each draft the
    exit of ``l`` layers and the length ``d`` are taken that maximise tokens over layers, expected to be
    ``(1 - a^(d+1)) / (1 - a)`` over ``d (l + h) + L + h``: equation 4 of the paper, where the output head of ``h``
    layers' weights is counted too. Where plain decoding is expected to be no worse, nothing is drafted, and watching
    goes on. The run's length rule may make drafts shorter still.
    """

    card = Card(
        paper="DEL: Context-Aware Dynamic Exit Layer for Efficient Self-Speculative Decoding",
        catalogue=(1,),
        lossless=True,
        arxiv="2504.05598",
    )
    needs = Needs(target_parts=True, target_layers=True)

    exits: Annotated[int, Field(ge=1, le=64)] = 6
    """Exits that are watched, spread evenly over the layers."""
    memory: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """What a token counts for when the next one is seen."""
    newest: Annotated[int, Field(ge=1)] = 16
    """Tokens at most that are looked at in a round, the newest."""
    keep: str = ""
    """File of the tokens that may be drafted (``laconic fit vocab`` writes one); all of them without."""

    def reads_layers(self, layers: int) -> Sequence[int]:
        """The last layer before each exit."""
        return [exit - 1 for exit in self._exits(layers)]

    def _exits(self, layers: int) -> list[int]:
        """Numbers of layers, ascending."""
        count = min(self.exits, layers - 1)
        return sorted({max(1, round(layers * (i + 1) / (count + 1))) for i in range(count)})

    def suits(self, target: Any, draft_model: Any) -> None:
        """Raise UnmetNeed for a target of one layer."""
        super().suits(target, draft_model)
        if getattr(target, "num_layers", 2) < 2:
            raise UnmetNeed(f"'{self.name}' needs a target of several layers.")

    def start(self, context: Context, tools: Tools) -> Own:
        """Watch from the last tokens of the prompt on."""
        state = super().start(context, tools)
        begin = max(len(context.tokens) - 1 - self.newest, 0)
        state.learned = Record(len(self._exits(state.target.num_layers)), begin)
        return state

    @torch.inference_mode()
    def propose(self, states: Sequence[Own], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """Look at what the target has read since, choose, and draft."""
        for state, budget in zip(states, budgets, strict=True):
            self._watch(state)
            self._choose(state, budget)
        return super().propose(states, budgets, judges)

    def plan(self, state: Own) -> LayerPlan | None:
        """The exit that was chosen."""
        layers, chosen = state.target.num_layers, state.learned.exit
        return LayerPlan.first(self._exits(layers)[chosen], of=layers) if chosen >= 0 else None

    def most(self, state: Own, budget: int) -> int:
        """The length that was chosen with it."""
        return min(budget, int(state.learned.drafted))

    def _watch(self, state: Own) -> None:
        """Compare what the exits would have said with the tokens that came, for those newly read."""
        tokens, length, record, context = state.context.tokens, state.slot.length, state.learned, state.context
        record.read = min(record.read, length)  # a controller may have taken text back
        begin = max(record.read, length - self.newest)
        if begin >= length or context.outputs is None:
            return
        layers = self.reads_layers(state.target.num_layers)
        found = context.outputs(begin, layers)
        record.read = length
        if found is None:
            return
        with self._some.only(state.target):
            said = logits_of(state, found.flatten(0, 1)).argmax(-1).view(length - begin, len(layers))
        right = said.cpu() == torch.tensor(tokens[begin + 1 : length + 1])[:, None]
        for row in right:
            record.right = self.memory * record.right + (1 - self.memory) * row

    def _choose(self, state: Own, budget: int) -> None:
        target, record = state.target, state.learned
        best = 1 / (target.num_layers + target.head_cost)
        record.exit, record.drafted = -1, 0
        for place, (exit, right) in enumerate(zip(self._exits(target.num_layers), record.right.tolist(), strict=True)):
            tokens, chance = 1.0, 1.0
            for length in range(1, budget + 1):
                chance *= right
                tokens += chance
                layers = length * (exit + self._head(target)) + target.num_layers + target.head_cost
                if tokens / layers > best:
                    best, record.exit, record.drafted = tokens / layers, place, length

    def _head(self, target: Any) -> float:
        """What the output head costs a draft, in layers."""
        share = len(self._some.tokens) / target.vocab_size if self.keep else 1.0
        return float(target.head_cost) * share
