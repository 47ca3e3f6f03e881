"""Contracts of speculation. The loop plans, drafts, scores and verifies through these and nothing else.

A round for one request::

    n     = length.budgets([state])[0]                   how many tokens to draft at most
    tree  = drafter.propose([state], [n], [judge])[0]    guesses below the last committed token
    tree  = length.select([state], [tree])[0]            those of them that are worth scoring
    rows  = target logits at the last committed token and at every node of the tree
    v     = verifier.verify(rows, tree, draws)          accepted path and one more token
    drafter.observe / length.observe                    learn from the verdict
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, partial
from typing import Any, Protocol

import torch

from laconic.models.base import LanguageModel, RunsParts, Slot
from laconic.models.brought import BroughtHead
from laconic.policy import Card, Policy
from laconic.speculation.draws import WIDE, Draws, warp
from laconic.speculation.pace import Pace
from laconic.types import Request, Sampling


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Drafted tokens. ``parents[i] = -1`` at a child of the last committed token; parents come first.

    ``draft_probs`` is None for a draft that is a function of the text and of the target's own random numbers.
    Otherwise ``draft_probs[i]`` (shape ``[vocab]``) is the distribution from which node i was *sampled*; siblings are
    drawn from the same row in index order, as Drafting says. ``source`` names the drafter that proposed it. ``rows``
    are what the drafter thinks may come after a node (-1: after the last committed token), for the nodes it looked at.
    """

    tokens: Sequence[int] = ()
    parents: Sequence[int] = ()
    draft_probs: Sequence[torch.Tensor] | None = None
    source: str = ""
    rows: Mapping[int, Row] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether no node has a sibling."""
        return all(parent == i - 1 for i, parent in enumerate(self.parents))

    @staticmethod
    def of_chain(
        tokens: Sequence[int], source: str = "", draft_probs: Sequence[torch.Tensor] | None = None
    ) -> TokenTree:
        """A tree without branches."""
        return TokenTree(tokens, range(-1, len(tokens) - 1), draft_probs, source)

    @property
    def given(self) -> bool:
        """Whether no drafter proposed it: a controller, a grammar or the client did."""
        return self.source in ("expected", "prediction", "prior", "grammar")


EMPTY = TokenTree()
HEARD = 8
"""Tokens before a draft that listeners are told; see Verdict."""


def way_down(tokens: Sequence[int], parents: Sequence[int], node: int) -> list[int]:
    """The tokens of a tree from its root down to a node, itself included; none for -1.

    >>> way_down([5, 6, 7, 8], [-1, 0, 0, 2], 3)
    [5, 7, 8]
    """
    path: list[int] = []
    while node >= 0:
        path.append(tokens[node])
        node = parents[node]
    return path[::-1]


class Drafting(Enum):
    """How drafters choose tokens when the target samples; a verifier says which of these it can judge.

    Greedy requests and drafters that know no distribution propose the likeliest tokens under any of them. Under
    ``REPEAT`` the number of a node's children must not depend on which tokens they are, or on what is below them:
    verifiers weigh every sibling by how many there are.
    """

    FORESEE = "guess the token that the target will draw, whose random numbers are known"
    SAMPLE = "draw from the draft distribution; siblings without replacement"
    REPEAT = "draw from the draft distribution; siblings independently, a token may come twice"


@dataclass(slots=True)
class Latest:
    """What the target was thinking when it chose the last token of a request. Kept up by the loop alone.

    ``hidden [width]`` is its last hidden state, the input of the output head, at the token *before* the last one: the
    state that the last token was drawn from. ``embedding [width]`` is the target's own of that last token. Both are
    None while the target has not had the last word: before the first pass, and after a controller took text back or
    wrote some.
    """

    hidden: torch.Tensor | None = None
    embedding: torch.Tensor | None = None

    def forget(self) -> None:
        """The text goes on from another token."""
        self.hidden = self.embedding = None


@dataclass(slots=True)
class Context:
    """What a policy may read of a request while it runs. Owned and written by the loop alone."""

    request: Request
    tokens: list[int]
    """Prompt and committed output; the last one is not yet in the target's cache."""
    draws: Draws
    """The request's random numbers, keyed by position (see Draws)."""
    prompt_length: int
    drafting: Drafting = Drafting.SAMPLE
    """How draft tokens are chosen when the target samples: what the verifier asks for."""
    ends: Collection[int] = ()
    """Tokens that end the output; nothing is worth drafting below one."""
    expected: Sequence[int] = ()
    """Tokens that a controller expects next (e.g. the answer a probe has just seen); a free draft."""
    latest: Latest | None = None
    """What the target was thinking last; None where no policy asked for it (see Needs.target_hidden)."""
    outputs: Callable[[int, Sequence[int]], torch.Tensor | None] | None = None
    """What layers of the target put out, ``[tokens, layers, width]``, at the tokens of the text from a given one on
    that are in its cache: normally all but the last. None in place of it where not all were kept; None where no drafter
    asked (see Drafter.reads_layers)."""
    slot: Callable[[], Slot] | None = None
    """The request's place in the target's cache, for drafters that draft with the target itself (Needs.target_parts);
    they leave it as it was. None in replays, which have no model."""
    ruled: Callable[[torch.Tensor, Sequence[int]], torch.Tensor] | None = None
    """What the request's logit rules make of logits ``[vocab]`` of the token after the committed text and these drafted
    ones; None without rules. A drafter that knows logits guesses what will be left of them."""

    @property
    def sampling(self) -> Sampling:
        """The request's sampling."""
        return self.request.sampling


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of one round: node ids of the accepted path in ``tree`` and the token that follows it.

    Drafters that listen (see Drafter.listens) are also given what the target thought: ``rows``, valid until the next
    pass, at the last committed token and at every node of the tree, refused or not; and ``before``, the last tokens
    of the text that the tree continues (``HEARD`` at most, the newest last). Others get None and nothing.
    """

    tree: TokenTree
    path: Sequence[int]
    next_token: int
    rows: TargetRows | None = field(default=None, compare=False)
    before: Sequence[int] = field(default=(), compare=False)

    @property
    def accepted(self) -> int:
        """Accepted draft tokens."""
        return len(self.path)

    @property
    def tokens(self) -> list[int]:
        """Accepted tokens and the one that follows."""
        return [self.tree.tokens[i] for i in self.path] + [self.next_token]


@dataclass(frozen=True, slots=True)
class Node:
    """A token that might be drafted, as a length policy sees it.

    ``depth`` counts from 0 at the first drafted token. ``probs`` is the draft distribution ``[vocab]`` at this
    position (after temperature and filters; the untempered softmax when greedy), or None when the drafter knows
    only ``confidence``, its own estimate of acceptance in [0, 1]. In a tree ``confidence`` is that of the very token
    that might be added, and ``path`` the drafter's probability of all tokens above it; a chain leaves it None.

    Where drafts are sampled (``Drafting.SAMPLE``, ``REPEAT``) nothing here depends on the value that will be drawn: to
    drop a token for what it is would bias the output. Where the target's draw is foreseen, ``confidence`` is that of
    the guess itself.

    ``hidden [width]`` is the last hidden state of the draft model, the input of its output head, at the token *above*
    this one (at depth 0 the last committed one). Drafters that are no model, or were not asked (see
    Needs.draft_hidden), leave it None.
    """

    depth: int
    probs: torch.Tensor | None
    confidence: float
    path: float | None = None
    hidden: torch.Tensor | None = None


class Go(Enum):
    """What a length policy says of a token that might be drafted."""

    STOP = "leave it out"
    LAST = "draft it, and nothing below it"
    ON = "draft it, and look further"


Judge = Callable[[Node], Go]
"""Asked before each further draft token; what comes after LAST is never looked at, which saves a draft pass."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the engine lends to drafters: the draft model, if there is one, and the tree shape to grow.

    ``vocab_size`` is the width of the target's logits; checkpoints of one family pad theirs differently.
    """

    draft_model: LanguageModel | None
    shape: TreeShape
    vocab_size: int
    pace: Pace = field(default_factory=Pace)
    """What rounds cost lately; the loop keeps it up to date."""
    embed: Callable[[Sequence[int]], torch.Tensor] | None = None
    """The target's own input embeddings ``[tokens, width]``; None of a model that does not show them."""
    target: RunsParts | None = None
    """The target, where part of its layers can draft; see Needs.target_parts."""
    own_head: Callable[[], BroughtHead] | None = None
    """The head that the target's checkpoint brings along; see models.base.BringsHead."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to draft, whole: who drafts, how many tokens, in which shape. ``text`` is how it was written."""

    drafter: Drafter
    length: LengthPolicy
    shape: TreeShape
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or "@".join(f"[{part.spec()}]" for part in (self.drafter, self.length, self.shape))


