"""One of the two models at work: it writes pieces, takes in those of the other, and goes back where one is refused."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from laconic.errors import RequestError, UnmetNeed
from laconic.loop import PROMPT_WITH_DRAFT
from laconic.models.base import Nowhere, chain
from laconic.sequence import Sequence
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
        self._others: list[tuple[Sequence, Hand]] = []
        """What is written beside it."""
        self._begins = len(fitted.prompt)
        """Where among the tokens that begins of which :meth:`weigh` says how likely it is."""
        self.read = ""
        """What of the thought it has written or taken in."""

    @property
    def closed(self) -> bool:
        """Whether the thought has ended here, or there is no room for more of it."""
        return _closed(self._sequence)

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
        _lead(s, hand, most, whole=whole, guarded=guarded)
        while not _waits(s, hand, begun):
            self._move()
        text, count, closes = self._piece(s, hand, begun, events)
        self.read += text
        return text, count, closes

    def _piece(self, s: Sequence, hand: Hand, begun: int, events: int) -> tuple[str, int, bool]:
        """What has been written of the thought from a token on; ``events`` are those that there were before."""
        hand.forget(s.events)
        ended = next((event.tokens for event in s.events[events:] if event.action == "conclude"), None)
        if s.transcript.phase == "answer" and s.transcript.closed <= begun:
            return "", 0, True  # it answers without a thought
        closed = s.transcript.phase == "answer" and s.transcript.closed > begun
        end = s.transcript.closed if closed else len(s.tokens)
        if ended is not None:  # a controller's words at the end of the thought are this model's alone
            end = min(end, s.context.prompt_length + ended)
        return self._bare(s.text_between(begun, end)), end - begun, hand.closes or _closed(s)

    def beside(self, texts: Seq[str]) -> list[tuple[str, int, bool]]:
        """What it would write behind each beginning of ``texts``, that of none and that of all included, side by side.

        As :meth:`write`, a step each. Nothing of it stands until one is told to (:meth:`adopt`).
        """
        main = self._sequence
        self._mover.wait(main)
        begun = []
        for at in range(len(texts) + 1):
            hand = Hand()
            controllers = (*(main.request.controllers or ())[:-1], hand)
            s = self._mover.branch(replace(main.request, controllers=controllers), main, main.generated)
            self._others.append((s, hand))
            self._inject(s, "".join(texts[:at]))
            begun.append((len(s.tokens), len(s.events)))
            _lead(s, hand, None)
            if s.done:  # there is no room for more
                self._mover.wait(s)
        going = {at for at, (s, _) in enumerate(self._others) if not s.done}
        while going:
            for at in [at for at in going if _waits(*self._others[at], begun[at][0])]:
                going.remove(at)
                if not self._others[at][0].done:
                    self._mover.wait(self._others[at][0])
            if going:
                self._move()
        self._mover.go_on(main)
        return [self._piece(s, hand, *since) for (s, hand), since in zip(self._others, begun, strict=True)]

    def adopt(self, at: int, read: str) -> None:
        """Go on from what was written behind the first ``at`` texts (:meth:`beside`); ``read`` is the thought so far.

        With -1 nothing of it stands, and it goes on from where it was.
        """
        if at >= 0:
            main, mine = (self._sequence, self._hand), self._others.pop(at)
            self._others.append(main)
            self._sequence, self._hand = mine
            self._mover.go_on(self._sequence)
            self._sequence.taken, self.read = main[0].taken, read
            self._sequence.usage.reused = main[0].usage.reused
            main[0].taken = main[0].generated
        for gone, _ in self._others:
            self._mover.cancel(gone)
            gone.usage.prompt = gone.usage.reused = 0
            self._sequence.usage.add(gone.usage)
            self._sequence.usage.dropped += gone.transcript.kinds[gone.taken :].count("thinking")
        self._others.clear()

    def take(self, text: str, *, looks: bool = False) -> None:
        """Take in what the other has written, as far as there is room for thought.

        It is read with the next pass, a long one in passes of its own, unless somebody ``looks`` at how likely it is.
        """
        s = self._sequence
        self._begins = self._inject(s, text)
        self.read += text
        if not looks and not isinstance(s.slot, Nowhere) and s.pending > PROMPT_WITH_DRAFT:
            s.usage.prefill_passes += self._engine.target.prefill(s.slot, s.tokens[s.slot.length : -1])

    def _inject(self, s: Sequence, text: str) -> int:
        """Write a text into the thought by force, which is opened first if need be; says where it begins."""
        form, context = self._engine.text.format, self._engine.target.context
        if s.transcript.phase == "before" and text:
            s.inject(form.opens + form.lead, METHOD, context)
        begins = len(s.tokens)
        s.inject(text, METHOD, context, None if s.landing is None else max(s.landing.at - s.generated, 0))
        if s.full(context):
            s.finish = "length"
        return begins

    def end(self) -> Result:
        """End the thought if it has not ended, write the answer to its end, and leave."""
        s, context = self._sequence, self._engine.target.context
        self._hand.aim(whole=True)
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
        for gone, _ in self._others:
            self._mover.cancel(gone)
        self._mover.cancel(self._sequence)
        self._mover.close()
        return self._engine.result(self._sequence)

    def weigh(self, ask: str) -> tuple[torch.Tensor, list[float] | None]:
        """Logits ``[vocab]`` behind the text and ``ask``, and how likely what was taken in last was, if it is unread.

        The latter are logarithms of its tokens' probabilities; None over a server, which does not say. Raises
        RequestError where there is no room for ``ask``.
        """
        s, target = self._sequence, self._engine.target
        question = self._engine.text.encode(ask)
        if len(s.tokens) + len(question) > target.context:
            raise RequestError("there is no room to ask about a step.", "Lower max_new_tokens.")
        if isinstance(s.slot, Nowhere):
            return self._over_there(question), None
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
        return row, logs[max(len(logs) - size, 0) :] if size else []

    def digits(self, ask: str) -> tuple[list[float], list[float] | None]:
        """Probabilities of the ten digits behind the text and ``ask``, and what :meth:`weigh` says of the text."""
        if self._digits is None:
            self._digits = [self._engine.text.encode(str(digit))[-1] for digit in range(10)]
        row, logs = self.weigh(ask)
        chances = row.float().softmax(-1)
        return [float(chances[token]) for token in self._digits], logs

    def _over_there(self, question: Seq[int]) -> torch.Tensor:
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
        for _, error in self._mover.move():
            if error is not None:
                raise error

    def _bare(self, text: str) -> str:
        """A piece without the tags that open and close a thought."""
        form = self._engine.text.format
        if form.opens and text.lstrip().startswith(form.opens):
            text = text.lstrip().removeprefix(form.opens).removeprefix(form.lead)
        return text.partition(form.closes)[0] if form.closes else text


def _lead(s: Sequence, hand: Hand, most: int | None, *, whole: bool = False, guarded: bool = False) -> None:
    """Have a thought wait at the end of its next step, or where else it is told to."""
    hand.aim(None if most is None else s.transcript.thinking + most, whole=whole, guards=guarded)
    s.refresh_limit()


def _waits(s: Sequence, hand: Hand, begun: int) -> bool:
    """Whether a thought has come to where it waits, or to its end; never inside a character."""
    if not hand.waits:
        return s.transcript.phase not in ("before", "thinking") or s.done
    if hand.closes or not s.text_between(begun, len(s.tokens)).endswith(_HALF):
        return True
    hand.waits, hand.most = False, s.transcript.thinking + 1  # to the end of the character
    s.refresh_limit()
    return s.done


def _closed(s: Sequence) -> bool:
    """Whether a thought has ended, or there is no room for more of it."""
    return s.transcript.phase == "answer" or s.done or s.lands(boundary=False)
