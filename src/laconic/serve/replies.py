"""What is answered: news of jobs as chat completions, completions, and chunks of both."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laconic.models.formats import Format
from laconic.models.formats.called import Call, Content, Reader, Thought
from laconic.models.text import Text as Tokenizer
from laconic.serve.api.chat import ChatBody
from laconic.serve.api.common import Body
from laconic.serve.api.completions import CompletionBody
from laconic.serve.backend import Backend, specs
from laconic.serve.job import Job, Told
from laconic.thinking.base import Controller
from laconic.types import Result, Step

_OWN = ("thinking", "answer", "injected", "drafted", "accepted", "probed", "dropped", "reused",
        "target_passes", "draft_passes", "prefill_passes", "probe_passes")  # fmt: skip
"""Counters that the response's own field tells."""


def counts(prompt: int, written: int) -> dict[str, int]:
    """What the API counts of every reply."""
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def usage(results: Sequence[Result], n: int) -> dict[str, Any]:
    """The API's counts. A prompt is counted once, as it was read, for all of its ``n`` replies; they stand together."""
    return {
        **counts(sum(result.usage.prompt for result in results[::n]), sum(len(result.tokens) for result in results)),
        "prompt_tokens_details": {"cached_tokens": sum(result.usage.reused for result in results[::n])},
        "completion_tokens_details": {
            "reasoning_tokens": sum(result.thought for result in results),
            "accepted_prediction_tokens": sum(result.usage.predicted for result in results),
            "rejected_prediction_tokens": sum(result.usage.mispredicted for result in results),
        },
    }


def _asked(jobs: Sequence[Job], n: int) -> int:
    """Tokens of all prompts."""
    return sum(len(job.request.prompt) for job in jobs[::n])


def decisions(job: Job, told: Told, standing: Sequence[Controller], backend: str) -> dict[str, Any]:
    """laconic's own field of a reply: what was decided about it, why, and what it took."""
    result = told.result
    assert result is not None
    shown: dict[str, Any] = {
        "id": job.id,
        "backend": backend,
        "think": specs(job.asked(tuple(standing))),
        "events": [
            {"method": event.method, "action": event.action, "tokens": event.tokens, "reason": event.reason}
            for event in result.events
        ],
        "lossless": result.lossless,
        "seed": job.request.sampling.seed,
        "usage": {name: getattr(result.usage, name) for name in _OWN},
    }
    if job.shadow:
        seen = told.seen
        shown["shadow"] = (
            None if seen is None else {"tokens": seen.thinking, "reason": seen.reason, "answer": seen.answer}
        )
    if job.notes:
        shown["notes"] = job.notes
    return shown


def trace(told: Told, text: Tokenizer) -> dict[str, Any]:
    """A pass as it was: each token with its text and origin, what was drafted, and what probes have found."""
    tokens = [
        {"text": piece, "origin": origin, "kind": step.kind}
        for step in told.steps
        for piece, origin in zip(_pieces(step, text), step.origins, strict=True)
    ]
    return {
        "tokens": tokens,
        "drafted": sum(step.drafted for step in told.steps),
        "accepted": sum(step.accepted for step in told.steps),
        "seconds": round(told.seconds, 6),
        "together": told.together,
        "passes": told.passes,
        "beliefs": [
            {"tokens": sight.thinking, "answer": sight.answer, "confidence": round(sight.confidence, 4)}
            for sight in told.sights
        ],
    }


def _pieces(step: Step, text: Tokenizer) -> list[str]:
    """The text of each token of a step; together they are the step's own, stop strings aside."""
    pieces, shown = [], ""
    for end in range(1, len(step.tokens) + 1):
        whole = text.decode(step.tokens[:end])
        if whole.endswith("\ufffd") and end < len(step.tokens):
            pieces.append("")
            continue
        pieces.append(whole[len(shown) :])
        shown = whole
    return pieces


