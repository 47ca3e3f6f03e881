"""Try several ways to draft and keep to those that write the most tokens a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, cast

import pydantic

from laconic.errors import InvalidKnob, MethodError
from laconic.policy import Card, Policy, bracketed, knobs, registry, split
from laconic.speculation.arms import Explorer, Ledger, Pull
from laconic.speculation.base import (
    EMPTY,
    Arm,
    Context,
    Drafter,
    Expand,
    Grown,
    Judge,
    LengthPolicy,
    TokenTree,
    Tools,
    TreeShape,
    Verdict,
)

_LENGTH, _SHAPE = "marginal", "chain"
"""What an arm that names only its drafter, or no shape, has."""
_DEFAULT = "suffix@constant:4|suffix@constant:16|prompt-lookup@constant:8|none"


@dataclass(frozen=True, slots=True)
class Arms:
    """The arms of a bandit, as written: ``suffix@constant:4|draft-model@[svip:threshold=0.5,maximum=9]@best-first``.

    Commas, ``|`` and ``@`` inside a spec need brackets around it.
    """

    each: tuple[Arm, ...]

    def __str__(self) -> str:
        return "|".join(map(str, self.each))

    @staticmethod
    def read(given: Any) -> Arms:
        """Arms from their text, or from a sequence of texts, Arms' parts and drafters.

        Raises InvalidKnob, UnknownMethod or UnknownKnob naming the arm that is wrong, or there twice.
        """
        if isinstance(given, Arms):
            return given
        parts = split(given, "|") if isinstance(given, str) else [given] if isinstance(given, Drafter) else given
        each = tuple(part if isinstance(part, Arm) else _arm(part) for part in parts)
        if not each:
            raise InvalidKnob("'bandit' needs at least one arm.", "Write drafter@length@shape|drafter@...")
        for at, arm in enumerate(each):
            if arm in each[:at]:
                raise InvalidKnob(f"arm '{arm}' is the same as '{each[each.index(arm)]}'.", "Name it once.")
        return Arms(each)


def _arm(said: str | Drafter) -> Arm:
    if isinstance(said, Drafter):
        parts, text = [], f"[{said.spec()}]"
    else:
        text = said.strip()
        parts = [part.strip() for part in split(text, "@")]
        if not 1 <= len(parts) <= 3 or not all(parts):
            raise InvalidKnob(
                f"arm '{text}' is not drafter@length@shape.", "Length and shape may be left out, in turn."
            )
    specs = [part[1:-1] if bracketed(part) else part for part in parts]
    try:
        drafter = said if isinstance(said, Drafter) else registry.build("drafter", specs[0])
        length = registry.build("length", specs[1] if len(specs) > 1 else _LENGTH)
        shape = registry.build("shape", specs[2] if len(specs) > 2 else _SHAPE)
    except MethodError as error:
        raise type(error)(f"arm '{text}': {error.message}", error.hint) from None
    return Arm(cast(Drafter, drafter), cast(LengthPolicy, length), cast(TreeShape, shape), text)


@dataclass(slots=True)
class Turn:
    """State of one request: what every arm knows of it, and the arm of this round."""

    shape: TreeShape
    """That of the arm whose turn it is."""
    drafters: list[Any] = field(default_factory=list)
    """States of the drafters, each of which may serve several arms."""
    lengths: list[Any] = field(default_factory=list)
    """States of the arms' length policies."""
    pull: Pull = field(default_factory=Pull)
    verdict: Verdict | None = None
    """What became of this round's draft; None where nothing was drafted."""


class _Lent(TreeShape):
    """The shape of the arm whose turn it is. So a drafter keeps one state, whatever shapes its arms have."""

    def __init__(self, turn: Turn) -> None:
        object.__setattr__(self, "turn", turn)

    turn: Turn

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """As the arm's shape does."""
        return self.turn.shape.grow(nodes, budget, context, judge)


