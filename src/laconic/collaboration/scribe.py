"""One of the two models at work: it writes pieces, takes in those of the other, and goes back where one is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from laconic.errors import UnmetNeed
from laconic.loop import PROMPT_WITH_DRAFT
from laconic.models.base import Nowhere, chain
from laconic.models.text import Text
from laconic.policy import Card
from laconic.thinking.base import Action, Continue, Controller, Inject, View
from laconic.transcript import Snapshot
from laconic.types import Request, Result, Sampling

if TYPE_CHECKING:
    from laconic.engine import Engine

METHOD = "collaboration"
"""Who did it, in events."""


class Hand(Controller):
    """Has a thought wait at the end of a step, or after so many tokens; what was drafted beyond is dropped."""

    name = METHOD
    card = Card(paper="laconic's own", lossless=False)

    def __init__(self) -> None:
        self.most: int | None = None
        """Thinking tokens at which to wait."""
        self.whole = False
        """Whether ends of steps are passed by."""
        self.waits = False

    def start(self, request: Request, text: Text) -> None:
        """It has no state of its own: one hand for one request."""

    def limit(self, state: Any) -> int | None:
        """Where to wait."""
        return self.most

    def decide(self, state: Any, view: View) -> Action:
        """Wait here, if it is time."""
        here = view.boundary and not self.whole
        if here or (self.most is not None and view.thinking >= self.most):
            self.waits = True
            return Inject("", "waits")
        return Continue()


class Scribe:
    """A request of an engine's, moved on a piece at a time. Close it, or finish it, whatever happens."""

    def __init__(self, engine: Engine, request: Request) -> None:
        fitted = engine.fitted(request)
        self._hand = Hand()
        self._engine = engine
        self._mover = engine.mover()
        own = engine.plan.controllers if fitted.controllers is None else fitted.controllers
        self._sequence = self._mover.begin(replace(fitted, controllers=(*own, self._hand)))
        self._digits: list[int] | None = None
        self.read = ""
        """What of the thought it has written or taken in."""

    @property
    def closed(self) -> bool:
        """Whether the thought has ended here."""
        return self._sequence.transcript.phase == "answer" or self._sequence.done

    @property
    def engine(self) -> Engine:
        """Whose request it is."""
        return self._engine

    def mark(self) -> tuple[Snapshot, str]:
        """The present point, to go back to."""
        return self._sequence.transcript.snapshot(), self.read

    def back(self, point: tuple[Snapshot, str]) -> None:
        """Go back to a point: the text, and the cache."""
        s, (snapshot, self.read) = self._sequence, point
        s.checks.clear()
        s.take_back(snapshot)
        if s.slot.length and s.pending < 1:
            s.slot.rollback(1)  # the last token is read with the next pass
        s.refresh_limit()

    def write(self, most: int | None = None, *, whole: bool = False) -> tuple[str, int, bool]:
        """A piece of the thought: its text, its tokens, and whether the thought ended with it."""
        s, hand = self._sequence, self._hand
        begun = len(s.tokens)
        hand.waits, hand.whole = False, whole
        hand.most = None if most is None else s.transcript.thinking + most
        s.refresh_limit()
        while not hand.waits and not self.closed:
            self._move()
        if s.events and s.events[-1].method == METHOD:
            s.events.pop()
        closes = not hand.waits
        if closes and s.transcript.phase == "answer" and s.transcript.closed <= begun:
            return "", 0, True  # it answers without a thought
        end = s.transcript.closed if closes and s.transcript.closed > begun else len(s.tokens)
        text = self._bare(s.text_between(begun, end))
        self.read += text
        return text, end - begun, closes

    def take(self, text: str) -> None:
        """Take in what the other has written. It is read with the next pass, a long one in passes of its own."""
        s, form = self._sequence, self._engine.text.format
        opening = form.opens + form.lead if s.transcript.phase == "before" else ""
        s.inject(opening + text, METHOD, self._engine.target.context)
        self.read += text
        if s.full(self._engine.target.context):
            s.finish = "length"
        if not isinstance(s.slot, Nowhere) and s.pending > PROMPT_WITH_DRAFT:
            s.usage.prefill_passes += self._engine.target.prefill(s.slot, s.tokens[s.slot.length : -1])

    def end(self, reason: str) -> Result:
        """End the thought if it has not ended, write the answer to its end, and leave."""
        s = self._sequence
        self._hand.whole, self._hand.most = True, None
        s.refresh_limit()
        if not self.closed:
            self._mover.conclude(s, reason)
        while not s.done:
            self._move()
        return self._engine.result(s)

    def close(self) -> Result:
        """Leave with what there is."""
        self._mover.cancel(self._sequence)
        self._mover.close()
        return self._engine.result(self._sequence)

    def weigh(self, ask: str) -> tuple[torch.Tensor, float]:
        """In one pass: logits ``[vocab]`` behind the text and ``ask``, and how likely the tokens not read yet were.

        The latter is the geometric mean of their probabilities; 1 where there are none.
        """
        s, target = self._sequence, self._engine.target
        if isinstance(s.slot, Nowhere):
            return self._over_there(ask), float("nan")
        pending = s.tokens[s.slot.length :]
        with torch.inference_mode():
            rows = target.score([chain([*pending, *self._engine.text.encode(ask)])], [s.slot]).of(0)
            logs = rows[: len(pending) - 1].float().log_softmax(-1)
            new = torch.tensor(pending[1:], device=rows.device)[:, None]
            mean = float(logs.gather(1, new).mean().exp()) if len(pending) > 1 else 1.0
            last = rows[-1].clone()
        s.slot.commit(range(len(pending) - 1))
        s.usage.target_passes += 1
        s.usage.probed += len(pending) - 1
        return last, mean

    def digits(self, ask: str) -> tuple[list[float], float]:
        """Probabilities of the ten digits behind the text and ``ask``, and what :meth:`weigh` says of the text."""
        if self._digits is None:
            self._digits = [self._engine.text.encode(str(digit))[-1] for digit in range(10)]
        row, mean = self.weigh(ask)
        chances = row.float().softmax(-1)
        return [float(chances[token]) for token in self._digits], mean

    def _over_there(self, ask: str) -> torch.Tensor:
        """Log probabilities ``[vocab]`` from a server, those that it gives; no others."""
        from laconic.remote.engine import RemoteEngine

        engine = self._engine
        if not isinstance(engine, RemoteEngine):
            raise UnmetNeed("this engine cannot be asked about a text.", "Use Engine or RemoteEngine.")
        tokens = [*self._sequence.tokens, *engine.text.encode(ask)]
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
