"""One request in flight: its tokens, cache slot, method states, open check points, and what came of it."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch

from laconic.grammar.held import Held
from laconic.landing import landing
from laconic.models.base import Reduced, Scores, ScoreTree, Slot
from laconic.models.past import FOREVER
from laconic.models.text import Text
from laconic.prediction import Prediction, Prior
from laconic.probe import Ride, bounded
from laconic.speculation.base import EMPTY, Context, TokenTree, way_down
from laconic.speculation.draws import Draws
from laconic.speculation.penalty import sampling_rules
from laconic.thinking.base import Ban, Belief, Closing, Controller, LogitRule, Place, View, ruled
from laconic.thinking.budget.tag import owed, owes_a_reply
from laconic.transcript import Mark, Parts, Snapshot, Transcript
from laconic.types import Event, FinishReason, Logprob, Origin, Request, Result, Step, Usage

_UTF8 = 4
"""Most tokens that one character can be spread over."""


@dataclass(slots=True)
class CheckPoint:
    """A place in the thought where the controllers are asked. ``turn`` is whose answer is awaited.

    ``hard`` marks a controller's own limit: nothing may be written beyond it before the decision. ``closing`` marks the
    point before the model ended its thought, ``left`` what of the thought stood in the tokens that ended it. ``lands``
    says that the thought must end here for want of room, unless a controller ends it.
    """

    point: Snapshot
    boundary: bool
    hard: bool
    closing: Closing = ""
    left: str = ""
    lands: bool = False
    turn: int = 0
    belief: Belief | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """A probe asked ahead of its check point: below the node of the draft that would end a step of the thought.

    ``point`` is the length of the text there, ``turn`` the place in the order of the controller that will ask.
    """

    ride: Ride
    node: int
    point: int
    turn: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A probe's branch in the pass under way, below the first ``point`` tokens of the text.

    ``index`` says whose rows of ``scores`` are meant, ``first`` which of them is the first of ``tokens``.
    """

    scores: Scores
    index: int
    first: int
    tokens: list[int]
    point: int