@dataclass
class Streamed:
    """How much of a reply has been sent: its thought, its answer, its whole text."""

    thinking: str = ""
    answer: str = ""
    again: bool = False
    """Whether the answer has begun again."""

    def more(self, told: Told) -> dict[str, str]:
        """What has come of thought and answer since the last time.

        A model that goes on thinking behind its closing tag may write the tag once more: what was sent as its answer
        is part of the thought then. The answer is sent from its beginning, below what cannot be called back.
        """
        parts = told.result or told.parts
        if parts is None:
            return {}
        new = {}
        self.again = self.again or not (parts.answer.startswith(self.answer) or self.answer.startswith(parts.answer))
        new["reasoning"], self.thinking = _beyond(self.thinking, parts.thinking)
        new["content"], self.answer = _beyond(self.answer, parts.answer)
        return {name: piece for name, piece in new.items() if piece}


_AGAIN = "the model closed its thought once more: what was sent of its answer before that belongs to the thought"


def _beyond(sent: str, whole: str) -> tuple[str, str]:
    """What is to be sent of a text of which ``sent`` is known, and what is known then.

    Behind another closing tag an answer begins anew, since what stood before it was thought: what was sent cannot be
    taken back, but the answer must not be lost, so it follows below it.
    """
    if whole.startswith(sent):
        return whole[len(sent) :], whole
    return ("", sent) if sent.startswith(whole) else (f"\n\n{whole}", whole)


def chat_logprobs(steps: Sequence[Step], text: Tokenizer) -> list[dict[str, Any]]:
    """The answer's tokens with their log probabilities."""
    return [
        {**_said(one.token, one.logprob, text), "top_logprobs": [_said(*top, text) for top in one.top]}
        for step in steps
        if step.kind == "answer"
        for one in step.logprobs
        if one is not None and one.token not in text.eos
    ]


def _said(token: int, logprob: float, text: Tokenizer) -> dict[str, Any]:
    piece = text.piece(token)
    return {"token": piece, "logprob": max(logprob, -9999.0), "bytes": list(piece.encode())}


def text_logprobs(steps: Sequence[Step], text: Tokenizer, offset: int, *, ids: bool) -> dict[str, Any]:
    """Log probabilities as completions have them; ``offset`` is where the text begins, ``ids`` wants no texts.

    Tokens that nobody drew are listed without any.
    """
    named = "token_id:{}".format if ids else text.piece
    tokens, values, tops, offsets = [], [], [], []
    for step in steps:
        for token, one in zip(step.tokens, step.logprobs, strict=True):
            if token in text.eos:
                continue
            tokens.append(named(token))
            values.append(None if one is None else max(one.logprob, -9999.0))
            tops.append(None if one is None else {named(top): max(value, -9999.0) for top, value in one.top})
            offsets.append(offset)
            offset += len(text.piece(token))
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


def head(id: str, kind: str, model: str) -> dict[str, Any]:
    """What every reply begins with."""
    return {"id": id, "object": kind, "created": int(time.time()), "model": model}


def event(data: Any) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
ALIVE = b": waiting\n\n"
"""A comment, so that nobody on the way takes a request that waits for a dead one."""