class Drafter(Policy):
    """Proposes tokens. One instance serves all requests; ``start`` gives each its own state."""

    @property
    def knows_distribution(self) -> bool:
        """Whether every proposed token comes with its draft distribution (see Needs.draft_distribution)."""
        return False

    @property
    def expands(self) -> bool:
        """Whether the drafter grows trees with a TreeShape (see Needs.expand)."""
        return False

    @property
    def knows_hidden(self) -> bool:
        """Whether nodes come with the hidden state of the draft model (see Needs.draft_hidden)."""
        return False

    def reads_layers(self, layers: int) -> Sequence[int]:
        """Which of the target's ``layers`` layers' outputs the drafter reads (Context.outputs), from 0; mostly none.

        For those that need it (Needs.target_layers).
        """
        return ()

    @property
    def listens(self) -> bool:
        """Whether this drafter, or one inside it, learns from what the target thinks (see Needs.target_rows).

        It then observes every round that wrote: those in which nothing was drafted or somebody else did, too.
        ``verdict.tree.source`` says whose draft it was.
        """
        return any(policy.needs.target_rows for policy in self.walk())

    @property
    def own_looks(self) -> int:
        """Passes so far of a network that this drafter runs itself: neither a draft model nor layers of the target."""
        return 0

    @cached_property
    def drafters_within(self) -> list[Drafter]:
        """This drafter, its parts and those of its arms, each once."""
        every = (*self.walk(), *(part for arm in self.choices for part in arm.drafter.walk()))
        return [each for each in {id(part): part for part in every}.values() if isinstance(each, Drafter)]

    @property
    def looks(self) -> int:
        """Those of this drafter and all in it. What rounds cost is learned from them as from a draft model's passes."""
        return sum(each.own_looks for each in self.drafters_within)

    @property
    def choices(self) -> Sequence[Arm]:
        """Ways to draft among which this drafter chooses round by round; none for those that know one way.

        Such a drafter decides lengths and shapes itself: the engine checks each arm as if it were the run's own, and
        gives it all the room there is (see Room).
        """
        return ()

    def start(self, context: Context, tools: Tools) -> Any:
        """State of one request. ``context`` stays valid and is updated by the loop."""
        raise NotImplementedError

    def propose(self, states: Sequence[Any], budgets: Sequence[int], judges: Sequence[Judge | None]) -> list[TokenTree]:
        """At most ``budgets[i]`` nodes for each request; an empty tree is always a valid answer."""
        raise NotImplementedError

    def observe(self, states: Sequence[Any], verdicts: Sequence[Verdict]) -> None:
        """Learn from a round; ``context.tokens`` already holds what was committed. May do nothing.

        Called for rounds in which this drafter drafted; where it ``listens``, for every round.
        """

    def credit(self, states: Sequence[Any], tokens: int, seconds: float) -> None:
        """Learn what a round has brought: after every one in which ``propose`` was asked about ``states``.

        All requests together wrote ``tokens`` in ``seconds``, those of the whole round less what prompts took; 0 where
        the time tells nothing (the first pass of a process). Called after ``observe``, also where nothing was drafted.
        """

    def complete(
        self, state: Any, base: int, tokens: Sequence[int], most: int, ends: Callable[[int], bool]
    ) -> list[int]:
        """What may follow the first ``base`` tokens of the context and ``tokens`` (at least one): a guess at an answer.

        At most ``most`` tokens, up to and with the first for which ``ends``. Empty from drafters that cannot say, or
        not in time: a guess changes what a probe costs, never what it finds.
        """
        return []

    def finish(self, state: Any) -> None:
        """Release what the state holds (cache slots, shared-store entries)."""

    def release(self) -> None:
        """Let go of the models that it was used with. No request is at work; what was learned of texts stays."""


