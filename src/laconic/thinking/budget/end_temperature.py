"""Make the end of the thought likelier or less likely, all along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.thinking.base import Action, Continue, Controller, LogitRule, Place, View
from laconic.thinking.budget.tag import Tag, answered, tempered
from laconic.types import Request


@dataclass(frozen=True, slots=True)
class _State:
    text: Text


@knobs
class EndTemperature(Controller):
    """Divide the log-probability of the closing tag by a temperature: above 1 thoughts get shorter, below 1 longer.

    In the thought, the tag's next token has its probability p replaced by ``p ** (1 / temperature)``, all others keep
    theirs, and the row is normalised again (sampling temperature and filters come after). A tag of several tokens has
    each of them changed, which makes it ``p(tag) ** (1 / temperature)``.

    "Making Small Language Models Efficient Reasoners" scales the end-of-thinking decision by a temperature, without
    training; its exact form is not known to us, and this one is ours. Dividing the *log-odds* of the tag instead would
    leave their sign as it is, so greedy decoding would not feel it; here p grows with the temperature everywhere,
    greedy or sampled, whatever constant the logits are off by. And unlike a constant added to the logit it is choosy:
    greedy decoding ends the thought where ``p ** (1 / temperature)`` beats the likeliest other token, which is soon the
    case where the model is unsure how to go on, and never inside a word that is certain.

    Where the model is sure that its thought is over (p near 1), hardly any temperature keeps it from closing; what
    lengthens such thoughts is the ``minimum`` of a budget. There is no bound on the thought:
    ``budget:512+end-temperature:4`` has both. While the answer is empty, end tokens are ruled out.
    """

    card = Card(
        paper="Making Small Language Models Efficient Reasoners: Intervention, Supervision, Reinforcement (TLDR)",
        catalogue=(4,),
        lossless=False,
        arxiv="2505.07961",
    )
    needs = Needs(thinking=True)

    temperature: Annotated[float, Field(ge=0.01, le=1e6)] = 4.0
    """What the tag's log-probability is divided by; 1 changes nothing."""

    def start(self, request: Request, text: Text) -> _State:
        """Nothing to remember."""
        return _State(text)

    def rule(self, state: _State) -> LogitRule:
        """Temper the tag in the thought; after it, no empty answer."""
        tag, spoken = Tag(state.text), answered(state.text)

        def rule(logits: torch.Tensor, place: Place) -> torch.Tensor | None:
            if place.phase != "thinking":
                return spoken(logits, place)
            return tempered(logits, tag.tokens[tag.begun(place.tokens)], self.temperature)

        return rule

    def decide(self, state: _State, view: View) -> Action:
        """The model decides."""
        return Continue()