class Reply:
    """Builds what is sent of one request. ``kind`` is its object's name, with and without a stream."""

    kinds: tuple[str, str]

    def __init__(self, backend: Backend, model: str, id: str, jobs: Sequence[Job], body: Body) -> None:
        self.backend, self.model, self.id, self.jobs, self.body = backend, model, id, jobs, body
        self.text = backend.text
        options = body.stream_options
        self._usage = bool(options and options.include_usage)
        self._so_far = bool(options and options.include_usage and options.continuous_usage_stats)
        self._n, self._written = body.n or 1, 0
        self._trace = body.options().trace
        self._head = head(id, "", model)

    def whole(self, ends: Sequence[Told]) -> dict[str, Any]:
        """The reply as one."""
        choices = [self.choice(index, told) for index, told in enumerate(ends)]
        results = [told.result for told in ends if told.result is not None]
        return self._head | {"object": self.kinds[0], "choices": choices, "usage": usage(results, self._n)}

    def begin(self) -> list[bytes]:
        """The first chunks, before anything is written."""
        return []

    def chunks(self, index: int, told: Told) -> list[bytes]:
        """Chunks for news of a reply."""
        self._written += sum(len(step.tokens) for step in told.steps)
        return self.news(index, told)

    def news(self, index: int, told: Told) -> list[bytes]:
        """The same, by the kind of reply."""
        raise NotImplementedError

    def choice(self, index: int, told: Told) -> dict[str, Any]:
        """A whole reply."""
        raise NotImplementedError

    def end(self, results: Sequence[Result]) -> list[bytes]:
        """The last chunks: usage where it was asked for, and the mark of the end."""
        if not self._usage:
            return [DONE]
        chunk = self._head | {"object": self.kinds[1], "choices": [], "usage": usage(results, self._n)}
        return [event(chunk), DONE]

    def failed(self, error: Mapping[str, Any]) -> bytes:
        """An error in the middle of a stream."""
        return event(error)

    def _chunk(self, index: int, told: Told | None, choice: dict[str, Any], finish: str | None = None) -> bytes:
        own: dict[str, Any] = {}
        if told is not None and told.result is not None:
            own = decisions(self.jobs[index], told, self.backend.standing, self.backend.name)
        if told is not None and self._trace:
            own["trace"] = trace(told, self.text)
        chunk = self._head | {
            "object": self.kinds[1],
            "choices": [{"index": index, **choice, "finish_reason": finish}],
        }
        if own:
            chunk["laconic"] = own
        if self._usage:
            chunk["usage"] = counts(_asked(self.jobs, self._n), self._written) if self._so_far else None
        return event(chunk)

    def _decisions(self, index: int, told: Told) -> dict[str, Any]:
        own = decisions(self.jobs[index], told, self.backend.standing, self.backend.name)
        return own | {"trace": trace(told, self.text)} if self._trace else own


class Chat(Reply):
    """A chat completion."""

    kinds = ("chat.completion", "chat.completion.chunk")

    def __init__(self, backend: Backend, model: str, id: str, jobs: Sequence[Job], body: ChatBody) -> None:
        super().__init__(backend, model, id, jobs, body)
        self._shows = body.include_reasoning is not False
        self._sent = [Streamed() for _ in jobs]
        self._calls: list[Calling] | None = None
        if body.tools and body.tool_choice != "none":
            tools = [tool.model_dump(exclude_none=True) for tool in body.tools]
            self._calls = [Calling(self.text.format, tools, job.request.phase or "answer") for job in jobs]

    def begin(self) -> list[bytes]:
        """Whose turn it is; from here on the request can be concluded by its id."""
        return [
            self._chunk(index, None, {"delta": {"role": "assistant", "content": ""}, "logprobs": None})
            for index in range(len(self.jobs))
        ]

    def news(self, index: int, told: Told) -> list[bytes]:
        """Thought and answer, as far as they are new; the last with why it ended."""
        new = self._sent[index].more(told) if self._calls is None else self._calls[index].more(told)
        if told.result is not None and self._sent[index].again:
            self.jobs[index].notes = [*self.jobs[index].notes, _AGAIN]
        logprobs = None
        if self.jobs[index].request.logprobs is not None and any(step.logprobs for step in told.steps):
            logprobs = {"content": chat_logprobs(told.steps, self.text), "refusal": None}
        delta: dict[str, Any] = {}
        if "content" in new:
            delta["content"] = new["content"]
        if "reasoning" in new and self._shows:
            delta |= {"reasoning": new["reasoning"], "reasoning_content": new["reasoning"]}
        if "tool_calls" in new:
            delta["tool_calls"] = new["tool_calls"]
        finish = None if told.result is None else self._finish(index, told.result)
        if not (delta or logprobs or finish or (self._trace and (told.steps or told.sights))):
            return []
        return [self._chunk(index, told, {"delta": delta, "logprobs": logprobs}, finish)]

    def choice(self, index: int, told: Told) -> dict[str, Any]:
        """A message, its thought apart."""
        assert told.result is not None
        result = told.result
        said: dict[str, Any] = {"reasoning": result.thinking, "content": result.answer}
        if self._calls is not None:
            said = {"reasoning": "", "content": None} | self._calls[index].more(told)
        thinking = said["reasoning"] if self._shows and said["reasoning"] else None
        calls = [{name: part for name, part in call.items() if name != "index"} for call in said.get("tool_calls", ())]
        logprobs = None
        if self.jobs[index].request.logprobs is not None:
            logprobs = {"content": chat_logprobs(told.steps, self.text), "refusal": None}
        return {
            "index": index,
            "message": {
                "role": "assistant", "content": said["content"], "refusal": None,
                "reasoning": thinking, "reasoning_content": thinking, **({"tool_calls": calls} if calls else {}),
            },
            "logprobs": logprobs,
            "finish_reason": self._finish(index, result),
            "laconic": self._decisions(index, told),
        }  # fmt: skip

    def _finish(self, index: int, result: Result) -> str:
        """Why a reply ended, in the API's words."""
        called = self._calls is not None and self._calls[index].count > 0
        return "tool_calls" if called and result.finish_reason == "stop" else result.finish_reason