def layers_read(drafter: Drafter, layers: int) -> list[int]:
    """All of the target's ``layers`` layers that a drafter, its parts or its arms read (Drafter.reads_layers)."""
    return sorted({layer for part in drafter.drafters_within for layer in part.reads_layers(layers)})


class LengthPolicy(Policy):
    """Decides how many tokens to draft for one request."""

    @property
    def judges(self) -> bool:
        """Whether ``go_on`` decides anything."""
        return type(self).go_on is not LengthPolicy.go_on

    def judge(self, state: Any) -> Judge | None:
        """What drafters shall ask in the coming round; None where every token is drafted, which costs them less."""
        return partial(self.go_on, state) if self.judges else None

    def start(self, context: Context, pace: Pace) -> Any:
        """State of one request. ``pace`` says what rounds cost lately; the loop keeps it up to date."""
        raise NotImplementedError

    def budget(self, state: Any) -> int:
        """Most tokens to draft in the coming round; 0 means decode plainly."""
        raise NotImplementedError

    def budgets(self, states: Sequence[Any]) -> list[int]:
        """``budget`` for every request that may draft in the coming round: where load decides, it decides here."""
        return [self.budget(state) for state in states]

    def select(self, states: Sequence[Any], trees: Sequence[TokenTree]) -> list[TokenTree]:
        """What of the drafts shall be scored, all requests considered; as ``go_on``, blind to sampled values."""
        return list(trees)

    def go_on(self, state: Any, node: Node) -> Go:
        """Whether to draft the token at ``node`` too.

        Along a chain the questions come in order, and one about depth 0 begins a new round.
        """
        return Go.ON

    def observe(self, state: Any, verdict: Verdict, seconds: float) -> None:
        """Learn from a round that took ``seconds``; called only for rounds that drafted."""


