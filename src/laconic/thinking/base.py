"""Contract of thinking control: a controller looks at the thought at step boundaries and says what to do.

Before a request begins, every controller may rewrite what is asked (``prepare``), or name others to act in its place
(``resolve``). While it runs, the loop asks every controller, in the order given, at each *check point*: the end of a
step, the moment a controller's own ``limit`` is reached, or, for those that mind it (``closing``), the end of the
thought. The first action other than Continue wins. A Probe is answered by the model
(as a branch of a later verification pass, or in a pass of its own), after which ``decide`` is called again for the
same check point with ``view.belief`` set. What was written meanwhile is taken back if the decision is to conclude,
so that the outcome depends on the thought up to the check point and on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch

from laconic.models.text import Text
from laconic.policy import Policy
from laconic.types import Logprob, Question, Request

Closing = Literal["", "tag", "end"]
"""How a thought is about to end: not at all, with the closing tag, or with the end of the text and no tag."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Think on."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Close the thought: ``text``, then the model's closing tag. The model writes the answer.

    ``expected`` is what the controller thinks the model will write first; a draft, never forced.
    """

    reason: str
    text: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Inject:
    """Write ``text`` into the thought and think on."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask what the model would answer if the thought ended here.

    The loop closes the thought with the model's own tag and adds ``text``, which opens the answer. The model's greedy
    continuation is followed until it writes ``stop`` (a closing brace counts once braces are balanced) or
    ``max_tokens`` tokens. ``guess`` is the expected answer: it changes the cost, never the belief. ``hopeless`` says of
    the probabilities of the answer's first tokens whether any more of it could matter; where not, the probe ends there,
    and its belief is not ``complete``.

    ``close=False`` leaves the thought open: ``text`` goes on in it, and what is asked is what the model would write
    next. Without any ``text`` that is the very next token. ``watch`` is a word (or a tag) to keep an eye on: the belief
    then says how likely its first token was as the first token of the answer.
    """

    text: str
    stop: str
    guess: str = ""
    max_tokens: int = 24
    hopeless: Callable[[Sequence[float]], bool] | None = None
    close: bool = True
    watch: str = ""

    @property
    def opens(self) -> str:
        """The brace that begins the answer where ``text`` ends at a command: it may be one token with what follows."""
        return "{" if self.stop == "}" and self.text.endswith("\\boxed") else ""

    def bare(self, written: str, complete: bool) -> str:
        """The answer in what was written, without its brace and the stop string."""
        answer = written[: written.rfind(self.stop)] if complete and self.stop in written else written
        return answer.strip().removeprefix(self.opens).strip()


Action = Continue | Conclude | Inject | Probe


class Watched(NamedTuple):
    """How likely a watched token was: its probability, and its rank among all tokens (0 is the likeliest)."""

    prob: float
    rank: int


@dataclass(frozen=True, slots=True)
class Belief:
    """What a probe found: the greedy answer and the probability of each of its tokens.

    ``complete`` is False when ``max_tokens``, or no hope, came before the stop string. ``passes`` are those it rode on.
    ``watched`` is None where nothing was. ``hidden [width]`` is the target's last hidden state where the answer begins,
    for controllers that need ``target_hidden``.
    """

    answer: str
    probs: tuple[float, ...]
    entropies: tuple[float, ...]
    complete: bool
    passes: int
    watched: Watched | None = None
    hidden: torch.Tensor | None = None

    def until(self, hopeless: Callable[[Sequence[float]], bool] | None) -> Belief:
        """What the same probe finds that ends where ``hopeless`` says so; the answer's text is left as it is."""
        size = given_up(self.probs[:-1], hopeless)
        if size is None:
            return self
        return replace(self, probs=self.probs[:size], entropies=self.entropies[:size], complete=False)

    def confidence(self) -> float:
        """Geometric mean of the token probabilities, as in DEER; 0 for an empty answer."""
        if not self.probs:
            return 0.0
        return math.exp(sum(math.log(max(p, 1e-30)) for p in self.probs) / len(self.probs))


def given_up(probs: Sequence[float], hopeless: Callable[[Sequence[float]], bool] | None) -> int | None:
    """After how many of an answer's tokens, so probable, there is no hope any more; None if there always is."""
    if hopeless is None:
        return None
    return next((size for size in range(1, len(probs) + 1) if hopeless(probs[:size])), None)


