"""Anthropic's Messages over the same jobs: its bodies become those of chats, and news become its events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from laconic.serve.api.chat import ChatBody
from laconic.serve.api.messages import Block, MessagesBody, ResultBlock, TextBlock, ThinkingBlock, Turn, UseBlock
from laconic.serve.backend import Backend
from laconic.serve.job import Job, Told
from laconic.serve.replies import Chat, decisions
from laconic.types import Result

PATH = "/v1/messages"
_ENDS = {"length": "max_tokens", "tool_calls": "tool_use"}
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip


def as_chat(body: MessagesBody) -> ChatBody:
    """The same request as a chat. Raises pydantic's ValidationError for what a chat cannot hold."""
    messages: list[dict[str, Any]] = []
    if body.system:
        said = body.system if isinstance(body.system, str) else "\n\n".join(block.text for block in body.system)
        messages.append({"role": "system", "content": said})
    for turn in body.messages:
        messages += _turn(turn)
    asked: dict[str, Any] = {
        "model": body.model, "messages": messages, "max_completion_tokens": body.max_tokens, "stream": body.stream,
        "stop": body.stop_sequences, "temperature": body.temperature, "top_p": body.top_p, "top_k": body.top_k,
        "laconic": None if body.laconic is None else body.laconic.model_dump(),
    }  # fmt: skip
    if body.thinking is not None and body.thinking.type == "disabled":
        asked["reasoning_effort"] = "none"
    elif body.output_config is not None:
        asked["reasoning_effort"] = body.output_config.effort
    if body.thinking is not None and body.thinking.type == "enabled":
        asked["thinking_token_budget"] = body.thinking.budget_tokens
    if body.tools:
        asked["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.input_schema},
            }
            for tool in body.tools
        ]
        asked["tool_choice"] = _choice(body)
    return ChatBody.model_validate({name: value for name, value in asked.items() if value is not None})


def _choice(body: MessagesBody) -> Any:
    choice = body.tool_choice
    if choice is None or choice.type in ("auto", "none"):
        return None if choice is None else choice.type
    return "required" if choice.type == "any" else {"type": "function", "function": {"name": choice.name or ""}}


def _turn(turn: Turn) -> list[dict[str, Any]]:
    """A turn as messages of a chat: what tools have answered are messages of their own, before the user's words."""
    if isinstance(turn.content, str):
        return [{"role": turn.role, "content": turn.content}]
    blocks: Sequence[Block] = turn.content
    messages: list[dict[str, Any]] = []
    for block in blocks:
        if isinstance(block, ResultBlock):
            said = block.content if isinstance(block.content, str) else "".join(part.text for part in block.content)
            messages.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": said})
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": json.dumps(block.input)}}
        for block in blocks
        if isinstance(block, UseBlock)
    ]
    thought = "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
    if text or calls or not messages:
        said_turn: dict[str, Any] = {"role": turn.role, "content": text}
        if calls:
            said_turn["tool_calls"] = calls
        if thought:
            said_turn["reasoning"] = thought
        messages.append(said_turn)
    return messages