class Room(LengthPolicy):
    """All the room there is: the length policy of a drafter that decides lengths itself (see Drafter.choices)."""

    card = Card(paper="laconic's own", lossless=True)
    name = "by-arm"

    def start(self, context: Context, pace: Pace) -> None:
        """Nothing to remember."""

    def budget(self, state: None) -> int:
        """More than any request has room for."""
        return sys.maxsize


class Row(Protocol):
    """What a drafter thinks may come after one node.

    ``best``, ``confidence`` and ``top`` speak of the token that the target will take: under ``Drafting.FORESEE`` they
    know the random numbers that it will be drawn with, ``probs`` never does.
    """

    @property
    def best(self) -> int | None:
        """The likeliest next token; None if the drafter has nothing to propose here."""
        ...

    @property
    def confidence(self) -> float:
        """Probability of ``best``: the drafter's own estimate that the target takes it."""
        ...

    @property
    def probs(self) -> torch.Tensor | None:
        """Distribution ``[vocab]`` after the request's sampling (untempered softmax when greedy), if known."""
        ...

    def top(self, k: int) -> list[tuple[int, float]]:
        """The ``k`` likeliest tokens with their probabilities, best first; fewer if fewer are known."""
        ...


def hidden_of(row: Row) -> torch.Tensor | None:
    """The hidden state ``[width]`` that a row was made of; None for rows of drafters that are no model."""
    return getattr(row, "hidden", None)


Expand = Generator[list[int], Sequence[Row], TokenTree]
"""Yields node ids (-1 is the last committed token), receives one Row for each, returns the tree."""


class TreeShape(Policy):
    """Decides which nodes a drafter that can expand shall grow.

    ``grow`` is a generator so that a drafter can advance the trees of many requests in one pass: it yields the
    nodes whose next tokens it wants, receives one Row for each, and returns the tree. Nodes must have been added to
    ``nodes`` before they are yielded, so that the drafter knows their tokens. A shape that keeps only some of what it
    grew returns a tree that counts anew, with ``rows`` by its own ids.
    """

    def grow(self, nodes: Grown, budget: int, context: Context, judge: Judge | None) -> Expand:
        """Grow ``nodes`` to at most ``budget`` tokens and return them as a tree."""
        raise NotImplementedError


