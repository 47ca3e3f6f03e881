"""One of the two models at work: it writes pieces, takes in those of the other, and goes back where one is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from laconic.errors import RequestError, UnmetNeed
from laconic.loop import PROMPT_WITH_DRAFT
from laconic.models.base import Nowhere, chain
from laconic.thinking.hand import Hand
from laconic.transcript import Snapshot
from laconic.types import Request, Result, Sampling

if TYPE_CHECKING:
    from laconic.engine import Engine

_CHUNK = 256
"""Tokens that are looked at in one pass: their logits are as wide as the vocabulary."""
_HALF = "\ufffd"
"""How a character shows whose last tokens are still to come."""
METHOD = "collaboration"
"""Who did it, in events."""


class Scribe:
    """A request of an engine's, moved on a piece at a time. Close it, or finish it, whatever happens."""

    def __init__(self, engine: Engine, request: Request) -> None:
        fitted = engine.fitted(request)
        self._hand = Hand()
        self._engine = engine
        self._mover = engine.mover()
        try:
            self._sequence = self._mover.begin(replace(fitted, controllers=(*engine.controllers(fitted), self._hand)))
        except BaseException:
            self._mover.close()
            raise
        self._digits: list[int] | None = None
        self._begins = len(fitted.prompt)
        """Where among the tokens that begins of which :meth:`weigh` says how likely it is."""
        self.read = ""
        """What of the thought it has written or taken in."""

    @property
    def closed(self) -> bool:
        """Whether the thought has ended here, or there is no room for more of it."""
        s = self._sequence
        return s.transcript.phase == "answer" or s.done or s.lands(boundary=False)

    def mark(self) -> tuple[Snapshot, str]:
        """The present point, to go back to."""
        return self._sequence.transcript.snapshot(), self.read

    def back(self, point: tuple[Snapshot, str]) -> None:
        """Go back to a point: the text, and the cache. Nothing may have been written behind the thought since."""
        s, (snapshot, self.read) = self._sequence, point
        s.checks.clear()
        s.take_back(snapshot)
        if s.slot.length and s.pending < 1:
            s.slot.rollback(1)  # the last token is read with the next pass
        s.refresh_limit()

    def write(self, most: int | None = None, *, whole: bool = False, guarded: bool = False) -> tuple[str, int, bool]:
        """A piece of the thought: its text, its tokens, and whether the thought ended with it.

        ``guarded`` keeps the closing tag back: then nothing stands behind the piece, whatever becomes of it.
        """
        s, hand = self._sequence, self._hand
        begun, events = len(s.tokens), len(s.events)
        hand.waits, hand.closes, hand.whole, hand.guards = False, False, whole, guarded
        hand.most = None if most is None else s.transcript.thinking + most
        s.refresh_limit()
        while True:
            while not hand.waits and s.transcript.phase in ("before", "thinking") and not s.done:
                self._move()
            if hand.closes or not hand.waits or not s.text_between(begun, len(s.tokens)).endswith(_HALF):
                break
            hand.waits, hand.most = False, s.transcript.thinking + 1  # to the end of the character
            s.refresh_limit()
        hand.forget(s.events)
        ended = next((event.tokens for event in s.events[events:] if event.action == "conclude"), None)
        if s.transcript.phase == "answer" and s.transcript.closed <= begun:
            return "", 0, True  # it answers without a thought
        closed = s.transcript.phase == "answer" and s.transcript.closed > begun
        end = s.transcript.closed if closed else len(s.tokens)
        if ended is not None:  # a controller's words at the end of the thought are this model's alone
            end = min(end, s.context.prompt_length + ended)
        text = self._bare(s.text_between(begun, end))
        self.read += text
        return text, end - begun, hand.closes or self.closed

    def take(self, text: str, *, looks: bool = False) -> None:
        """Take in what the other has written, as far as there is room for thought.

        It is read with the next pass, a long one in passes of its own, unless somebody ``looks`` at how likely it is.
        """
        s, form = self._sequence, self._engine.text.format
        if s.transcript.phase == "before":
            s.inject(form.opens + form.lead, METHOD, self._engine.target.context)
        self._begins = len(s.tokens)
        room = None if s.landing is None else max(s.landing.at - s.generated, 0)
        s.inject(text, METHOD, self._engine.target.context, room)
        self.read += text
        if s.full(self._engine.target.context):
            s.finish = "length"
        if not looks and not isinstance(s.slot, Nowhere) and s.pending > PROMPT_WITH_DRAFT:
            s.usage.prefill_passes += self._engine.target.prefill(s.slot, s.tokens[s.slot.length : -1])

    def end(self) -> Result:
        """End the thought if it has not ended, write the answer to its end, and leave."""
        s, context = self._sequence, self._engine.target.context
        self._hand.whole, self._hand.most, self._hand.guards = True, None, False
        s.refresh_limit()
        if s.transcript.phase == "thinking" and not s.done:
            if s.lands(boundary=True):
                self._mover.conclude(s, s.landing.reason if s.landing is not None else "")
            else:
                s.inject(self._engine.text.format.ending, METHOD, context)
                if s.request.limits.answers:
                    s.owe()
                if s.full(context):
                    s.finish = "length"
        while not s.done:
            self._move()
        return self._engine.result(s)

    def close(self) -> Result:
        """Leave with what there is."""
        self._mover.cancel(self._sequence)
        self._mover.close()
        return self._engine.result(self._sequence)

    def weigh(self, ask: str) -> tuple[torch.Tensor, float]:
        """Logits ``[vocab]`` behind the text and ``ask``, and how likely what was taken in last was, if it is unread.

        The latter is the geometric mean of its tokens' probabilities; not a number over a server, which does not say.
        Raises RequestError where there is no room for ``ask``.
        """
        s, target = self._sequence, self._engine.target
        question = self._engine.text.encode(ask)
        if len(s.tokens) + len(question) > target.context:
            raise RequestError("there is no room to ask about a step.", "Lower max_new_tokens.")
        if isinstance(s.slot, Nowhere):
            return self._over_there(question), float("nan")
        logs = []
        with torch.inference_mode():
            while True:
                at = s.slot.length
                pending = s.tokens[at : at + _CHUNK]
                last = at + len(pending) == len(s.tokens)
                rows = target.score([chain([*pending, *question] if last else pending)], [s.slot]).of(0)
                new = s.tokens[at + 1 : at + 1 + len(pending)]
                told = rows[: len(new)].float().log_softmax(-1)
                logs += told.gather(1, torch.tensor(new, device=rows.device)[:, None])[:, 0].tolist() if new else []
                row = rows[-1].clone()
                s.slot.commit(range(len(pending) - last))
                s.usage.target_passes += 1
                s.usage.probed += len(pending)
                if last:
                    break
        size = len(s.tokens) - self._begins
        own = logs[max(len(logs) - size, 0) :] if size else []
        return row, math.exp(sum(own) / len(own)) if own else 1.0

    def digits(self, ask: str) -> tuple[list[float], float]:
        """Probabilities of the ten digits behind the text and ``ask``, and what :meth:`weigh` says of the text."""
        if self._digits is None:
            self._digits = [self._engine.text.encode(str(digit))[-1] for digit in range(10)]
        row, mean = self.weigh(ask)
        chances = row.float().softmax(-1)
        return [float(chances[token]) for token in self._digits], mean

    def _over_there(self, question: Sequence[int]) -> torch.Tensor:
        """Log probabilities ``[vocab]`` from a server, those that it gives; no others."""
        from laconic.remote.engine import RemoteEngine

        engine = self._engine
        if not isinstance(engine, RemoteEngine):
            raise UnmetNeed("this engine cannot be asked about a text.", "Use Engine or RemoteEngine.")
        tokens = [*self._sequence.tokens, *question]
        top = max(engine.writer.asking.logprobs, 1)
        said = engine.model.wait(engine.writer.write(tokens, most=1, sampling=Sampling(), logprobs=top)).said
        if not said:
            raise UnmetNeed("the server gives no probabilities, and they are needed.", "Use a policy without scores.")
        row = torch.full((engine.target.vocab_size,), -torch.inf)
        for name, value in (said[0].top or {said[0].token: said[0].logprob}).items():
            token = name if isinstance(name, int) else engine.text.encode(name)[0]
            if token < len(row):
                row[token] = value
        return row

    def _move(self) -> None:
        for sequence, error in self._mover.move():
            if error is not None and sequence is self._sequence:
                raise error

    def _bare(self, text: str) -> str:
        """A piece without the tags that open and close a thought."""
        form = self._engine.text.format
        if form.opens and text.lstrip().startswith(form.opens):
            text = text.lstrip().removeprefix(form.opens).removeprefix(form.lead)
        return text.partition(form.closes)[0] if form.closes else text
