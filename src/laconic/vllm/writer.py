"""The writer of a loop whose model runs in a vLLM engine of this very process: token ids in, token ids out, no HTTP."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from laconic.loop import Plan
from laconic.models.replies import Named, Said
from laconic.models.text import Text
from laconic.remote.elsewhere import Elsewhere
from laconic.remote.loop import RemoteLoop, asked, here
from laconic.remote.writer import Asking, Written
from laconic.sequence import Sequence as Served
from laconic.types import Sampling
from laconic.vllm.asked import EXPECTED, OURS, PART

T = TypeVar("T")
Ask = Callable[[Sequence[int], Any], AsyncGenerator[Any, None]]
"""A completion by vLLM: a prompt of ids and sampling parameters in, its RequestOutputs out."""


class FromEngine(Exception):
    """What vLLM itself raised, for whoever sent the request. ``error`` is that."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class GivenUp(Exception):
    """vLLM has ended a completion before its time: ``reason`` is its finish reason, ``stopped`` its stop reason."""

    def __init__(self, reason: str, stopped: Any) -> None:
        super().__init__(reason)
        self.reason, self.stopped = reason, stopped


class EngineWriter:
    """Has vLLM write on. ``ask`` sends a completion, ``params`` are the client's sampling parameters.

    What a completion shares with the client's request are filters, penalties and stop tokens; length, seed, stop
    strings and probabilities are the loop's.
    """

    def __init__(self, ask: Ask, params: Any, text: Text) -> None:
        self.text = text
        self.asking = Asking(ahead=False)  # the thought streams on by itself
        self._ask = ask
        self._params = params

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Never asked: vLLM's event loop is not to be waited for."""
        raise NotImplementedError("requests inside vLLM are served by its own event loop")

    async def write(
        self,
        before: Sequence[int],
        *,
        most: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        bans: Sequence[int] = (),
        guess: Sequence[int] = (),
    ) -> Written:
        """As :meth:`laconic.remote.writer.Writes.write`. Raises FromEngine and GivenUp."""
        parts = [
            part
            async for part in self.stream(
                before, most=most, sampling=sampling, stop=stop, logprobs=logprobs, bans=bans, guess=guess
            )
        ]
        tokens = tuple(token for part in parts for token in part.tokens)
        said = None if logprobs is None else tuple(one for part in parts for one in part.said or ())
        cut = bool(parts) and parts[-1].cut
        return Written(tokens, tuple(map(self.text.piece, tokens)), said, cut, len(tokens))

    async def stream(
        self,
        before: Sequence[int],
        *,
        most: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        logprobs: int | None = None,
        bans: Sequence[int] = (),
        guess: Sequence[int] = (),
    ) -> AsyncGenerator[Written, None]:
        """The same as it is written. Raises FromEngine and GivenUp. Closing it makes vLLM stop."""
        params = self._params.clone()
        params.n, params.max_tokens, params.min_tokens = 1, most, 0
        params.temperature = sampling.temperature
        params.seed = None if sampling.greedy or self._params.seed is None else sampling.seed
        params.stop, params.include_stop_str_in_output, params.detokenize = list(stop), True, bool(stop)
        params.output_kind = type(params.output_kind).DELTA
        params.logprobs = logprobs
        params.thinking_token_budget = None
        others = {name: value for name, value in (params.extra_args or {}).items() if "laconic" not in name}
        params.extra_args = {**others, PART: OURS, **({EXPECTED: list(guess)} if guess else {})}
        if bans:
            params.allowed_token_ids = sorted(self._others(bans))
        written = 0
        try:
            async with contextlib.aclosing(self._ask(before, params)) as outputs:
                async for output in outputs:
                    (one,) = output.outputs
                    if one.finish_reason in ("abort", "error"):
                        raise GivenUp(one.finish_reason, one.stop_reason)
                    tokens = tuple(one.token_ids)
                    written += len(tokens)
                    said = _said(tokens, one.logprobs) if logprobs is not None else None
                    cut = one.finish_reason == "length" and written < most
                    yield Written(tokens, tuple(map(self.text.piece, tokens)), said, cut, len(tokens))
        except GivenUp:
            raise
        except Exception as error:
            raise FromEngine(error) from error

    def _others(self, bans: Sequence[int]) -> set[int]:
        """Tokens that may be written where ``bans`` may not."""
        allowed = self._params.allowed_token_ids
        return set(allowed or self.text.tokenizer.get_vocab().values()) - set(bans)


class EngineLoop(RemoteLoop):
    """The loop over such a writer: the thought streams on while controllers decide, and is broken off where they act.

    What is written up to the first action is what vLLM writes by itself with the same seed. :meth:`aclose` ends a
    request that its client has left.
    """

    def __init__(self, writer: EngineWriter, target: Elsewhere, plan: Plan) -> None:
        super().__init__(writer, target, plan)
        self._from = writer
        self._streams: dict[int, AsyncGenerator[Written, None]] = {}

    async def advance(self, s: Served) -> None:
        """What vLLM has written meanwhile, and what the controllers make of it."""
        await super().advance(s)
        if s.done:
            await self._break_off(s)

    async def _piece(self, s: Served) -> Written:
        if id(s) not in self._streams:
            self._streams[id(s)] = self._open(s)
        async for written in self._streams[id(s)]:
            return written
        del self._streams[id(s)]
        return Written((), (), None, cut=False)

    def _open(self, s: Served) -> AsyncGenerator[Written, None]:
        expected, s.context.expected = tuple(s.context.expected), ()
        sampling = s.request.sampling if not s.generated else here(s)
        most = max(s.left(self.target.context), 1)
        return self._from.stream(s.tokens, most=most, sampling=sampling, logprobs=asked(s), guess=expected)

    async def _other(self, s: Served, banned: Sequence[int]) -> None:
        await self._break_off(s)  # the stream has gone on with the token that is ruled out
        await super()._other(s, banned)

    async def _break_off(self, s: Served) -> None:
        await super()._break_off(s)
        stream = self._streams.pop(id(s), None)
        if stream is not None:
            await stream.aclose()


def _said(tokens: Sequence[int], logprobs: Sequence[Mapping[int, Any]] | None) -> tuple[Said, ...]:
    """What vLLM says of each token it wrote; -inf where it is silent."""
    if logprobs is None:
        return ()
    found = []
    for token, top in zip(tokens, logprobs, strict=False):
        values: dict[Named, float] = {one: float(value.logprob) for one, value in top.items()}
        found.append(Said(token, min(values.get(token, -math.inf), 0.0), values))
    return tuple(found)
