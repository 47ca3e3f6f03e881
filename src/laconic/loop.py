"""The only decode loop: draft, score, verify, commit, decide; one pass at a time, for any number of requests.

A pass scores, for every active request, the tokens not yet cached, the draft below them, and the branch of a probe if
one is under way. The loop reads contracts only: it never asks what a policy is and never names one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, cast

import torch

from laconic.errors import RequestError
from laconic.kv.base import KV, Telling, reducible
from laconic.kv.full import Full
from laconic.landing import farewell, fitting, words
from laconic.models.base import (
    LanguageModel,
    Nowhere,
    Reduced,
    RunsParts,
    Scores,
    ShowsHidden,
    ShowsLayers,
    Shrinks,
    Slot,
    Steerable,
    chain,
    tied,
)
from laconic.models.largest import first_largest
from laconic.models.text import Text
from laconic.probe import bounded
from laconic.prober import Prober
from laconic.sequence import CheckPoint, Sequence
from laconic.speculation.base import (
    EMPTY,
    HEARD,
    Context,
    Drafter,
    Latest,
    LengthPolicy,
    TargetRows,
    TokenTree,
    Tools,
    TreeShape,
    Verdict,
    Verifier,
    layers_read,
)
from laconic.speculation.pace import Pace
from laconic.thinking.base import Conclude, Continue, Controller, Inject, Probe, chances, logprobs, ruled
from laconic.transcript import Mark
from laconic.types import Event, Request

PROMPT_WITH_DRAFT = 64
"""Longest prompt that is scored in one pass with the first draft: reading the weights once more costs more than that
many wider rows of logits. Longer ones are prefilled in passes of their own, without logits."""

_PREDICTED = 32
"""Tokens of a client's prediction, or of a former output, that are drafted at once."""
_BESIDE = 512
"""Tokens of former outputs that all requests of a pass draft together: many rows leave little room in a pass."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The methods of a run. ``probes`` says how a probe is answered: as a branch of a pass, or in its own pass."""

    drafter: Drafter
    length: LengthPolicy
    shape: TreeShape
    verifier: Verifier
    controllers: tuple[Controller, ...] = ()
    probes: Literal["branch", "separate"] = "branch"
    kv: KV = field(default_factory=Full)