class Calling:
    """A reply that may call tools, taken apart as it comes; a call is told once it is whole."""

    def __init__(self, form: Format, tools: Sequence[Mapping[str, Any]], begins: str) -> None:
        self._reader = Reader(form, tools, begins=begins)
        self.count = 0
        """Calls so far."""

    def more(self, told: Told) -> dict[str, Any]:
        """What has come of thought, answer and calls since the last time."""
        pieces = self._reader.push("".join(step.text for step in told.steps))
        if told.result is not None:
            pieces += self._reader.finish()
        new: dict[str, Any] = {}
        for kind, name in ((Thought, "reasoning"), (Content, "content")):
            if text := "".join(piece.text for piece in pieces if isinstance(piece, kind)):
                new[name] = text
        calls = [piece for piece in pieces if isinstance(piece, Call)]
        if calls:
            new["tool_calls"] = [self._call(call) for call in calls]
        return new

    def _call(self, call: Call) -> dict[str, Any]:
        self.count += 1
        return {
            "index": self.count - 1,
            "id": f"call_{secrets.token_hex(12)}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }


class Text(Reply):
    """A completion."""

    kinds = ("text_completion", "text_completion")

    def __init__(self, backend: Backend, model: str, id: str, jobs: Sequence[Job], body: CompletionBody) -> None:
        super().__init__(backend, model, id, jobs, body)
        self._echoed = [self.text.decode(job.request.prompt) if body.echo else "" for job in jobs]
        self._offsets = [len(echoed) for echoed in self._echoed]
        self._tokens, self._ids = bool(body.return_token_ids), bool(body.return_tokens_as_token_ids)

    def begin(self) -> list[bytes]:
        """The prompts, where they are to be said again."""
        said = enumerate(self._echoed)
        return [self._chunk(index, None, {"text": text, "logprobs": None}) for index, text in said if text]

    def news(self, index: int, told: Told) -> list[bytes]:
        """What was written."""
        text = "".join(step.text for step in told.steps)
        finish = None if told.result is None else told.result.finish_reason
        if not (told.steps or finish or (self._trace and told.sights)):
            return []
        logprobs = None
        if self.jobs[index].request.logprobs is not None:
            logprobs = text_logprobs(told.steps, self.text, self._offsets[index], ids=self._ids)
        self._offsets[index] += len(text)
        said: dict[str, Any] = {"text": text, "logprobs": logprobs}
        if self._tokens:
            said["token_ids"] = [token for step in told.steps for token in step.tokens]
        return [self._chunk(index, told, said, finish)]

    def choice(self, index: int, told: Told) -> dict[str, Any]:
        """A whole text."""
        assert told.result is not None
        logprobs = None
        if self.jobs[index].request.logprobs is not None:
            logprobs = text_logprobs(told.steps, self.text, self._offsets[index], ids=self._ids)
        tokens = {"token_ids": list(told.result.tokens)} if self._tokens else {}
        return tokens | {
            "index": index,
            "text": self._echoed[index] + told.result.text,
            "logprobs": logprobs,
            "finish_reason": told.result.finish_reason,
            "laconic": self._decisions(index, told),
        }
