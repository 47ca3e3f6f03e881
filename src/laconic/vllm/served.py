"""Requests whose controllers ask the model questions: decided in vLLM's server, which sees them as its own.

The loop is that of any model behind a server; its writer is the engine in this process. What it makes of a request is
given to vLLM's server as the output of one request, so that chats, streams, tool parsers and counters are vLLM's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

from laconic.errors import LaconicError, UnmetNeed
from laconic.sequence import Sequence as Served
from laconic.vllm import counters
from laconic.vllm.admission import FAULT, hosted, stand_aside
from laconic.vllm.asked import SEED, Asked
from laconic.vllm.host import Host, log
from laconic.vllm.writer import Ask, EngineLoop, EngineWriter, FromEngine, GivenUp

_HINT = "Leave it out, or use methods that need no probes (budget, soft-landing, loop-break)."

_V1 = "Set VLLM_USE_V2_MODEL_RUNNER=0, or use methods that rule out no tokens."
_MOST_ALLOWED = 1024
"""As many ``allowed_token_ids`` its V2 model runner takes; its worker raises for more, and the engine ends."""


def deciding(generate: Callable[..., AsyncGenerator[Any, None]], refuse: Callable[[str], Exception]) -> Any:
    """vLLM's ``AsyncLLM.generate``; ``refuse`` makes the error that its servers answer with status 400."""

    def decided(
        self: Any, prompt: Any, sampling_params: Any, request_id: str, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        if not hasattr(sampling_params, "extra_args") or inspect.isasyncgen(prompt):
            return generate(self, prompt, sampling_params, request_id, **kwargs)
        host = hosted(self)
        try:
            asked = host.asked(sampling_params)
            where = asked is not None and ("workers" if host.in_workers(asked) else "server")
        except LaconicError as error:
            return _refusing(refuse(str(error)))
        if asked is not None:
            counters.request(asked.think, str(where))
        if asked is None or where == "workers":
            return generate(self, prompt, sampling_params, request_id, **kwargs)
        served = _Request(self, generate, host, asked, prompt, sampling_params, request_id, kwargs)
        return served.outputs(refuse)

    return decided


async def _refusing(error: Exception) -> AsyncGenerator[Any, None]:
    raise error
    yield


class _Request:
    """One request of a client, which may want ``n`` replies."""

    def __init__(
        self,
        engine: Any,
        generate: Callable[..., AsyncGenerator[Any, None]],
        host: Host,
        asked: Asked,
        prompt: Any,
        params: Any,
        request_id: str,
        kwargs: dict[str, Any],
    ) -> None:
        self.engine, self.host, self.asked, self.params, self.id = engine, host, asked, params.clone(), request_id
        self._generate = generate
        self._prompt, self._given = prompt, kwargs
        self._kwargs = {
            name: value
            for name, value in kwargs.items()
            if name not in ("prompt_text", "reasoning_ended", "reasoning_parser_kwargs")
        }
        self._count = 0

    async def outputs(self, refuse: Callable[[str], Exception]) -> AsyncGenerator[Any, None]:
        """RequestOutputs, as the client asked for them."""
        from vllm.sampling_params import RequestOutputKind

        try:
            _together(self.params)
            inputs = self._rendered()
            replies = [self._reply(index, inputs) for index in range(self.params.n)]
        except LaconicError as error:
            stand_aside(error, self.asked, self.params, self.id, refuse)
            whole = self._generate(self.engine, self._prompt, self.params, self.id, **self._given)
            async with contextlib.aclosing(whole) as outputs:
                async for output in outputs:
                    yield output
            return
        final = self.params.output_kind == RequestOutputKind.FINAL_ONLY
        last: dict[int, Any] = {}
        ended = 0
        queue: asyncio.Queue[Any] = asyncio.Queue()
        tasks = [asyncio.ensure_future(reply.run(queue)) for reply in replies]
        try:
            while ended < len(replies):
                output = await queue.get()
                if isinstance(output, BaseException):
                    raise output
                over = output.finish_reason is not None
                ended += over
                last[output.index] = output
                done = ended == len(replies)
                if not final or done:
                    told = [last[index] for index in sorted(last)] if final else [output]
                    yield self._told(inputs["prompt_token_ids"], told, done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self, inputs: dict[str, Any]) -> Ask:
        """Completions of vLLM on the prompt's own terms (adapter, salt of the cache, priority)."""

        def asked(before: Sequence[int], params: Any) -> AsyncGenerator[Any, None]:
            prompt = {**inputs, "prompt_token_ids": list(before)}
            return self._generate(self.engine, prompt, params, self._name(), **self._kwargs)

        return asked

    def _name(self) -> str:
        """A part's name: the request's own, so that ``AsyncLLM.abort`` finds all; vLLM tells parts apart itself."""
        from vllm import envs

        self._count += 1
        return f"{self.id}-laconic-{self._count}" if envs.VLLM_DISABLE_REQUEST_ID_RANDOMIZATION else self.id

    def _rendered(self) -> dict[str, Any]:
        """The prompt as ids, by vLLM's own renderer where the server has not done so."""
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        prompt = self._prompt
        if not (isinstance(prompt, dict) and "type" in prompt):
            renderer = self.engine.input_processor.renderer
            (prompt,) = renderer.render_cmpl(
                [parse_model_prompt(self.engine.model_config, prompt)],
                renderer.default_cmpl_tok_params.with_kwargs(**(self._kwargs.pop("tokenization_kwargs", None) or {})),
            )
        if prompt["type"] != "token":
            raise UnmetNeed(f"methods that probe need a prompt of tokens, not of {prompt['type']}.", _HINT)
        return {name: value for name, value in prompt.items() if name != "prompt"}

    def _reply(self, index: int, inputs: dict[str, Any]) -> _Reply:
        params = self.params
        if params.n > 1:
            params = params.clone()
            params.seed = None if params.seed is None else params.seed + index
        params.extra_args = {**(params.extra_args or {}), SEED: secrets.randbits(62)}
        return _Reply(self, index, params, inputs)

    def _told(self, prompt: list[int], outputs: list[Any], finished: bool) -> Any:
        from vllm.outputs import RequestOutput

        return RequestOutput(
            request_id=self.id,
            prompt=None,
            prompt_token_ids=prompt,
            prompt_logprobs=None,
            outputs=outputs,
            finished=finished,
            lora_request=self._kwargs.get("lora_request"),
        )


class _Reply:
    """One reply: the loop that writes it, and the detokenizer that vLLM would use."""

    def __init__(self, request: _Request, index: int, params: Any, inputs: dict[str, Any]) -> None:
        from vllm.v1.engine.detokenizer import IncrementalDetokenizer

        self._request, self._index, self._params = request, index, params
        host, prompt = request.host, inputs["prompt_token_ids"]
        self._loop = EngineLoop(
            EngineWriter(request.ask(inputs), params, host.text), host.target, host.plan(request.asked.think)
        )
        self._served = self._loop.add(host.request(request.asked, prompt, params))
        if self._served.rules and not host.follows and host.rows > _MOST_ALLOWED:
            raise UnmetNeed("vLLM's V2 model runner cannot be told to write anything but some tokens.", _V1)
        stop = params.stop if isinstance(params.stop, list) else [params.stop] if params.stop else []
        asked = SimpleNamespace(
            request_id=request.id,
            sampling_params=params,
            prompt_token_ids=prompt,
        )
        tokenizer = request.engine.input_processor.tokenizer if params.detokenize else None
        self._text = IncrementalDetokenizer.from_new_request(tokenizer, asked)
        self._stop, self._sent = stop, len(prompt)
        if stop:
            self._text.stop = []  # they are looked for in the answer alone

    async def run(self, queue: asyncio.Queue[Any]) -> None:
        """Put CompletionOutputs into the queue, the last with its finish reason; or what vLLM has raised."""
        s = self._served
        try:
            while not s.done:
                await self._loop.advance(s)
                output = self._output(s)
                if output is None:
                    continue
                queue.put_nowait(output)
                if output.finish_reason is not None:
                    break
        except FromEngine as failure:
            queue.put_nowait(failure.error)
        except GivenUp as ended:
            queue.put_nowait(self._completion([], ended.reason, ended.stopped))
        except Exception:
            log.exception("control of a request failed, the request is ended")
            counters.fault()
            queue.put_nowait(self._completion([], "error", FAULT))
        finally:
            await self._loop.aclose(s)
            counters.served(s)

    def _output(self, s: Served) -> Any:
        """What has come since the last time; None for nothing that a client sees."""
        first, self._sent = self._sent, len(s.tokens)
        new = s.tokens[first:]
        stopped = None
        finish = s.finish if s.done else None
        token = self._stop_token(s, new)
        ended = token is not None or (finish == "stop" and bool(new) and new[-1] in s.text.eos)
        begins = s.transcript.answer_begins if self._stop and not self._text.stop else len(s.tokens)
        if begins < len(s.tokens):
            lead = max(begins - first, 0)
            self._text.update(new[:lead], False)
            self._text.stop = self._stop  # from here on
            stopped = self._text.update(new[lead:], ended)
        elif new:
            stopped = self._text.update(list(new), ended)
        if stopped is not None:
            return self._completion(new, "stop", stopped)
        if token is not None:
            return self._completion(new, "stop", token)
        if not new and finish is None:
            return None
        return self._completion(new, finish, None)

    def _stop_token(self, s: Served, new: Sequence[int]) -> int | None:
        """The client's own stop token, where it has ended the answer; one in the thought ends no more than that."""
        if not new or s.transcript.answer_begins >= len(s.tokens) or new[-1] in s.text.eos:
            return None
        return new[-1] if new[-1] in (self._params.stop_token_ids or ()) else None

    def _completion(self, new: list[int], finish: str | None, reason: str | int | None) -> Any:
        from vllm.outputs import CompletionOutput
        from vllm.sampling_params import RequestOutputKind

        delta = self._params.output_kind == RequestOutputKind.DELTA
        text = self._text.get_next_output_text(finish is not None, delta)
        tokens = list(new) if delta else list(self._served.tokens[len(self._served.request.prompt) :])
        return CompletionOutput(
            index=self._index,
            text=text,
            token_ids=tokens,
            cumulative_logprob=None,
            logprobs=None,
            finish_reason=finish,
            stop_reason=reason,
        )


def _together(params: Any) -> None:
    """Refuse what cannot be had together with methods that probe. Raises UnmetNeed."""
    for name, given in (
        ("logprobs", params.logprobs is not None),
        ("prompt_logprobs", params.prompt_logprobs is not None),
        ("structured outputs", params.structured_outputs is not None),
        ("ignore_eos", params.ignore_eos),
        ("min_tokens", params.min_tokens > 0),
        ("presence_penalty", params.presence_penalty != 0),
        ("frequency_penalty", params.frequency_penalty != 0),
    ):
        if given:
            raise UnmetNeed(f"{name} cannot be had together with methods that ask the model questions.", _HINT)