class Loop:
    """Requests join with :meth:`add`, move on with :meth:`step`, and leave when they are done."""

    def __init__(
        self,
        target: LanguageModel,
        text: Text,
        plan: Plan,
        draft_model: LanguageModel | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.target = target
        self.text = text
        self.plan = plan
        self.draft_model = draft_model
        self.pace = pace or Pace()
        self.active: list[Sequence] = []
        self.leaving: Callable[[Sequence], object] = id
        """Called with each request that leaves, before its slot is closed."""
        self._written = 0
        """Tokens that the pass under way has written, and verified."""
        self._prober = Prober(
            text,
            plan.drafter,
            target,
            draft_model,
            self.pace,
            active=self.active,
            riding=plan.probes == "branch",
        )
        parts = target if isinstance(target, RunsParts) and target.runs_parts else None
        self._tools = Tools(
            draft_model,
            plan.shape,
            target.vocab_size,
            self.pace,
            getattr(target, "embeddings", None),
            parts,
            getattr(target, "own_head", None),
        )
        drafting = (*plan.drafter.walk(), *plan.length.walk())
        watched = any(policy.needs.target_hidden for policy in drafting)
        self._heard = plan.drafter.listens
        self._shown = target if watched and isinstance(target, ShowsHidden) else None
        self._layered: ShowsLayers | None = None
        if isinstance(target, ShowsLayers) and layers_read(plan.drafter, target.num_layers):
            self._layered = target

    def add(self, request: Request) -> Sequence:
        """Let a request join the next pass, a long prompt prefilled. Raises RequestError if its prompt does not fit."""
        sequence = self.arrive(request)
        try:
            while not self.read(sequence, len(request.prompt)):
                pass
        except BaseException:
            self.abandon(sequence)
            raise
        return sequence

    def arrive(self, request: Request, slot: Slot | None = None) -> Sequence:
        """A request that has not joined yet: :meth:`read` its prompt first. Raises as :meth:`add`.

        ``slot`` holds the first tokens of its prompt already, though not the last one; it is the request's from then
        on, also where this raises.
        """
        mine = self.plan.controllers if request.controllers is None else request.controllers
        slot = self.target.open() if slot is None else slot
        try:
            if len(request.prompt) >= self.target.context:
                raise RequestError(
                    f"the prompt has {len(request.prompt)} tokens, the model's context is {self.target.context}.",
                    "Shorten the prompt.",
                )
            sequence = Sequence(request, self.text, slot, mine, self.target.context)
            sequence.reduces = self._keep(sequence.slot, sequence.tokens, len(request.prompt), request)
            sequence.context.ends = self.text.eos
            sequence.context.slot = partial(getattr, sequence, "slot")
            sequence.context.drafting = self.plan.verifier.drafting
            sequence.context.latest = Latest() if self._shown is not None else None
            if self._layered is not None:
                sequence.context.outputs = partial(_outputs, self._layered, sequence)
            self._steer(sequence, slot)
        except BaseException:  # a controller that refuses the request, as a rule
            slot.close()
            raise
        return sequence

    def branch(self, request: Request, other: Sequence, count: int, slot: Slot | None = None) -> Sequence:
        """A request that goes on from the first ``count`` tokens that another has written after the same prompt.

        It has not joined yet: :meth:`read` what is not in its cache first. ``slot`` is as for :meth:`arrive`, and a
        copy of the other's where it is not given and the other has one.
        """
        if slot is None and not isinstance(other.slot, Nowhere):
            slot = other.slot.fork()
            slot.rollback(max(slot.length - (len(request.prompt) + count - 1), 0))
        sequence = self.arrive(request, slot)
        try:
            sequence.follow(other, count)
        except BaseException:
            self.abandon(sequence)
            raise
        return sequence

    def read(self, sequence: Sequence, most: int) -> bool:
        """Prefill at most ``most`` tokens of a prompt that has arrived; says whether the request has joined.

        The last few tokens are scored with the first draft.
        """
        begun = time.perf_counter()
        tokens, slot = sequence.tokens, sequence.slot
        left = len(tokens) - 1 - slot.length
        if left >= PROMPT_WITH_DRAFT and most > 0:
            chunk = tokens[slot.length : slot.length + min(most, left)]
            sequence.usage.prefill_passes += self.target.prefill(slot, chunk)
            left -= len(chunk)
        joins = left < PROMPT_WITH_DRAFT
        if joins:
            self._join(sequence)
        sequence.usage.seconds["prefill"] += time.perf_counter() - begun
        return joins

    def pause(self, sequence: Sequence) -> None:
        """Take a request's cache away between two passes; nothing else of it is lost. See :meth:`unpause`."""
        self.active.remove(sequence)
        self.take_cache(sequence)

    def set_aside(self, sequence: Sequence) -> None:
        """Let a request wait between two passes, with all that it has, until :meth:`take_up`."""
        self.active.remove(sequence)

    def take_up(self, sequence: Sequence) -> None:
        """Let a request that was set aside take part in the next pass again."""
        self.active.append(sequence)

    def take_cache(self, sequence: Sequence) -> None:
        """The same for one that has not joined yet."""
        sequence.slot.close()
        sequence.slot = Nowhere()

    def abandon(self, sequence: Sequence) -> None:
        """End a request that has not joined, or is paused."""
        if sequence.begun:
            self.plan.drafter.finish(sequence.drafter_state)
        sequence.slot.close()
        sequence.slot = Nowhere()

    def unpause(self, sequence: Sequence, slot: Slot | None = None) -> None:
        """Give a paused request a cache again, as to one that arrives: :meth:`read` all that it has written first."""
        sequence.slot = self.target.open() if slot is None else slot
        self._keep(sequence.slot, sequence.tokens, sequence.context.prompt_length, sequence.request)
        self._steer(sequence, sequence.slot)

    def _keep(self, slot: Slot, tokens: list[int], prompt: int, request: Request) -> bool:
        """Let the kv policy say what of a text stays in its slot; whether there is anything to say.

        Of what the slot holds already, only that may be taken over which the policy would have left as it is.
        """
        policy = self.plan.kv if request.kv is None else request.kv
        told = Telling(tokens, prompt, self.text)
        keeper = policy.start(told)
        if keeper is None:
            return False
        target = reducible(self.target, policy.name)
        if known := target.holds(slot):  # the slot is a copy of another request's
            known.follow(told)
        else:
            slot.rollback(max(slot.length - max(keeper.stop - keeper.looks, 0), 0))
            target.hold(slot, keeper)
        return True

    def _fit(self, s: Sequence) -> None:
        """Reduce a request's cache where the next pass would otherwise write across a stop.

        Not before all is decided that was asked on this side of it: what a check point takes back must still be there.
        """
        slot = cast(Reduced, s.slot)
        while s.pending > slot.room and (not s.checks or s.checks[0].point.length > slot.length + slot.room):
            if slot.room <= 0:
                s.weigh()
                slot.compact(tidy=True)
            else:
                part = s.tokens[slot.length : slot.length + slot.room]
                s.usage.prefill_passes += self.target.prefill(slot, part)
        if s.pending > PROMPT_WITH_DRAFT and not s.checks:  # the text was gone back in, and is read again
            part = s.tokens[slot.length : slot.length + min(slot.room, s.pending - 1)]
            s.usage.prefill_passes += self.target.prefill(slot, part)

    def _join(self, sequence: Sequence) -> None:
        self.active.append(sequence)
        if sequence.begun:  # it had been paused
            return
        sequence.begun = True
        sequence.drafter_state = self.plan.drafter.start(sequence.context, self._tools)
        sequence.length_state = self.plan.length.start(sequence.context, self.pace)

    def _steer(self, s: Sequence, slot: Slot) -> None:
        """Push the residual stream of a request's slot as its controllers wish, from where its first token is made."""
        total: dict[int, torch.Tensor] = {}
        for controller, state in s.controllers:
            for layer, vector in (controller.steering(state) or {}).items():
                total[layer] = total[layer] + vector if layer in total else vector
        if total:
            cast(Steerable, self.target).steer(slot, total, s.context.prompt_length - 1)

    def cancel(self, sequence: Sequence) -> None:
        """End a request with what it has produced."""
        sequence.checks.clear()
        sequence.finish = sequence.finish or "cancelled"
        self._leave(sequence)

    def conclude(self, sequence: Sequence, reason: str) -> bool:
        """End a thought at the next token, for somebody outside; says whether there is one to end.

        A thought that is about to begin, or a message whose part is not known yet, ends as soon as it is open.
        """
        if sequence.done or sequence.transcript.phase == "answer":
            return False
        sequence.ending = reason
        self._end(sequence)
        return True

    def _end(self, s: Sequence) -> None:
        """Close the open thought of a request that somebody outside wants to end."""
        if not s.ending or not s.transcript.thinks or s.done:
            return
        self._prober.give_up(s)
        here = CheckPoint(s.transcript.snapshot(), False, False)
        self._act(s, here, Conclude(s.ending, farewell(s.landing)), "client")
        s.ending = ""

    def step(self) -> list[Sequence]:
        """One pass over all active requests; returns those that are done and have left."""
        sequences = self.active
        if not sequences:
            return []
        drafted = self._prober.draft_passes + self.plan.drafter.looks
        t0 = time.perf_counter()
        for s in sequences:
            if s.reduces:
                self._fit(s)
        writing = [s for s in sequences if not self._prober.waits(s)]
        asked = self._draft(writing)
        for s in writing:
            self.pace.wrote(len(s.tree) + 1)
            self._prober.ask_ahead(s)
        t1 = time.perf_counter()
        scores = self.target.score([s.nodes() for s in sequences], [s.slot for s in sequences])
        t2 = time.perf_counter()
        for i, s in enumerate(sequences):
            self._prober.read(scores, i, s)
        given = sum(max(s.context.prompt_length - 1 - s.slot.length, 0) for s in sequences)
        self._written = 0
        verdicts = self._verify(scores, sequences, writing, t2 - t0)
        t3 = time.perf_counter()
        for s in sequences:
            self._decide(s)
            s.commit()
            self._end(s)
            if s.held is not None and s.held.failed and not s.done:
                s.events.append(Event("grammar", "stop", s.generated, s.held.failed))
                s.finish = "cancelled"
        self._observe(verdicts)
        t4 = time.perf_counter()
        self._charge(sequences, writing, draft=t1 - t0, score=t2 - t1, verify=t3 - t2, policy=t4 - t3)
        self.pace.record(
            nodes=len(scores.flat),
            given=given,
            tokens=self._written,
            draft_passes=self._prober.draft_passes + self.plan.drafter.looks - drafted,
            draft=t1 - t0,
            score=t2 - t1,
            rest=t4 - t2,
        )
        if asked:
            seconds = self.pace.last if self.pace.known else 0.0
            self.plan.drafter.credit([s.drafter_state for s in asked], self._written, seconds)
        gone = [s for s in sequences if s.done]
        for s in gone:
            self._leave(s)
        if gone and isinstance(self.target, Shrinks):
            self.target.shrink()
        return gone

    def _draft(self, writing: Seq[Sequence]) -> list[Sequence]:
        """Give every writing request its draft: what a controller expects next, or what the drafter proposes.

        Returns the requests about which the drafter was asked.
        """
        self._prober.guess()
        free: list[tuple[Sequence, int]] = []
        for s in self.active:
            s.tree = EMPTY
        for s in writing:
            room = s.room(self.target.context)
            if s.context.expected:
                expected = list(s.context.expected[:room])
                s.tree = TokenTree.of_chain(self._prober.to_the_end(s, expected, room), "expected")
                s.context.expected = ()
            elif forced := self._forced(s, room):
                s.tree = TokenTree.of_chain(forced, "grammar")
            elif predicted := self._predicted(s, room):
                s.tree = TokenTree.of_chain(predicted, "prediction")
            elif before := self._before(s, room):
                s.tree = TokenTree.of_chain(before, "prior")
            elif room > 0 and s.request.drafts:
                free.append((s, room))
        length = self.plan.length
        wished = length.budgets([s.length_state for s, _ in free])
        granted = [(s, min(n, room)) for (s, room), n in zip(free, wished, strict=True) if n > 0]
        if not granted:
            return []
        asked, budgets = [s for s, _ in granted], [n for _, n in granted]
        judges = [length.judge(s.length_state) for s in asked]
        trees = self.plan.drafter.propose([s.drafter_state for s in asked], budgets, judges)
        trees = length.select([s.length_state for s in asked], trees)
        passes = self._prober.new_passes()
        for s, tree in zip(asked, trees, strict=True):
            s.tree = tree
            s.usage.draft_passes += passes
        return asked

    def _forced(self, s: Sequence, room: int) -> list[int]:
        """What the request's grammar says must come next: a draft like any other, which the target hardly refuses."""
        return s.held.forced(s.transcript.place(), room) if s.held is not None and s.request.drafts else []

    def _predicted(self, s: Sequence, room: int) -> list[int]:
        """What the client's prediction says of the next tokens of the answer."""
        if s.prediction is None or not s.request.drafts or s.transcript.phase != "answer":
            return []
        return list(s.prediction.draft(s.tokens[s.transcript.answer_begins :], min(room, _PREDICTED)))

    def _before(self, s: Sequence, room: int) -> list[int]:
        """What the output that the prompt has had before says of the next tokens."""
        if s.prior is None or not s.request.drafts:
            return []
        most = min(room, _PREDICTED, max(_BESIDE // len(self.active), 1))
        return list(s.prior.draft(s.tokens[s.context.prompt_length :], most))

    def _verify(
        self, scores: Scores, sequences: Seq[Sequence], writing: Seq[Sequence], seconds: float
    ) -> list[tuple[Sequence, Verdict, float]]:
        """Accept drafts and write, for the writing requests; returns the verdicts on drafts, to listeners on all."""
        verdicts = []
        writers = set(map(id, writing))
        for i, s in enumerate(sequences):
            s.usage.target_passes += 1
            s.path = list(range(s.pending))
            if id(s) not in writers:
                s.usage.probe_passes += 1
                continue
            verdict = self._accept(scores, i, s, s.pending - 1)
            if len(s.tree) or self._heard:
                verdicts.append((s, verdict, seconds))
        return verdicts

    def _accept(self, scores: Scores, i: int, s: Sequence, first: int) -> Verdict:
        """Verify a request's draft and write what stands; node ``first`` of its scores is the last token of the text.

        The nodes of the draft come right after that one.
        """
        size = len(s.tree) + 1
        logits, best = self._rows(scores, i, s, first, size)
        hidden = scores.hidden_of(i)
        states = None if hidden is None else hidden[first : first + size]
        rows = TargetRows(logits, best, s.request.sampling, len(s.tokens), states)
        verdict = self.plan.verifier.verify(rows, s.tree, s.context.draws)
        if self._heard:
            verdict = replace(verdict, rows=rows, before=s.tokens[-HEARD:])
        at = len(s.tokens)
        kept = self._write(s, verdict.tokens)
        accepted = min(verdict.accepted, kept)
        s.came(kept, "target")
        s.origins[len(s.origins) - kept : len(s.origins) - kept + accepted] = ["draft"] * accepted
        if kept and (s.chances is not None or s.request.logprobs is not None):
            down = torch.tensor([0, *(node + 1 for node in verdict.path)][:kept], device=logits.device)
            if s.chances is not None:
                s.chances += chances(logits[down], verdict.tokens[:kept])
            if s.request.logprobs is not None:
                own = scores.of(i)[first : first + size][down]
                s.logprobs |= dict(enumerate(logprobs(own, verdict.tokens[:kept], s.request.logprobs), start=at))
        s.path += [first + 1 + node for node in verdict.path]
        if s.context.latest is not None and kept:
            self._show(scores, i, s.path[len(s.tokens) - 2 - s.slot.length], s.context)
        s.usage.drafted += len(s.tree)
        s.usage.accepted += accepted
        if s.tree.source == "prior" and s.prior is not None:
            s.prior.heard(len(s.tree), accepted)
        if s.tree.source in ("prediction", "prior"):
            s.usage.predicted += accepted
            s.usage.mispredicted += len(s.tree) - accepted
        self._written += kept
        return verdict

    def _rows(self, scores: Scores, i: int, s: Sequence, first: int, size: int) -> tuple[torch.Tensor, list[int]]:
        """Logits after the last token and every drafted one, as the request's rules leave them, and the likeliest."""
        rows, best = scores.of(i)[first : first + size], scores.best(i)[first : first + size]
        given = rows.dtype
        if s.rules:
            rows = torch.stack([ruled(s.rules, rows[node + 1], place) for node, place in s.places()])
            best = first_largest(rows).tolist()
        if s.request.sampling.greedy:
            if s.rules:
                ties = tied(rows, given).nonzero()[:, 0].tolist()
            else:
                ties = [node - first for node in scores.ties(i) if first <= node < first + size]
            for row in ties:
                best[row] = self._untie(s, row - 1)
        return rows, best

    def _show(self, scores: Scores, i: int, node: int, context: Context) -> None:
        """Let policies see what request i's last token was drawn from: the target's state at ``node`` of its pass."""
        hidden = scores.hidden_of(i)
        assert self._shown is not None
        assert context.latest is not None
        context.latest.hidden = None if hidden is None else hidden[node]
        context.latest.embedding = self._shown.embedding(context.tokens[-1])

    def _untie(self, s: Sequence, node: int) -> int:
        """The token after a node of the draft (-1: after the committed text) where two are as good as equally likely.

        Passes of different widths round differently, so which of the two wins would depend on what was drafted. A pass
        of its own over the whole text, always of the same shape, depends on the text alone.
        """
        tokens = [*s.tokens, *s.path_to(node)]
        slot = self.target.open()
        try:
            self._keep(slot, tokens, s.context.prompt_length, s.request)
            self._steer(s, slot)
            s.usage.prefill_passes += self.target.prefill(slot, tokens[:-1])
            if s.reduces and cast(Reduced, slot).room <= 0:
                cast(Reduced, slot).compact()
            s.usage.target_passes += 1
            scores = self.target.score([chain(tokens[-1:])], [slot])
        finally:
            slot.close()
        return int(s.ruled(scores.of(0)[0], s.path_to(node)).argmax()) if s.rules else scores.best(0)[0]

    def _write(self, s: Sequence, tokens: Seq[int]) -> int:
        """Append verified tokens up to the request's end, a controller's limit or the landing; returns how many.

        An end token that would leave the thought unanswered is not written: the next pass draws another.
        """
        transcript = s.transcript
        for count, token in enumerate(tokens, start=1):
            if s.ends_unanswered(token):
                s.owe()
                return count - 1
            mark = transcript.push(token)
            if mark is Mark.FINISHED:
                s.finish = "stop"
            elif s.full(self.target.context):
                s.finish = "length"
            thinking = transcript.phase == "thinking"
            hard = transcript.thinks and (
                (s.limit is not None and transcript.thinking >= s.limit) or s.lands(boundary=False)
            )
            if thinking or mark is Mark.CLOSED:
                self._check_point(s, mark, hard)
            if s.finish is not None or hard:
                return count
        return len(tokens)

    def _check_point(self, s: Sequence, mark: Mark, hard: bool) -> None:
        """Open a check point where the token just written calls for one."""
        transcript = s.transcript
        if mark is Mark.FINISHED:
            if s.controllers or s.request.limits.answers:  # ended inside the thought: an answer is still to come
                point, left = transcript.before_the_end()
                s.checks.append(CheckPoint(point, False, False, "end", left))
        elif mark is Mark.CLOSED:
            if any(controller.closing for controller, _ in s.controllers):
                point, left = transcript.before_the_end()
                s.checks.append(CheckPoint(point, False, False, "tag", left))
        elif hard or mark is Mark.STEP:
            boundary = mark is Mark.STEP
            lands = s.lands(boundary=boundary)
            if s.controllers or lands:
                s.checks.append(CheckPoint(transcript.snapshot(), boundary, hard, lands=lands))

    def _decide(self, s: Sequence) -> None:
        """Ask the controllers at every open check point, oldest first, until one needs a probe."""
        while s.checks and s.ride is None and s.finish != "cancelled":
            check = s.checks[0]
            if check.turn >= len(s.controllers):
                self._last_word(s, check)
                continue
            controller, state = s.controllers[check.turn]
            if check.closing and not controller.closing:
                check.turn += 1
                continue
            action = controller.decide(state, s.view(check))
            if check.belief is not None and not isinstance(action, Probe):
                s.beliefs.append((check.point.thinking, check.belief))
                self.pace.decided(goes_on=isinstance(action, Continue))
            if isinstance(action, Continue) or (check.lands and isinstance(action, Inject)):
                check.turn, check.belief = check.turn + 1, None
            elif isinstance(action, Probe):
                probe = bounded(action, self.text, check.point.length, self.target.context)
                if probe is None:  # the landing is near
                    check.turn += 1
                else:
                    self._prober.ask(s, check, probe)
            else:
                self._act(s, check, action, controller.name)
        self._prober.decided(s)

    def _last_word(self, s: Sequence, check: CheckPoint) -> None:
        """What the loop itself does at a check point where every controller has let the thought go on."""
        if check.closing == "end":
            self._act(s, check, Conclude("the text ended inside the thought"), "loop")
        elif check.lands:
            assert s.landing is not None
            self._act(s, check, Conclude(s.landing.reason, words(s.landing, boundary=check.boundary)), "loop")
        else:
            s.checks.popleft()
            s.refresh_limit()

    def _act(self, s: Sequence, check: CheckPoint, action: Conclude | Inject, method: str) -> None:
        """Carry out an action at a check point: what was written after it is taken back."""
        s.take_back(check.point)
        if s.context.latest is not None:
            s.context.latest.forget()
        s.checks.clear()
        reason = action.reason
        if isinstance(action, Conclude):
            room = s.left(self.target.context)
            said = fitting(action.text, check.left, self.text, room, s.landing.room if s.landing else 1)
            reason += "" if said == action.text else "; there is no room for its words"
        s.events.append(Event(method, type(action).__name__.lower(), s.generated, reason))
        if isinstance(action, Conclude):
            s.inject(f"{check.left}{said}{self.text.format.ending}", method, self.target.context)
            if s.request.limits.answers:
                s.owe()
            s.context.expected = self.text.encode(action.expected) if action.expected else ()
        else:
            s.inject(f"{check.left}{action.text}", method, self.target.context)
        if s.pending < 1:  # nothing was written here, and a probe had let the cache go on: read the last token again
            s.slot.rollback(1)
        if s.full(self.target.context):
            s.finish = "length"
        s.refresh_limit()
        if isinstance(action, Conclude) and s.finish is None:
            self._take_over(s, check.point.length)

    def _take_over(self, s: Sequence, point: int) -> None:
        """Write the end of a request off its probe, where the pass under way has scored that as a branch at ``point``.

        The branch is then a draft of what follows the injected text, and as good as any other.
        """
        branch, written = s.branch, s.tokens[point:]
        if branch is None or branch.point != point or self.plan.probes == "separate":
            return
        if not written or branch.tokens[: len(written)] != written:
            return
        if s.space < s.pending:  # its last node has seen what is no longer there by then
            return
        draft = branch.tokens[len(written) :][: s.room(self.target.context)]
        s.branch, s.context.expected = None, ()
        s.tree = TokenTree.of_chain(draft, "expected")
        s.path += range(branch.first, branch.first + len(written))
        self._accept(branch.scores, branch.index, s, branch.first + len(written) - 1)

    def _observe(self, verdicts: Seq[tuple[Sequence, Verdict, float]]) -> None:
        """Let drafter and length policy learn from the round, after the controllers had their say."""
        mine = [(s, v, t) for s, v, t in verdicts if len(v.tree) and not v.tree.given]
        if heard := verdicts if self._heard else mine:
            self.plan.drafter.observe([s.drafter_state for s, _, _ in heard], [v for _, v, _ in heard])
        for s, verdict, seconds in mine:
            self.plan.length.observe(s.length_state, verdict, seconds)

    def _charge(self, sequences: Seq[Sequence], writing: Seq[Sequence], **phases: float) -> None:
        """Charge each request its equal share of the pass."""
        for phase, seconds in phases.items():
            among = writing if phase == "draft" and writing else sequences
            share = seconds / len(among)
            for s in among:
                s.usage.seconds[phase] += share

    def _leave(self, s: Sequence) -> None:
        if s in self.active:
            self.active.remove(s)
            self.plan.drafter.finish(s.drafter_state)
            self.leaving(s)
            s.weigh()
            s.slot.close()


def _outputs(model: ShowsLayers, s: Sequence, begin: int, layers: Seq[int]) -> torch.Tensor | None:
    """What layers of the target put out at the cached tokens of a request; see Context.outputs."""
    return None if isinstance(s.slot, Nowhere) else model.shown(s.slot, begin, layers)