@dataclass(frozen=True, slots=True)
class View:
    """A request's thought at a check point.

    ``thinking`` counts thinking tokens so far (model-written), ``steps`` holds the text of finished steps,
    ``boundary`` says whether this point ends a step, ``belief`` is the answer to the Probe asked at this very point.
    ``written`` are all tokens after the prompt. ``chances`` are the model's probabilities of them, for controllers that
    need them: before temperature and filters, 1 for a token that was injected, and none for tokens that are only
    drafted (see ``Controller.will_ask``). ``closing`` says that the model has just ended its thought: the point
    is the one before that, so that text which is injected here takes the place of the closing tag.
    """

    thinking: int
    steps: Sequence[str]
    boundary: bool
    belief: Belief | None = None
    written: Sequence[int] = ()
    closing: Closing = ""
    chances: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a token is about to be written, as a logit rule sees it.

    ``thinking`` and ``answer`` count what the model has written of each, ``step`` the tokens since the last blank line
    of the thought; ``tokens`` are prompt and output before this place, to be read at once and not kept. ``answer_from``
    is where among them the reply to the user begins, behind the closing tag; -1 in a thought and beside it.
    """

    phase: str
    thinking: int
    answer: int
    step: int
    tokens: Sequence[int]
    answer_from: int = -1


LogitRule = Callable[[torch.Tensor, Place], torch.Tensor | None]
"""Logits ``[vocab]`` of a place in, other ones out; None leaves them. A pure function of its arguments: it is asked
about places that drafts lead to and that may never come."""


def ruled(rules: Sequence[LogitRule], logits: torch.Tensor, place: Place) -> torch.Tensor:
    """Logits ``[vocab]`` after every rule in turn."""
    for rule in rules:
        changed = rule(logits, place)
        logits = logits if changed is None else changed
    return logits


@dataclass(frozen=True, slots=True)
class Ban:
    """A LogitRule that rules out tokens and does no more than that: a server can be made to keep to it, too.

    ``banned`` names the tokens that must not stand in a place. Where the logits allow no others, they stay.
    """

    banned: Callable[[Place], Sequence[int]]

    def __call__(self, logits: torch.Tensor, place: Place) -> torch.Tensor | None:
        """No probability for these tokens."""
        tokens = self.banned(place)
        if not tokens:
            return None
        changed = logits.clone()
        changed[list(tokens)] = -math.inf
        return changed if changed.max() > -math.inf else None


class Reader(Protocol):
    """What can be learned about a question before its first token is written.

    Answers depend on the question alone, not on what else is in flight. Each costs a pass over the prompt, or several;
    the result's events say how many (``reader``), its usage does not count them.
    """

    def hidden(self, question: Question) -> torch.Tensor:
        """The target's last hidden state ``[width]`` at the prompt's last token; for who needs ``target_hidden``."""
        ...

    def chances(self, question: Question, options: Sequence[str]) -> list[float]:
        """How likely the first token of each of ``options`` is as the first token of the reply, among all tokens.

        Temperature and filters of the question do not count, and whether it may think does. Raises RequestError for
        options that begin with the same token.
        """
        ...

    def thought(self, question: Question) -> float:
        """How likely the reply is to begin with a thought, by the first token of the opening tag.

        Raises UnmetNeed where the template has opened the thought already.
        """
        ...

    def answer(self, question: Question, probe: Probe) -> Belief:
        """What the model would answer at once: ``probe`` asked at the end of the prompt, ``close=False`` as a rule."""
        ...

    def write(self, question: Question, max_tokens: int) -> str:
        """The model's greedy answer, of at most so many tokens, its thought (if the question allows one) included."""
        ...


def chances(logits: torch.Tensor, tokens: Sequence[int]) -> list[float]:
    """Probabilities of ``tokens`` under ``logits [tokens, vocab]``, row by row."""
    chosen = torch.tensor(tokens, device=logits.device)[:, None]
    found: list[float] = logits.float().log_softmax(-1).gather(1, chosen)[:, 0].exp().tolist()
    return found


def logprobs(logits: torch.Tensor, tokens: Sequence[int], most: int) -> list[Logprob]:
    """How likely ``tokens`` were under ``logits [tokens, vocab]``, and the ``most`` likeliest in each place."""
    rows = logits.float().log_softmax(-1)
    best, which = rows.topk(min(most, rows.shape[-1]))
    own = rows.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    tops = (tuple(zip(ids, values, strict=True)) for ids, values in zip(which.tolist(), best.tolist(), strict=True))
    return [Logprob(token, value, top) for token, value, top in zip(tokens, own, tops, strict=True)]


class Controller(Policy):
    """Decides, at check points of the thought, whether and how it goes on."""

    asks: ClassVar[bool] = False
    """Whether ``decide`` may answer with a Probe."""

    @property
    def closing(self) -> bool:
        """Whether ``decide`` is to be asked when the model ends its thought."""
        return False

    def resolve(self, question: Question, reader: Reader) -> Sequence[Controller]:
        """Who acts on this question: this controller, or those that it chooses for it.

        ``reader`` asks the model that will answer; whoever wants hidden states says so in ``needs``.
        """
        return (self,)

    def prepare(self, question: Question) -> Question:
        """What is asked in the question's place."""
        return question

    def start(self, request: Request, text: Text) -> Any:
        """State of one request. Raises RequestError if the request leaves no room for this controller."""
        raise NotImplementedError

    def rule(self, state: Any) -> LogitRule | None:
        """A rule that every row of logits passes through before a token is chosen; None for none.

        The rules of several controllers are applied in their order. Probes see the model's own logits.
        """
        return None

    def steering(self, state: Any) -> Mapping[int, torch.Tensor] | None:
        """What is added to the target's residual stream, ``[hidden]`` behind each of these layers; None for nothing.

        It is settled as the request begins and holds from the prompt's last token on, for thought, answer and probes.
        The vectors of several controllers add up. Controllers that have any need ``steerable``.
        """
        return None

    def answer_limit(self, state: Any) -> int | None:
        """Tokens of the answer after which the request ends; None for no such limit."""
        return None

    def limit(self, state: Any) -> int | None:
        """Thinking tokens after which ``decide`` must be called even inside a step; None for never."""
        return None

    def decide(self, state: Any, view: View) -> Action:
        """What to do at this check point."""
        raise NotImplementedError

    def will_ask(self, state: Any, view: View) -> Probe | None:
        """The Probe that ``decide`` would return at this point, which may never come; None for none, or if unknown.

        Asked about the end of a step that is only drafted, so that the probe can ride on the pass that verifies it.
        Must leave the state alone; the answer changes what a probe costs, never what is decided.
        """
        return None
