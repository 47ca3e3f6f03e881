"""The decode loop over a server: the thought is written piece by piece, and controllers are asked as they always are.

What decides is laconic's own loop: the same transcript, check points, actions and limits. Only the tokens come from
elsewhere. Surplus ones are dropped where an action takes them back, so that how much is asked for at once changes the
cost and never the outcome.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import Any, TypeVar

from laconic.errors import BadReply, UnmetNeed
from laconic.loop import Loop, Plan
from laconic.remote.elsewhere import Elsewhere
from laconic.remote.probe import believe, no_logprobs
from laconic.remote.writer import Writes, Written
from laconic.sequence import CheckPoint, Sequence
from laconic.splitmix import GOLDEN, MASK, mix
from laconic.thinking.base import Ban, Probe
from laconic.transcript import STEP
from laconic.types import Request, Sampling

T = TypeVar("T")

_POSITION, _OFFSET = 0xD1B54A32D192ED03, 0x2545F4914F6CDD1D
"""Odd numbers of no meaning that keep seeds and positions apart."""


class RemoteLoop(Loop):
    """Requests join with :meth:`add`; :meth:`finish` serves one to its end, :meth:`step` moves all on by one piece.

    While a probe is out the thought goes on, as it does in laconic's own loop; where the probe ends it, that piece is
    broken off.
    """

    def __init__(self, writer: Writes, target: Elsewhere, plan: Plan) -> None:
        super().__init__(target, writer.text, plan)
        self._under_way: dict[int, asyncio.Task[Written]] = {}
        """The next pieces of requests, by the identity of their sequences."""
        self._writing: dict[int, asyncio.Task[Written]] = {}
        """The pieces that are waited for."""
        self.writer = writer
        self.asking = writer.asking

    def add(self, request: Request) -> Sequence:
        """Let a request join. Raises RequestError if its prompt does not fit, UnmetNeed for a rule other than a Ban."""
        if request.grammar is not None:
            raise UnmetNeed(
                "a grammar changes the model's logits, and needs a model that laconic runs itself.",
                "Load the model with Engine.load, or ask the server for its own response_format.",
            )
        sequence = super().add(request)
        for controller, state in sequence.controllers:
            if not isinstance(controller.rule(state), Ban | None):
                self.cancel(sequence)
                raise UnmetNeed(
                    f"'{controller.name}' changes the model's logits, and needs a model that laconic runs itself.",
                    "Load the model with Engine.load, or do without this method.",
                )
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """End a request with what it has produced. Not for use inside the model's own event loop."""
        super().cancel(sequence)
        task = self._under_way.get(id(sequence))
        if task is not None and not task.done():
            self.writer.wait(self._break_off(sequence))

    def step(self) -> list[Sequence]:
        """A piece more of every active request; returns those that are done and have left."""
        sequences = list(self.active)

        async def together() -> None:
            await all_or_none([self.advance(s) for s in sequences])

        self.writer.wait(together())
        return [s for s in sequences if s.done]

    async def finish(self, s: Sequence) -> None:
        """Serve a request to its end."""
        while not s.done:
            await self.advance(s)

    async def advance(self, s: Sequence) -> None:
        """Have the server write a piece, and let the controllers decide about it."""
        begun = time.perf_counter()
        if s.ending and await self._ended(s):
            return
        writing = self._under_way.pop(id(s), None) or asyncio.ensure_future(self._piece(s))
        self._writing[id(s)] = writing
        try:
            written = await writing
        except asyncio.CancelledError:
            mine = asyncio.current_task()
            gone = mine is not None and mine.cancelling() > 0  # and not the piece alone that was broken off
            if gone or not (s.ending and writing.cancelled()):
                writing.cancel()
                raise
            await self._ended(s)
            return
        finally:
            del self._writing[id(s)]
        s.usage.seconds["score"] += time.perf_counter() - begun
        s.usage.dropped += written.paid - len(written.tokens)
        said = self._chances(s, written)
        count = 0
        for count, token in enumerate(written.tokens, start=1):
            if s.ends_unanswered(token):
                s.owe()
            banned = _banned(s)
            if token in banned:
                count -= 1
                await self._other(s, sorted(banned))
                break
            self._note(s, said[count - 1 : count])
            self._write(s, [token])
            if await self._settle(s, last=count == len(written.tokens)) or s.finish is not None:
                break
            if s.ending and s.transcript.thinks:
                break
        else:
            if written.cut:
                s.finish = "length"
            elif not written.tokens:  # the end of the text, of a tokenizer that has no token for it
                s.finish = "stop"
                if s.transcript.phase == "thinking" and (s.controllers or s.request.limits.answers):
                    s.checks.append(CheckPoint(s.transcript.snapshot(), False, False, "end"))
                    await self._settle(s, last=True)
        s.usage.dropped += len(written.tokens) - count
        if not await self._ended(s) and s.done:
            self._leave(s)

    def conclude(self, sequence: Sequence, reason: str) -> bool:
        """As :meth:`Loop.conclude`; what the server is writing of the thought is broken off."""
        if sequence.done or sequence.transcript.phase == "answer":
            return False
        sequence.ending = reason
        if sequence.transcript.thinks and id(sequence) in self._writing:
            self._writing[id(sequence)].cancel()
        return True

    async def _ended(self, s: Sequence) -> bool:
        """End the thought that somebody outside wants to end, and break off what is being written of it.

        Says whether there was one.
        """
        before = len(s.events)
        self._end(s)
        if len(s.events) == before:
            return False
        await self._break_off(s)
        if s.done:
            self._leave(s)
        return True

    async def aclose(self, s: Sequence) -> None:
        """End a request, whatever it is at; for use inside the model's own event loop."""
        await self._break_off(s)
        s.finish = s.finish or "cancelled"
        if s in self.active:
            self._leave(s)

    async def _piece(self, s: Sequence) -> Written:
        most = s.room(self.target.context) + 1
        stop: tuple[str, ...] = s.request.limits.stop
        if s.transcript.phase == "answer" and self.asking.answer:
            most = min(most, self.asking.answer)
        if (s.controllers or self.asking.answer) and s.transcript.phase != "answer":
            piece = self.asking.piece
            stop = () if piece else (STEP,)
            most = min(most, piece) if piece else most
        return await self.writer.write(s.tokens, most=most, sampling=here(s), stop=stop, logprobs=asked(s))

    def _chances(self, s: Sequence, written: Written) -> Seq[float]:
        """How likely each token was, where a controller needs to know. Raises NoLogprobs where the server hides it."""
        if s.chances is None:
            return ()
        found = written.chances(self.text)
        if found is None and written.tokens:
            name = next(c.name for c, _ in s.controllers if any(policy.needs.chances for policy in c.walk()))
            raise no_logprobs(name)
        return found or ()

    def _note(self, s: Sequence, said: Seq[float]) -> None:
        """Remember how likely the token is that is about to be written."""
        if s.chances is not None:
            s.chances += said

    async def _other(self, s: Sequence, banned: Seq[int]) -> None:
        """A token in place of one that the controllers' rules rule out; the server does not know them otherwise."""
        sampling = here(s)
        again = replace(sampling, seed=mixed(sampling.seed, 0))  # the same numbers would speak for the same token
        written = await self.writer.write(s.tokens, most=1, sampling=again, bans=banned, logprobs=asked(s))
        if not written.tokens or written.tokens[0] in banned:
            raise BadReply("the server does not keep to logit_bias.", "Do without the methods that rule out tokens.")
        self._note(s, self._chances(s, written)[:1])
        self._write(s, written.tokens[:1])
        await self._settle(s, last=True)

    async def _settle(self, s: Sequence, *, last: bool) -> bool:
        """Decide the open check points; says whether one was acted on, so that what is left of the piece is void.

        ``last`` says that nothing is left of it.
        """
        if not s.checks:
            return False
        begun, before = time.perf_counter(), len(s.events)
        try:
            self._decide(s)
            while s.ride is not None:
                if self.asking.ahead and last and s.finish is None and id(s) not in self._under_way:
                    self._under_way[id(s)] = asyncio.ensure_future(self._piece(s))
                await self._answer(s, s.ride.probe)
                self._decide(s)
        except BaseException:
            await self._break_off(s)
            raise
        s.usage.seconds["policy"] += time.perf_counter() - begun
        if len(s.events) == before:
            return False
        await self._break_off(s)
        return True

    async def _answer(self, s: Sequence, probe: Probe) -> None:
        """Have the server answer a probe of the oldest check point."""
        check = s.checks[0]
        asking = s.controllers[check.turn][0]
        logprobs = self.asking.logprobs if asking.needs.probabilities else None
        before = s.tokens[: check.point.length]
        check.belief, tokens = await believe(self.writer, probe, before, logprobs, asking.name)
        s.usage.probed += tokens
        s.ride = None

    async def _break_off(self, s: Sequence) -> None:
        """Cancel a request's piece under way; the server stops when the connection closes."""
        task = self._under_way.pop(id(s), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def asked(s: Sequence) -> int | None:
    """How many of the likeliest tokens shall come with each one of the text, where its probability is needed."""
    return None if s.chances is None else 1


def _banned(s: Sequence) -> frozenset[int]:
    """Tokens that must not come next."""
    if not s.rules:
        return frozenset()
    place = s.transcript.place()
    return frozenset(token for rule in s.rules if isinstance(rule, Ban) for token in rule.banned(place))


def here(s: Sequence) -> Sampling:
    """How the next piece is sampled: with a seed of its own, or every piece would begin with the same numbers."""
    sampling = s.request.sampling
    return sampling if sampling.greedy else replace(sampling, seed=mixed(sampling.seed, len(s.tokens)))


def mixed(seed: int, position: int) -> int:
    """A seed for what is drawn from ``position`` on, below 2**31: not all servers take more."""
    return mix((seed * GOLDEN + position * _POSITION + _OFFSET) & MASK) & (2**31 - 1)


async def all_or_none(coroutines: Seq[Coroutine[Any, Any, T]]) -> list[T]:
    """Results of all, run together. The first exception is raised, once the others have been cancelled and are over."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
