"""A head that goes on learning from what its target writes while it drafts."""

from __future__ import annotations

import copy
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from laconic.policy import Card, Needs, knobs
from laconic.speculation.base import Tools
from laconic.speculation.drafters.head.contract import DraftHead
from laconic.speculation.drafters.head.drafter import Reading
from laconic.speculation.drafters.head.files import Loaded
from laconic.speculation.drafters.head.folder import FolderHead
from laconic.speculation.drafters.head.learning import Batch, descend, heard, loss_over, narrow_products
from laconic.speculation.drafters.head.losses import kl
from laconic.speculation.drafters.head.teacher import Teacher

_LONGEST = 512
"""Tokens of a text that are learned from, the last ones."""
_LEAST = 16
"""Tokens of the shortest text that is."""
_STEPS, _DECAY = 3, 0.8
"""As heads are trained."""
_EVERY = 16
"""Steps after which drafting goes on with what was learned: to lay out weights takes time, too."""
_SAVED = 2.0
"""Seconds that may be saved up for learning, so that no request waits for longer."""
_FADES = 0.97
"""Weight that a text keeps with each later one where the head is compared with itself as it was."""
_ENOUGH = 300
"""Tokens of comparison before it counts."""
_WORSE = 0.02
"""Share of first tokens by which a head that has learned may be behind."""


