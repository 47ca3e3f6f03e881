"""A model that writes what it is told, and a drafter that drafts what it is told: loops whose every pass is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch

from laconic import Limits, Request
from laconic.loop import Loop, Plan
from laconic.models.text import Text
from laconic.policy import Card, Needs, knobs
from laconic.sequence import Sequence as Running
from laconic.speculation.base import Context, Drafter, Judge, TokenTree, Tools
from laconic.speculation.pace import Pace
from laconic.thinking.base import Action, Continue, Controller, LogitRule, Probe, View
from tests import tiny
from tests.fakes import FakeModel
from tests.speculation.rounds import build

TEXT = tiny.text()
Drafts = Callable[[str], str | TokenTree]
"""What is drafted below a text: more text, or a tree."""


class Told(FakeModel):
    """Writes ``script[words]`` behind the last ``words`` of a text, then the end; logits differ place by place."""

    def __init__(self, script: Mapping[str, str], text: Text = TEXT, context: int = 512) -> None:
        super().__init__(torch.randn(97, 264, generator=torch.Generator().manual_seed(0)), context)
        self.script = {tuple(text.encode(words)): text.encode(written) for words, written in script.items()}
        self.end = min(text.eos)

    def after(self, tokens: Sequence[int]) -> torch.Tensor:
        row = self.table[(sum(tokens) + 7 * len(tokens)) % 97].clone()
        row[self.said(tuple(tokens))] = 8.0
        return row

    def said(self, tokens: tuple[int, ...]) -> int:
        """The token that follows ``tokens``: the end, where nothing is told."""
        for end in range(len(tokens), 0, -1):
            for words, told in self.script.items():
                if tokens[:end][-len(words) :] == words:
                    written = list(tokens[end:])
                    on = written == told[: len(written)] and len(written) < len(told)
                    return told[len(written)] if on else self.end
        return self.end


@knobs
class Drafted(Drafter):
    """Drafts what ``drafts`` says of the text so far."""

    card = Card(paper="a test", lossless=True)
    drafts: Any

    def start(self, context: Context, tools: Tools) -> Context:
        return context

    def propose(
        self, states: Sequence[Context], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        return [self._draft(context, budget) for context, budget in zip(states, budgets, strict=True)]

    def _draft(self, context: Context, budget: int) -> TokenTree:
        draft = self.drafts(TEXT.decode(context.tokens))
        return TokenTree.of_chain(TEXT.encode(draft)[:budget]) if isinstance(draft, str) else draft


@knobs
class Acting(Controller):
    """Does what ``act`` says of a view, and keeps all views in ``seen``; ``limits`` says where it must be asked."""

    card = Card(paper="a test", lossless=False)
    needs = Needs(thinking=True, chances=True)
    name = "acting"
    act: Any = lambda view: Continue()
    limits: Any = lambda views: None
    rules: Any = None
    seen: Any = None

    def start(self, request: Request, text: Text) -> list[View]:
        return []

    def limit(self, state: list[View]) -> int | None:
        return self.limits(state)  # type: ignore[no-any-return]

    def rule(self, state: list[View]) -> LogitRule | None:
        return self.rules  # type: ignore[no-any-return]

    def decide(self, state: list[View], view: View) -> Action:
        state.append(view)
        if self.seen is not None:
            self.seen.append(view)
        return self.act(view)  # type: ignore[no-any-return]


@knobs
class Foretelling(Acting):
    """Says beforehand what it will ask."""

    asks: Any = lambda view: None

    def will_ask(self, state: list[View], view: View) -> Probe | None:
        return self.asks(view)  # type: ignore[no-any-return]


class Unmeasured(Pace):
    """Costs that are never known: what may ride along always does."""

    known = False  # type: ignore[assignment]


def loop(
    model: FakeModel,
    drafts: Drafts = lambda text: "",
    controllers: Sequence[Controller] = (),
    probes: Literal["branch", "separate"] = "branch",
) -> Loop:
    """A loop whose drafts are at most nine nodes, accepted where they are the target's own tokens."""
    parts = Drafted(drafts), build("length", "constant:9"), build("shape", "chain"), build("verifier", "match")
    return Loop(model, TEXT, Plan(*parts, tuple(controllers), probes), pace=Unmeasured())


def finished(made: Loop, prompt: str = "Q<think>\n", limit: int = 400) -> Running:
    """A request served to its end."""
    running = made.add(Request(tuple(TEXT.encode(prompt)), limits=Limits(limit)))
    for _ in range(limit + 20):
        if running.done:
            return running
        made.step()
    raise AssertionError("it never ends")


def told(view: View) -> tuple[object, ...]:
    """What a view says in words and whole numbers; not how many passes a probe took."""
    belief = view.belief
    found = belief and (belief.answer, belief.complete, belief.watched and belief.watched.rank)
    return view.thinking, tuple(view.steps), view.boundary, tuple(view.written), view.closing, found


def chances(view: View) -> list[float]:
    """The probabilities that a view holds."""
    belief = view.belief
    watched = [] if belief is None or belief.watched is None else [belief.watched.prob]
    return [*view.chances, *(() if belief is None else belief.probs), *watched]