@dataclass(slots=True)
class Grown:
    """A tree under construction, shared by a shape (which adds nodes) and a drafter (which scores them)."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)

    def add(self, token: int, parent: int) -> int:
        """Append a node and return its id."""
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.below(parent))
        return len(self.tokens) - 1

    def below(self, node: int) -> int:
        """Depth of the children of ``node``: 0 below the last committed token, -1."""
        return 0 if node < 0 else self.depths[node] + 1


class TargetRows:
    """Target logits of one request: row 0 at the last committed token, row i + 1 at node i of the draft.

    ``best[i]`` is the argmax of row i; ``probs`` the distribution ``[rows, vocab]`` after the request's
    temperature and filters, computed on first use. ``hidden [rows, width]`` are the states that the logits are made
    of, where a policy looks at them.
    """

    __slots__ = ("_probs", "_soft", "best", "hidden", "instated", "logits", "position", "sampling")

    def __init__(
        self,
        logits: torch.Tensor,
        best: Sequence[int],
        sampling: Sampling,
        position: int,
        hidden: torch.Tensor | None = None,
    ) -> None:
        self.logits = logits
        """As the request's rules leave them, ``[rows, vocab]``, in the model's number format."""
        self.hidden = hidden
        self._probs: torch.Tensor | None = None
        self._soft: torch.Tensor | None = None
        self.best = best
        self.sampling = sampling
        self.position = position
        """Index in the sequence of the token that row 0 predicts; keys the random draws."""
        self.instated = False
        """Whether other distributions stand in place of what the target thinks (:meth:`instead`)."""

    def draw(self, row: int, draws: Draws, position: int) -> int:
        """The token that plain decoding draws from ``row`` at ``position``; other long rows are not looked at."""
        if self.instated or self.logits.shape[-1] < WIDE:
            return draws.pick(self.probs[row], position)
        return draws.draw(self.logits[row], self.sampling, position)

    def after(self, row: int) -> torch.Tensor:
        """One row of ``probs``, ``[vocab]``, without the others."""
        return self.probs[row] if self._probs is not None else warp(self.logits[row], self.sampling)

    def soft_after(self, row: int) -> torch.Tensor:
        """One row of ``soft``, ``[vocab]``, without the others."""
        if not self.sampling.greedy:
            return self.after(row)
        return self._soft[row] if self._soft is not None else self.logits[row].float().softmax(-1)

    @property
    def probs(self) -> torch.Tensor:
        """Target distribution of each row, ``[rows, vocab]``, float32."""
        if self._probs is None:
            self._probs = warp(self.logits, self.sampling)
        return self._probs

    @property
    def soft(self) -> torch.Tensor:
        """What the target thinks, ``[rows, vocab]``: ``probs`` when sampling, the untempered softmax when greedy."""
        if not self.sampling.greedy:
            return self.probs
        if self._soft is None:
            self._soft = self.logits.float().softmax(-1)
        return self._soft

    def instead(self, soft: torch.Tensor) -> TargetRows:
        """These rows with ``soft [rows, vocab]`` in place of what the target thinks."""
        rows = TargetRows(soft.log(), soft.argmax(-1).tolist(), self.sampling, self.position, self.hidden)
        rows._soft = soft
        rows._probs = warp(rows.logits, self.sampling) if self.sampling.greedy else soft
        rows.instated = True
        return rows


class Verifier(Policy):
    """Decides which drafted tokens stand, and draws the token after them."""

    @property
    def drafting(self) -> Drafting:
        """How draft tokens must be chosen for ``verify`` to be exact."""
        return Drafting.SAMPLE

    def verify(self, rows: TargetRows, tree: TokenTree, draws: Draws) -> Verdict:
        """Walk down ``tree``. Lossless verifiers leave the target's distribution exactly as it is."""
        raise NotImplementedError


class Transform(Policy):
    """Makes another distribution of the target's and the draft's: the one that the output shall have."""

    def apply(self, target: torch.Tensor, draft: torch.Tensor) -> torch.Tensor:
        """``[rows, vocab]`` probabilities from two of the same shape.

        Both are what the request's sampling draws from, or untempered when greedy; greedy requests then take the
        likeliest token of the result.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Refused:
    """A drafted ``token`` that an exact verifier refused, with all siblings.

    ``target [vocab]`` is what the request's sampling draws from, or untempered when greedy; ``draft`` the distribution
    that the token was drawn from, None where it was not drawn. ``hidden [width]`` is the target's hidden state at the
    token itself, which has read it; None unless a policy's ``needs`` say that it looks at hidden states.
    """

    token: int
    target: torch.Tensor
    draft: torch.Tensor | None = None
    hidden: torch.Tensor | None = None

    @property
    def p(self) -> float:
        """Probability of the token under ``target``."""
        return float(self.target[self.token])

    @property
    def q(self) -> float:
        """Probability of the token under ``draft``; 1 where it was not drawn."""
        return 1.0 if self.draft is None else float(self.draft[self.token])


class Relaxation(Policy):
    """Lets stand what an exact verifier refuses. Every relaxation is lossy and says so in its card."""

    def chance(self, refused: Refused) -> float:
        """Probability with which a refused token stands all the same."""
        raise NotImplementedError