@dataclass(slots=True)
class Comparison:
    """How often the first drafted token was right on texts not learned from yet, lately: as trained, and by now."""

    before: float = 0.0
    now: float = 0.0
    tokens: float = 0.0

    def add(self, before: float, now: float, tokens: float) -> None:
        """Count one text."""
        self.before = _FADES * self.before + before
        self.now = _FADES * self.now + now
        self.tokens = _FADES * self.tokens + tokens

    @property
    def fails(self) -> bool:
        """Whether learning has made it worse."""
        return self.tokens >= _ENOUGH and self.now < self.before - _WORSE * self.tokens


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is learned from: the target, what it would say behind a state, and its embeddings ``[..., width]``."""

    target: Any
    teacher: Teacher
    embed: Callable[[Tensor], Tensor]


class Learner:
    """A copy of a head that is trained on texts, newest first, in the time that it is given.

    Its output rows stay as they are: they are most of the weights, and little traffic tells little of rare tokens.
    ``now`` is what drafts: the head as it was last laid out.
    """

    def __init__(self, loaded: Loaded, target: Any, embed: Callable[[Sequence[int]], Tensor], memory: int) -> None:
        self._loaded, self._memory = loaded, memory
        self._texts: deque[Batch] = deque()
        self.follow(target, embed)
        self._draw = random.Random(0)
        self.now = loaded
        self.saved = 0.0
        """Seconds that may be spent; below 0 where the last step took longer than there was."""
        self.spent = 0.0
        self.steps = self.resets = self.tokens = 0
        self.comparison = Comparison()

    def follow(self, target: Any, embed: Callable[[Sequence[int]], Tensor]) -> None:
        """Learn from this target from now on: its states are others, so that texts of another are forgotten."""
        self._lessons: Lessons | None = Lessons(
            target,
            Teacher(target, self._loaded.head.kept),
            lambda tokens: embed(tokens.flatten().tolist()).float().view(*tokens.shape, -1),
        )
        self._texts.clear()

    def release(self) -> None:
        """Let go of the target, until there is another one to follow."""
        self._lessons = None
        self._texts.clear()

    def follows(self, target: Any) -> bool:
        """Whether this is the target that is learned from."""
        return self._lessons is not None and self._lessons.target is target

    def begin(self, rate: float) -> None:
        """Start from the head as it was trained."""
        self._head: DraftHead = copy.deepcopy(self._loaded.head).float()
        self._head.requires_grad_(requires_grad=True)
        self._head.lm_head.requires_grad_(requires_grad=False)
        self._weights = [weight for weight in self._head.parameters() if weight.requires_grad]
        self._optimiser = torch.optim.AdamW(self._weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        self._rate, self._unseen = rate, 0

    def read(self, tokens: Sequence[int], features: Tensor, prompt: int) -> None:
        """A text that has ended: compare both heads on it, remember it, and learn as long as there is time."""
        lessons = self._lessons
        if lessons is None or self.saved <= 0 or len(tokens) < _LEAST:
            return
        with torch.inference_mode(mode=False), torch.enable_grad():
            begun = time.perf_counter()
            batch = _batch(tokens, features.clone().float(), prompt)
            self._compare(batch, lessons)
            self._remember(batch)
            turn = 0
            while time.perf_counter() - begun < self.saved:
                self._step(batch if turn % 2 == 0 else self._draw.choice(self._texts), lessons)
                turn += 1
            if self._unseen >= _EVERY:
                self._lay_out(features)
            took = time.perf_counter() - begun
            self.saved -= took
            self.spent += took

    def _compare(self, batch: Batch, lessons: Lessons) -> None:
        wanted, wrote = batch.written[:, 2:], batch.tokens[:, 2:]
        hits = []
        with torch.no_grad(), narrow_products(batch.tokens.device)[0]:
            for head in (self._loaded.head, self._head):
                (said,) = head.unrolled(heard(head, batch, lessons.embed), batch.features, 1)
                hits.append(int((head.kept[said.argmax(-1)] == wrote)[wanted].sum()))
        before, now = hits
        self.comparison.add(before, now, int(wanted.sum()))
        if self.comparison.fails:
            self.begin(self._rate / 2)
            self.comparison, self.now = Comparison(), self._loaded
            self.resets += 1

    def _remember(self, batch: Batch) -> None:
        self._texts.append(batch)
        self.tokens += batch.tokens.shape[1]
        while sum(text.tokens.shape[1] for text in self._texts) > self._memory and len(self._texts) > 1:
            self._texts.popleft()

    def _step(self, batch: Batch, lessons: Lessons) -> None:
        steps = _STEPS if self._head.depth is None else min(_STEPS, self._head.depth)
        with narrow_products(batch.tokens.device)[0]:
            loss = loss_over(self._head, batch, lessons.teacher, lessons.embed, steps, _DECAY, kl)
        descend(loss, self._weights, self._optimiser)
        self.steps += 1
        self._unseen += 1

    def _lay_out(self, like: Tensor) -> None:
        """Let drafts be made by what was learned."""
        self.now = Loaded(copy.deepcopy(self._head).requires_grad_(requires_grad=False), self._loaded.about)
        self.now.ready(like)
        self._unseen = 0


def _batch(tokens: Sequence[int], features: Tensor, prompt: int) -> Batch:
    """One text, its last tokens."""
    begin = max(len(tokens) - _LONGEST, 0)
    row = torch.tensor([tokens[begin:]])
    written = torch.arange(begin, len(tokens))[None] >= prompt
    return Batch(row, features[begin:][None], torch.ones_like(row, dtype=torch.bool), written)


@knobs
class OnlineHead(FolderHead):
    """Draft with a trained head that goes on learning from what the target writes.

    Source: Online Speculative Decoding (Liu et al. 2023), which distils a draft model from the traffic that it serves;
    here it is a head, which reads what the target has computed anyway, so that learning takes no pass of either. After
    each request the head is trained on its text and on earlier ones, towards the target's own distribution, for at most
    a ``share`` of the time that decoding took. What it learns is lost with the process.

    Before a text is learned from, the head as it was trained and as it is by now both guess at it; where the second
    falls behind, learning begins anew, at half the rate. Output rows are not trained. For one process at a time: what
    is learned is the policy object's, and all its requests share it. Where engines with other weights come one after
    the other, as in the rollouts of training, it goes on from one to the next: what ReSpec does for these, but for its
    weights by reward, which an engine does not know.
    """

    card = Card(paper="Online Speculative Decoding", catalogue=(12, 87), lossless=True, timed=True, arxiv="2310.07177")
    needs = Needs(target_layers=True, target_parts=True)

    path: str
    """Folder of the head."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Of the time that decoding takes, how much may be spent on learning."""
    memory: Annotated[int, Field(ge=64)] = 8192
    """Tokens of earlier texts that are kept to learn from."""
    rate: Annotated[float, Field(gt=0, le=0.1)] = 2e-4
    """Learning rate."""

    @cached_property
    def _learners(self) -> list[Learner]:
        """The one learner, once there was a request."""
        return []

    def start(self, context: Any, tools: Tools) -> Reading:
        """The first request also sets up learning."""
        if not self._learners:
            assert tools.embed is not None  # a target that shows its layers shows its embeddings
            with torch.inference_mode(mode=False):
                learner = Learner(self.loaded, tools.target, tools.embed, self.memory)
                learner.begin(self.rate)
            self._learners.append(learner)
        elif not self._learners[0].follows(tools.target):
            assert tools.embed is not None
            self._learners[0].follow(tools.target, tools.embed)
        return super().start(context, tools)

    def head_of(self, tools: Tools) -> Loaded:
        """As it was last laid out."""
        return self._learners[0].now

    def release(self) -> None:
        """What was learned stays; texts, which are of the model's states, do not."""
        for learner in self._learners:
            learner.release()

    def credit(self, states: Sequence[Reading], tokens: int, seconds: float) -> None:
        """Save up time for learning."""
        for learner in self._learners:
            learner.saved = min(learner.saved + self.share * seconds, _SAVED)

    def finish(self, state: Reading) -> None:
        """Learn from the text."""
        context, layers = state.context, self.loaded.head.shape.layers
        outputs = context.outputs(0, layers) if context.outputs is not None else None
        if outputs is not None and len(outputs) and self._learners:
            self._learners[0].read(context.tokens[: len(outputs) + 1], outputs, context.prompt_length)
        super().finish(state)

    def report(self) -> dict[str, Any] | None:
        """What was learned, and whether it helped."""
        if not self._learners or not self._learners[0].tokens:
            return None
        learner = self._learners[0]
        seen = max(learner.comparison.tokens, 1.0)
        before, now = learner.comparison.before / seen, learner.comparison.now / seen
        says = f"{learner.steps} steps on {learner.tokens} tokens in {learner.spent:.1f} s"
        return {
            "steps": learner.steps, "tokens": learner.tokens, "seconds": round(learner.spent, 3),
            "resets": learner.resets, "right_before": round(before, 4), "right_now": round(now, 4),
            "says": f"{says}; first tokens right {before:.1%} as trained, {now:.1%} by now; {learner.resets} resets",
        }  # fmt: skip