class Messages(Chat):
    """A message, or its events. The thought is shown where the request asks for one; it is counted in any case."""

    def __init__(self, backend: Backend, model: str, id: str, jobs: Sequence[Job], body: ChatBody, shows: bool) -> None:
        super().__init__(backend, model, id, jobs, body)
        self._shows = shows
        self._open: str | None = None
        self._at = -1

    def whole(self, ends: Sequence[Told]) -> dict[str, Any]:
        """The message as one."""
        (told,) = ends
        result = told.result
        assert result is not None
        said: Mapping[str, Any] = {"reasoning": result.thinking, "content": result.answer}
        calls: list[dict[str, Any]] = []
        if self._calls is not None:
            said = self._calls[0].more(told)
            calls = said.get("tool_calls", [])
        content: list[dict[str, Any]] = []
        if self._shows and said.get("reasoning"):
            content.append({"type": "thinking", "thinking": said["reasoning"], "signature": ""})
        if said.get("content"):
            content.append({"type": "text", "text": said["content"]})
        content += map(_use, calls)
        return self._message(content, *self._end(result), self._used(result)) | {"laconic": self._decisions(0, told)}

    def begin(self) -> list[bytes]:
        """The message without anything in it."""
        used = {"input_tokens": len(self.jobs[0].request.prompt), "output_tokens": 0}
        return [_event("message_start", {"message": self._message([], None, None, used)})]

    def news(self, index: int, told: Told) -> list[bytes]:
        """What has come, block by block."""
        new: Mapping[str, Any] = (self._sent if self._calls is None else self._calls)[0].more(told)
        events: list[bytes] = []
        if self._shows and new.get("reasoning"):
            events += self._block("thinking", {"thinking": "", "signature": ""})
            events.append(self._delta({"type": "thinking_delta", "thinking": new["reasoning"]}))
        if new.get("content"):
            events += self._block("text", {"text": ""})
            events.append(self._delta({"type": "text_delta", "text": new["content"]}))
        for call in new.get("tool_calls", ()):
            events += self._close()
            events += self._block("tool_use", {**_use(call), "input": {}})
            events.append(self._delta({"type": "input_json_delta", "partial_json": call["function"]["arguments"]}))
            events += self._close()
        if told.result is not None:
            events += self._close()
            reason, stopped = self._end(told.result)
            own = decisions(self.jobs[0], told, self.backend.standing, self.backend.name)
            events.append(
                _event(
                    "message_delta",
                    {
                        "delta": {"stop_reason": reason, "stop_sequence": stopped},
                        "usage": self._used(told.result),
                        "laconic": own,
                    },
                )
            )
        return events

    def end(self, results: Sequence[Result]) -> list[bytes]:
        """The mark of the end."""
        return [_event("message_stop", {})]

    def failed(self, error: Mapping[str, Any]) -> bytes:
        """An error in the middle of a stream."""
        return _event("error", {"error": as_error(500, error)["error"]})

    def _message(
        self, content: list[dict[str, Any]], reason: str | None, stopped: str | None, used: Mapping[str, int]
    ) -> dict[str, Any]:
        return {
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": reason, "stop_sequence": stopped, "usage": dict(used),
        }  # fmt: skip

    def _end(self, result: Result) -> tuple[str, str | None]:
        """Why the message ended, and the stop string that ended it."""
        reason = self._finish(0, result)
        if reason in _ENDS:
            return _ENDS[reason], None
        beyond = self.text.decode(result.tokens)[len(result.text) :]
        stopped = next((stop for stop in self.jobs[0].request.limits.stop if beyond.startswith(stop)), None)
        return ("end_turn" if stopped is None else "stop_sequence"), stopped

    def _used(self, result: Result) -> dict[str, int]:
        used = result.usage
        return {
            "input_tokens": used.prompt - used.reused,
            "cache_read_input_tokens": used.reused,
            "output_tokens": len(result.tokens),
        }

    def _block(self, kind: str, empty: Mapping[str, Any]) -> list[bytes]:
        """Open a block of this kind, if it is not open."""
        if self._open == kind:
            return []
        events = self._close()
        self._open, self._at = kind, self._at + 1
        block = {"type": kind, **empty}
        return [*events, _event("content_block_start", {"index": self._at, "content_block": block})]

    def _close(self) -> list[bytes]:
        if self._open is None:
            return []
        self._open = None
        return [_event("content_block_stop", {"index": self._at})]

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._at, "delta": delta})


def _use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": json.loads(function["arguments"])}


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    body = json.dumps({"type": name, **data}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {body}\n\n".encode()


def as_error(status: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """An error of this server's in Anthropic's shape."""
    kind = _KINDS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": body["error"]["message"]}}