@knobs
class Bandit(Explorer, Drafter):
    """A multi-armed bandit over whole ways to draft: drafter, length and shape; ``none`` is one of them.

    Source: BanditSpec. An arm's reward is the tokens that a round writes in a second of its whole time. ``ucb`` pulls
    the arm with the highest upper confidence bound, ``exp3`` draws arms by exponential weights, which also serves where
    the best arm changes; both count the pulls of each arm by itself (the authors' code divides the bonus by the sum of
    all arms' pulls, which adds the same to each). What arms have brought is shared by all requests.

    All requests of a round draft by the same arm: they share the passes, so that the time of a round is one number, and
    drafters that are models advance all requests in lock step. An arm decides length and shape itself; those of the
    run do not apply. Arms of the same drafter share its state and what it has learned. Who did not draft reads along,
    and a draft model that was left out for some rounds first reads what was written meanwhile, at the expense of the
    arm that asks for it. Guesses at answers (probes) come from the drafter of the last round. ``laconic run`` and
    ``compare`` report what each arm has brought and the regret against the best of them.
    """

    card = Card(
        paper="BanditSpec: Adaptive Speculative Decoding via Bandit Algorithms",
        lossless=True,
        timed=True,
        catalogue=(57,),
    )

    exploration: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 1.0
    """``ucb``: weight of the confidence term; 1 is that of UCB1."""
    even: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1
    """``exp3``: share of rounds that draw an arm evenly."""
    arms: Arms = field(default_factory=lambda: Arms.read(_DEFAULT))
    """Ways to choose from: ``drafter@length@shape``, joined by ``|``; without a length it is marginal, without a shape
    a chain. A spec that holds a comma goes into brackets."""

    @pydantic.field_validator("arms", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        return Arms.read(given) if isinstance(given, (str, Arms, Drafter, list, tuple)) else given

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger.of(len(self.arms.each))

    @cached_property
    def _drafters(self) -> list[Drafter]:
        """The drafters, each once, so that arms share what one has learned."""
        found: list[Drafter] = []
        for arm in self.arms.each:
            if arm.drafter not in found:
                found.append(arm.drafter)
        return found

    @cached_property
    def _drafter_of(self) -> list[int]:
        """Index of each arm's drafter."""
        return [self._drafters.index(arm.drafter) for arm in self.arms.each]

    @property
    def choices(self) -> Sequence[Arm]:
        """The arms."""
        return self.arms.each

    @property
    def knows_distribution(self) -> bool:
        """Whether every arm's drafter does."""
        return all(drafter.knows_distribution for drafter in self._drafters)

    @property
    def expands(self) -> bool:
        """Whether every arm's drafter does."""
        return all(drafter.expands for drafter in self._drafters)

    @property
    def knows_hidden(self) -> bool:
        """Whether every arm's drafter does."""
        return all(drafter.knows_hidden for drafter in self._drafters)

    def walk(self) -> Iterator[Policy]:
        """This policy and all policies of the arms."""
        yield self
        for arm in self.arms.each:
            for policy in (arm.drafter, arm.length, arm.shape):
                yield from policy.walk()

    def report(self) -> dict[str, Any] | None:
        """What each arm has brought, and the regret against the best of them; see Ledger.report."""
        return self._ledger.report([str(arm) for arm in self.arms.each])

    def start(self, context: Context, tools: Tools) -> Turn:
        """Start every drafter and every length policy."""
        turn = Turn(self.arms.each[0].shape)
        lent = replace(tools, shape=_Lent(turn))
        turn.drafters = [drafter.start(context, lent) for drafter in self._drafters]
        turn.lengths = [arm.length.start(context, tools.pace) for arm in self.arms.each]
        return turn

    def propose(
        self, states: Sequence[Turn], budgets: Sequence[int], judges: Sequence[Judge | None]
    ) -> list[TokenTree]:
        """Draft by the arm whose turn it is, as the loop would if it were the only one. ``judges`` are not asked."""
        pull = self._ledger.choose(self)
        arm, drafter = self.arms.each[pull.arm], self._drafter_of[pull.arm]
        for state in states:
            state.pull, state.shape, state.verdict = pull, arm.shape, None
        wished = arm.length.budgets([state.lengths[pull.arm] for state in states])
        granted = [min(n, room) for n, room in zip(wished, budgets, strict=True)]
        asked = [i for i, n in enumerate(granted) if n > 0]
        trees = [EMPTY] * len(states)
        if asked:
            lengths = [states[i].lengths[pull.arm] for i in asked]
            drafts = self._drafters[drafter].propose(
                [states[i].drafters[drafter] for i in asked],
                [granted[i] for i in asked],
                [arm.length.judge(length) for length in lengths],
            )
            for i, tree in zip(asked, arm.length.select(lengths, drafts), strict=True):
                trees[i] = tree
        return trees

    def observe(self, states: Sequence[Turn], verdicts: Sequence[Verdict]) -> None:
        """Let the drafter of each request's arm learn from its draft, and the others from what was written."""
        for state, verdict in zip(states, verdicts, strict=True):
            state.verdict = verdict if len(verdict.tree) and not verdict.tree.given else None
        for i, drafter in enumerate(self._drafters):
            seen = [
                verdict
                if drafter.listens or (state.verdict is not None and self._drafter_of[state.pull.arm] == i)
                else Verdict(EMPTY, (), verdict.next_token)
                for state, verdict in zip(states, verdicts, strict=True)
            ]
            drafter.observe([state.drafters[i] for state in states], seen)

    def credit(self, states: Sequence[Turn], tokens: int, seconds: float) -> None:
        """Credit the arm, and let its length policy learn."""
        if not states or seconds <= 0:
            return
        self._ledger.credit(states[0].pull, tokens, seconds, self)
        for state in states:
            if state.verdict is not None:
                arm = state.pull.arm
                self.arms.each[arm].length.observe(state.lengths[arm], state.verdict, seconds)
                state.verdict = None

    def complete(
        self, state: Turn, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        """A guess by the drafter of the last round: one that was left out for long would first have to read."""
        drafter = self._drafter_of[state.pull.arm]
        return self._drafters[drafter].complete(state.drafters[drafter], base, tokens, most, ends)

    def finish(self, state: Turn) -> None:
        """Release what the drafters hold."""
        for drafter, inner in zip(self._drafters, state.drafters, strict=True):
            drafter.finish(inner)