class Sequence:
    """State of one request between passes.

    The loop (here or over a server) moves it on, its prober keeps the probes, and the engine writes down whether the
    result is lossless. Policies never see it.
    """

    def __init__(
        self, request: Request, text: Text, slot: Slot, controllers: Seq[Controller], context: int = 1 << 40
    ) -> None:
        self.request = request
        self.text = text
        self.slot = slot
        tokens = list(request.prompt)
        self.context = Context(request, tokens, Draws(request.sampling.seed), len(tokens))
        self.transcript = Transcript(text, request, tokens, keep_steps=bool(controllers))
        self.controllers = [(controller, controller.start(request, text)) for controller in controllers]
        self.foretells = any(type(controller).will_ask is not Controller.will_ask for controller in controllers)
        """Whether a controller may say beforehand what it will ask."""
        self.limit = self._next_limit()
        self.held = Held(request.grammar, text) if request.grammar is not None else None
        """What holds the answer to the request's grammar."""
        self._owed: Ban | None = None
        self.rules: list[LogitRule] = []
        self._rule()
        answers = (controller.answer_limit(state) for controller, state in self.controllers)
        self.answer_limit = min((most for most in answers if most is not None), default=None)
        self.landing = landing(request, text, context, self.answer_limit)
        """Where the loop itself ends the thought, to leave room for the answer."""
        if owes_a_reply(request, text) and self.transcript.phase in ("before", "answer"):
            self.owe()
        needed = any(policy.needs.chances for controller in controllers for policy in controller.walk())
        self.chances: list[float] | None = [] if needed else None
        """The model's probability of each token after the prompt, where a controller needs to know."""
        self.origins: list[Origin] = []
        """Where the tokens after the prompt came from; those at the end that are not listed are the target's."""
        self.logprobs: dict[int, Logprob] = {}
        """Those of tokens, by their place in the text, where the request asks for them."""
        self.prediction = Prediction(request.prediction) if request.prediction else None
        self.prior = Prior(request.prior) if request.prior else None
        self.beliefs: list[tuple[int, Belief]] = []
        """What probes have found, each with the thinking tokens written by then."""
        self.ending = ""
        """Why somebody outside wants the thought to end as soon as it can; empty where nobody does."""
        self.checks: deque[CheckPoint] = deque()
        self.ride: Ride | None = None
        """The probe of the oldest check point."""
        self.ahead: Ahead | None = None
        self.branch: Branch | None = None
        """The probe's branch that the pass under way has scored."""
        self.path: list[int] = []
        """Nodes of the pass under way that hold the tokens beyond the cache, as far as they were scored."""
        self.finish: FinishReason | None = None
        self.usage = Usage(prompt=len(tokens))
        self.events: list[Event] = list(request.events)
        self.lossless = True
        self.taken = 0
        """Tokens after the prompt that another request has written (:meth:`follow`)."""
        self._cache_bytes = 0
        self.reduces = False
        """Whether a kv policy says what of its cache stays."""
        self.begun = False
        """Whether it has joined a loop before."""
        self.drafter_state: Any = None
        self.length_state: Any = None
        self.tree: TokenTree = EMPTY
        """The draft of the pass under way."""
        self._sent, self._text = len(tokens), ""
        self._sent_usage = (0, 0)
        self._sent_at = time.perf_counter()
        self._writers: list[tuple[int, str]] = []

    @property
    def tokens(self) -> list[int]:
        """Prompt and output."""
        return self.context.tokens

    @property
    def pending(self) -> int:
        """Tokens at the end that are not in the target's cache yet; at least one between passes."""
        return len(self.tokens) - self.slot.length

    @property
    def generated(self) -> int:
        """Tokens after the prompt, injected ones included."""
        return len(self.tokens) - self.context.prompt_length

    @property
    def done(self) -> bool:
        """Whether nothing can change the output any more."""
        return self.finish == "cancelled" or (self.finish is not None and not self.checks)

    def room(self, context: int) -> int:
        """Draft tokens that could still be kept, if every one were accepted."""
        left = self.left(context) - 1
        if self.limit is not None and self.transcript.phase == "thinking":
            left = min(left, self.limit - self.transcript.thinking - 1)
        if self.landing is not None and self.transcript.phase == "thinking":
            left = min(left, self.landing.at - self.generated - 1)
        if self.answer_limit is not None and self.transcript.phase in ("before", "answer"):
            left = min(left, self.answer_limit - self.transcript.answer - 1)
        return max(min(left, self.space - self.pending), 0)

    @property
    def space(self) -> int:
        """Tokens that may be committed before the cache must be reduced."""
        return cast(Reduced, self.slot).room if self.reduces else FOREVER

    def places(self) -> Iterator[tuple[int, Place]]:
        """Where the tokens after each node of the draft would be written (-1: after the committed text)."""
        transcript, before = self.transcript, -1
        with transcript.supposing() as here:
            for node in range(-1, len(self.tree)):
                if node >= 0:
                    if self.tree.parents[node] == before:
                        transcript.push(self.tree.tokens[node])
                    else:
                        transcript.restore(here)
                        for token in self.path_to(node):
                            transcript.push(token)
                before = node
                yield node, transcript.place()

    def ruled(self, logits: torch.Tensor, path: Seq[int]) -> torch.Tensor:
        """What the rules make of logits of the token after the committed text and the tokens of ``path``."""
        with self.transcript.supposing():
            for token in path:
                self.transcript.push(token)
            return ruled(self.rules, logits, self.transcript.place())

    def path_to(self, node: int) -> list[int]:
        """The drafted tokens down to a node, itself included."""
        return way_down(self.tree.tokens, self.tree.parents, node)

    def nodes(self) -> ScoreTree:
        """What the next pass shall score: uncached tokens, the draft below them, and the probe's branch."""
        pending = self.tokens[self.slot.length :]
        tokens = [*pending, *self.tree.tokens]
        last = len(pending) - 1
        parents = [*range(-1, last), *(p + len(pending) if p >= 0 else last for p in self.tree.parents)]
        riding = self.riding
        if riding is None:
            return ScoreTree(tokens, parents)
        branch, start, cached = riding.branch, len(tokens), False
        if self.ahead is not None:
            root = self.ahead.node + len(pending)
            root = parents[root] if riding.back else root
        else:
            length = self.checks[0].point.length - riding.back
            cached = length <= self.slot.length
            root = -1 if cached else length - self.slot.length - 1
        parents += [root, *range(start, start + len(branch) - 1)]
        bases = [-1] * start + [length] + [-1] * (len(branch) - 1) if cached else ()
        return ScoreTree(tokens + branch, parents, bases)

    @property
    def riding(self) -> Ride | None:
        """The probe whose branch is part of the pass under way, if there is one."""
        return self.ride if self.ahead is None else self.ahead.ride

    def commit(self) -> None:
        """Keep in the cache what the pass under way has scored of the text, all but the last token."""
        if path := self.path[: min(len(self.tokens) - 1 - self.slot.length, self.space)]:
            self.slot.commit(path)
        self.path, self.branch = [], None
        if self._owed is not None and not self._owed.banned(self.transcript.place()):
            self.rules.remove(self._owed)
            self._owed, self.context.ruled = None, self.ruled if self.rules else None

    @contextmanager
    def supposing(self) -> Iterator[None]:
        """What is written and decided within is undone at the end, method states included.

        Nothing may be taken back from before it. Whoever decides within first asks for :meth:`own_states`.
        """
        kept = self.controllers, self.limit, list(self.rules), self._owed, self.finish
        context = self.context.ruled, self.context.expected
        events, writers = len(self.events), len(self._writers)
        try:
            with self.transcript.supposing():
                yield
        finally:
            self.controllers, self.limit, self.rules, self._owed, self.finish = kept
            self.context.ruled, self.context.expected = context
            del self.events[events:], self._writers[writers:]
            self.checks.clear()

    def follow(self, other: Sequence, count: int) -> None:
        """Begin with the first ``count`` tokens that another request has written after the same prompt.

        Nothing may have been written here. Both have the same controllers in their order, which go on from copies of
        the other's states, where that has written no more. Those tokens are the other's in every count.
        """
        begun = other.context.prompt_length
        for token, kind in zip(other.tokens[begun : begun + count], other.transcript.kinds, strict=False):
            self.transcript.push(token, injected=kind == "injected")
        if self.chances is not None and other.chances is not None:
            self.chances += other.chances[:count]
        self.origins = list(other.origins[:count])
        self.logprobs = {at: said for at, said in other.logprobs.items() if at < len(self.tokens)}
        self.events += [e for e in other.events[len(other.request.events) :] if e.tokens <= count]
        if count == other.generated:
            pairs = zip(self.controllers, other.controllers, strict=True)
            self.controllers = [(mine, copy.deepcopy(theirs)) for (mine, _), (_, theirs) in pairs]
            self._rule()
        self.taken = count
        self.limit = self._next_limit()

    def _rule(self) -> None:
        """What becomes of logits: by the sampling, the controllers, the grammar, and the reply that is owed."""
        said = (controller.rule(state) for controller, state in self.controllers)
        mine = [*sampling_rules(self.request.sampling, self.context.prompt_length), *said, self.held, self._owed]
        self.rules = [rule for rule in mine if rule is not None]
        self.context.ruled = self.ruled if self.rules else None

    def own_states(self) -> None:
        """Go on with copies of the methods' states."""
        self.controllers = [(controller, copy.deepcopy(state)) for controller, state in self.controllers]

    def next_probe(self, context: int) -> Ahead | None:
        """The probe that a controller will ask for at the first end of a step along the draft, if one says so now."""
        transcript, tip, mark = self.transcript, -1, Mark.NONE
        with transcript.supposing():
            for node, parent in enumerate(self.tree.parents):
                if transcript.phase == "answer" or mark is not Mark.NONE:
                    break
                if parent == tip:  # of several children the first, which is the likeliest
                    tip, mark = node, transcript.push(self.tree.tokens[node])
            if mark is not Mark.STEP:
                return None
            point = transcript.snapshot()
            view = self.view(CheckPoint(point, True, False))
            asked = ((turn, c.will_ask(state, view)) for turn, (c, state) in enumerate(self.controllers))
            turn, probe = next(((turn, probe) for turn, probe in asked if probe is not None), (0, None))
            probe = None if probe is None else bounded(probe, self.text, point.length, context)
            if probe is None:
                return None
            return Ahead(Ride(probe, self.text, self.tokens[-1]), tip, point.length, turn)

    def view(self, check: CheckPoint) -> View:
        """What a controller sees at a check point."""
        point, prompt = check.point, self.context.prompt_length
        steps, written = self.transcript.steps[: point.steps], self.tokens[prompt : point.length]
        chances = self.chances[: point.length - prompt] if self.chances is not None else ()
        return View(point.thinking, steps, check.boundary, check.belief, written, check.closing, chances)

    def take_back(self, point: Snapshot) -> None:
        """Return to ``point``: text, counters and cache."""
        self.transcript.restore(point)
        if self.chances is not None:
            del self.chances[point.length - self.context.prompt_length :]
        del self.origins[point.length - self.context.prompt_length :]
        self.logprobs = {at: said for at, said in self.logprobs.items() if at < point.length}
        del self.path[max(point.length - self.slot.length, 0) :]
        self.slot.rollback(max(self.slot.length - point.length, 0))
        self.finish = None

    def inject(self, text: str, method: str, context: int, most: int | None = None) -> None:
        """Write ``text`` into the sequence by force, as far as the limits allow; it is scored with the next pass.

        No more than ``most`` tokens of it, where that is given.
        """
        self._writers.append((len(self.tokens), method))
        before = self.generated
        for token in self.text.encode(text)[:most]:
            if self.full(context):
                break
            self.transcript.push(token, injected=True)
            if self.chances is not None:
                self.chances.append(1.0)
        self.came(self.generated - before, "injected")

    def came(self, count: int, origin: Origin) -> None:
        """Note where the last ``count`` tokens came from."""
        self.origins += ["target"] * (self.generated - count - len(self.origins))
        self.origins += [origin] * count

    def full(self, context: int) -> bool:
        """Whether the request's limits, or the model's context, leave no room for another token."""
        answered = self.answer_limit is not None and self.transcript.answer >= self.answer_limit
        return answered or self.generated >= self.request.limits.max_new_tokens or len(self.tokens) >= context

    def left(self, context: int) -> int:
        """Tokens that the request's limit and the model's context leave."""
        return min(self.request.limits.max_new_tokens - self.generated, context - len(self.tokens))

    def lands(self, *, boundary: bool) -> bool:
        """Whether the open thought must end here; ``boundary`` where a step of it has just ended."""
        return self.landing is not None and self.landing.due(self.generated, boundary=boundary)

    def owe(self) -> None:
        """Rule out end tokens until something is written behind this point: of the answer, or of the whole reply."""
        if self._owed is not None:
            if self._owed.banned(self.transcript.place()):
                return
            self.rules.remove(self._owed)
        self._owed = owed(self.text, len(self.tokens))
        self.rules.append(self._owed)
        self.context.ruled = self.ruled

    def ends_unanswered(self, token: int) -> bool:
        """Whether ``token`` would end the text right behind a thought, so that another must be drawn in its place."""
        if token not in self.text.eos or not self.request.limits.answers:
            return False
        if self._owed is not None and self._owed.banned(self.transcript.place()):
            return False  # there is nothing else to draw
        return self.transcript.unanswered

    def refresh_limit(self) -> None:
        """Ask the controllers again after how many thinking tokens they must be asked."""
        self.limit = self._next_limit()

    def _next_limit(self) -> int | None:
        limits = (controller.limit(state) for controller, state in self.controllers)
        return min((limit for limit in limits if limit is not None), default=None)

    def drain(self) -> list[Step]:
        """Steps written since the last call, up to the first undecided check point.

        Their texts join to the text of the result: what may turn out to be a stop string, or part of a tag, is kept
        back until that is known, and end tokens have no text.
        """
        upto = self.checks[0].point.length if self.checks else len(self.tokens)
        if not self.done:
            upto = self._whole_characters(self._before_a_tag(upto))
        if upto <= self._sent:
            return []
        start, prompt = self._sent, self.context.prompt_length
        left = len(self.transcript.parts().text) - len(self._text) if self.done else None
        kinds = self.transcript.kinds[start - prompt : upto - prompt]
        now, steps = time.perf_counter(), []
        drafted, accepted = self.usage.drafted - self._sent_usage[0], self.usage.accepted - self._sent_usage[1]
        for kind, group in groupby(kinds):
            end = start + len(list(group))
            tokens = tuple(self.tokens[start:end])
            method = self._writer(start) if kind == "injected" else self.tree.source
            origins = self.origins[start - prompt : end - prompt]
            origins += ["target"] * (len(tokens) - len(origins))
            wanted = self.request.logprobs is not None
            logprobs = tuple(self.logprobs.get(at) for at in range(start, end)) if wanted else ()
            text = self.text_between(start, end)
            if left is not None:
                text = text[:left]
                left -= len(text)
            self._text += text
            seconds = now - self._sent_at
            steps.append(Step(kind, text, tokens, drafted, accepted, method, seconds, tuple(origins), logprobs))
            start, drafted, accepted, self._sent_at = end, 0, 0, now
        self._sent, self._sent_usage = upto, (self.usage.drafted, self.usage.accepted)
        return steps

    def result(self) -> Result:
        """The finished (or cancelled) request."""
        usage, parts = self.usage, self.transcript.parts()
        # Where a thought is controlled, its count is what the controllers have seen of it.
        kinds = self.transcript.kinds if self.controllers else self.transcript.told()
        own = kinds[self.taken :]
        usage.thinking, usage.answer, usage.injected = (own.count(k) for k in ("thinking", "answer", "injected"))
        closed = self.transcript.closed - self.context.prompt_length
        return Result(
            text=parts.text,
            thinking=parts.thinking,
            answer=parts.answer,
            tokens=tuple(self.tokens[self.context.prompt_length :]),
            finish_reason=self.finish or "cancelled",
            usage=usage,
            events=tuple(self.events),
            lossless=self.lossless,
            cache_bytes=self.weigh(),
            thought=max(closed, next((at for at in range(len(kinds), 0, -1) if kinds[at - 1] == "thinking"), 0)),
        )

    def weigh(self) -> int:
        """The most bytes that the cache has taken so far, as often as it was weighed."""
        self._cache_bytes = max(self._cache_bytes, self.slot.nbytes)
        return self._cache_bytes

    def shown(self) -> Parts:
        """What has been drained so far, taken apart: each of its parts is a beginning of what the result will hold."""
        return self.transcript.parts(self._text)

    def _writer(self, index: int) -> str:
        return next((method for start, method in reversed(self._writers) if start <= index), "")

    def _before_a_tag(self, upto: int) -> int:
        """The last index up to which nothing is the beginning of a tag or of a stop string."""
        if not self.transcript.parted:
            return self._sent
        words = self.transcript.awaited
        longest, found, after = max(map(len, words), default=0), upto, ""
        for start in range(upto - 1, self._sent - 1, -1):
            if len(after) >= longest - 1:
                break
            written = self.text.decode(self.tokens[start:upto])
            if any(
                written.endswith(word[:size])
                for word in words
                for size in range(len(after) + 1, min(len(written), len(word) - 1) + 1)
            ):
                found = start
            after = written
        return found

    def _whole_characters(self, upto: int) -> int:
        """The last index up to which the text does not end inside a character."""
        for end in range(upto, max(self._sent, upto - _UTF8), -1):
            if not self.text.decode(self.tokens[self._sent : end]).endswith("\ufffd"):
                return end
        return self._sent

    def text_between(self, start: int, end: int) -> str:
        """Text that tokens ``start .. end`` add; decoded with some context, on which spaces may depend."""
        before = self.tokens[max(start - 8, 0) : start]
        return self.text.decode(before + self.tokens[start:end])[len(self.text.decode(before)) :]
