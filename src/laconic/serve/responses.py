"""OpenAI's Responses over the same jobs: its bodies become those of chats, and news become its events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from laconic.serve.api.chat import ChatBody
from laconic.serve.api.responses import CallItem, MessageItem, NamedTool, OutputItem, Part, ReasoningItem, ResponsesBody
from laconic.serve.backend import Backend
from laconic.serve.job import Job, Told
from laconic.serve.replies import Chat, decisions
from laconic.types import Result

PATH = "/v1/responses"


def as_chat(body: ResponsesBody) -> ChatBody:
    """The same request as a chat. Raises pydantic's ValidationError for what a chat cannot hold."""
    asked: dict[str, Any] = {
        "model": body.model, "messages": _messages(body), "max_completion_tokens": body.max_output_tokens,
        "temperature": body.temperature, "top_p": body.top_p, "stream": body.stream,
        "reasoning_effort": body.reasoning.effort if body.reasoning else None,
        "laconic": None if body.laconic is None else body.laconic.model_dump(),
    }  # fmt: skip
    if body.text is not None and body.text.format is not None:
        form = body.text.format
        schema = {"name": form.name, "schema": form.schema_}
        asked["response_format"] = {"type": form.type} | ({"json_schema": schema} if form.type == "json_schema" else {})
    if body.tools:
        asked["tools"] = [
            {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
            for tool in body.tools
        ]
        asked["parallel_tool_calls"] = body.parallel_tool_calls
    if isinstance(body.tool_choice, NamedTool):
        asked["tool_choice"] = {"type": "function", "function": {"name": body.tool_choice.name}}
    else:
        asked["tool_choice"] = body.tool_choice
    return ChatBody.model_validate({name: value for name, value in asked.items() if value is not None})


def _messages(body: ResponsesBody) -> list[dict[str, Any]]:
    """Items as messages. A thought and calls of one turn go into its message."""
    messages: list[dict[str, Any]] = []
    if body.instructions:
        messages.append({"role": "system", "content": body.instructions})
    if isinstance(body.input, str):
        return [*messages, {"role": "user", "content": body.input}]
    thought = ""
    for item in body.input:
        if isinstance(item, ReasoningItem):
            thought = "\n\n".join(part.text for part in item.content or ())
        elif isinstance(item, OutputItem):
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)})
        elif isinstance(item, MessageItem):
            message: dict[str, Any] = {"role": item.role, "content": _text(item.content)}
            if thought and item.role == "assistant":
                message["reasoning"] = thought
                thought = ""
            messages.append(message)
        else:
            _add_call(messages, item, thought)
            thought = ""
    return messages


def _add_call(messages: list[dict[str, Any]], item: CallItem, thought: str) -> None:
    call = {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None, **({"reasoning": thought} if thought else {})})
    messages[-1].setdefault("tool_calls", []).append(call)


def _text(content: str | Sequence[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text or part.refusal or "" for part in content)


class Responses(Chat):
    """A response, or its events. Thought, answer and calls are items of its output, in the order they came in."""

    def __init__(
        self, backend: Backend, model: str, id: str, jobs: Sequence[Job], chat: ChatBody, body: ResponsesBody
    ) -> None:
        super().__init__(backend, model, id, jobs, chat)
        self._asked = body
        self._created = int(time.time())
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] | None = None
        self._number = -1

    def whole(self, ends: Sequence[Told]) -> dict[str, Any]:
        """The response as one."""
        (told,) = ends
        assert told.result is not None
        said: Mapping[str, Any] = {"reasoning": told.result.thinking, "content": told.result.answer}
        calls: list[dict[str, Any]] = []
        if self._calls is not None:
            said = self._calls[0].more(told)
            calls = said.get("tool_calls", [])
        if said.get("reasoning"):
            self._output.append(_item("reasoning", said["reasoning"]))
        if said.get("content"):
            self._output.append(_item("message", said["content"]))
        self._output += [_call(call) for call in calls]
        return self._response(told.result) | {"laconic": self._decisions(0, told)}

    def begin(self) -> list[bytes]:
        """The response without anything in it."""
        return [
            self._event(f"response.{name}", {"response": self._response(None)}) for name in ("created", "in_progress")
        ]

    def news(self, index: int, told: Told) -> list[bytes]:
        """What has come, item by item."""
        new: Mapping[str, Any] = (self._sent if self._calls is None else self._calls)[0].more(told)
        events: list[bytes] = []
        if new.get("reasoning"):
            events += self._begin("reasoning")
            events.append(self._of_part("response.reasoning_text.delta", {"delta": new["reasoning"]}))
            self._add(new["reasoning"])
        if new.get("content"):
            events += self._begin("message")
            events.append(self._of_part("response.output_text.delta", {"delta": new["content"], "logprobs": []}))
            self._add(new["content"])
        for call in new.get("tool_calls", ()):
            events += self._close()
            item = _call(call)
            at = {"item_id": item["id"], "output_index": len(self._output)}
            empty = {**item, "arguments": "", "status": "in_progress"}
            said = item["arguments"]
            events.append(self._event("response.output_item.added", {"output_index": len(self._output), "item": empty}))
            events.append(self._event("response.function_call_arguments.delta", {**at, "delta": said}))
            done = {**at, "arguments": said, "name": item["name"]}
            events.append(self._event("response.function_call_arguments.done", done))
            events.append(self._event("response.output_item.done", {"output_index": len(self._output), "item": item}))
            self._output.append(item)
        if told.result is not None:
            events += self._close()
            response = self._response(told.result)
            own = decisions(self.jobs[0], told, self.backend.standing, self.backend.name)
            events.append(self._event(f"response.{response['status']}", {"response": response | {"laconic": own}}))
        return events

    def end(self, results: Sequence[Result]) -> list[bytes]:
        """Nothing comes after the last event."""
        return []

    def failed(self, error: Mapping[str, Any]) -> bytes:
        """An error in the middle of a stream."""
        said = error["error"]
        return self._event("error", {"code": said["code"], "message": said["message"], "param": None})

    def _response(self, result: Result | None) -> dict[str, Any]:
        body, chat = self._asked, self.body
        cut = result is not None and result.finish_reason == "length"
        used = None
        if result is not None:
            used = {
                "input_tokens": result.usage.prompt,
                "input_tokens_details": {"cached_tokens": result.usage.reused},
                "output_tokens": len(result.tokens),
                "output_tokens_details": {"reasoning_tokens": result.thought},
                "total_tokens": result.usage.prompt + len(result.tokens),
            }
        form = body.text.format if body.text is not None else None
        return {
            "id": self.id, "object": "response", "created_at": self._created, "model": self.model,
            "status": "in_progress" if result is None else "incomplete" if cut else "completed",
            "error": None, "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": list(self._output), "usage": used,
            "instructions": body.instructions, "max_output_tokens": body.max_output_tokens,
            "temperature": self.jobs[0].request.sampling.temperature, "top_p": self.jobs[0].request.sampling.top_p,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "tools": [tool.model_dump(exclude_none=True) for tool in body.tools or ()],
            "tool_choice": body.tool_choice.model_dump() if isinstance(body.tool_choice, NamedTool)
            else body.tool_choice or "auto",
            "reasoning": {"effort": getattr(chat, "reasoning_effort", None), "summary": None},
            "text": {"format": form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}},
            "metadata": body.metadata or {}, "previous_response_id": None, "store": False, "truncation": "disabled",
        }  # fmt: skip

    def _begin(self, kind: str) -> list[bytes]:
        """Open an item of this kind, if it is not open."""
        if self._open is not None and self._open["type"] == kind:
            return []
        events = self._close()
        self._open = {**_item(kind, ""), "status": "in_progress"}
        empty = {**self._open, "content": []}
        events.append(self._event("response.output_item.added", {"output_index": len(self._output), "item": empty}))
        if kind == "message":
            events.append(self._of_part("response.content_part.added", {"part": self._open["content"][0].copy()}))
        return events

    def _add(self, text: str) -> None:
        assert self._open is not None
        self._open["content"][0]["text"] += text

    def _close(self) -> list[bytes]:
        """Close the open item."""
        if self._open is None:
            return []
        item = {**self._open, "status": "completed"}
        part = item["content"][0]
        if item["type"] == "message":
            events = [
                self._of_part("response.output_text.done", {"text": part["text"], "logprobs": []}),
                self._of_part("response.content_part.done", {"part": part}),
            ]
        else:
            events = [self._of_part("response.reasoning_text.done", {"text": part["text"]})]
        events.append(self._event("response.output_item.done", {"output_index": len(self._output), "item": item}))
        self._output.append(item)
        self._open = None
        return events

    def _of_part(self, name: str, said: Mapping[str, Any]) -> bytes:
        assert self._open is not None
        at = {"item_id": self._open["id"], "output_index": len(self._output), "content_index": 0}
        return self._event(name, {**at, **said})

    def _event(self, name: str, said: Mapping[str, Any]) -> bytes:
        self._number += 1
        data = {"type": name, "sequence_number": self._number, **said}
        return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _item(kind: str, text: str) -> dict[str, Any]:
    """A thought or a message with a text."""
    if kind == "reasoning":
        content = [{"type": "reasoning_text", "text": text}]
        return {
            "id": f"rs_{secrets.token_hex(12)}",
            "type": kind,
            "summary": [],
            "content": content,
            "status": "completed",
        }
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    made = {"id": f"msg_{secrets.token_hex(12)}", "type": kind, "role": "assistant"}
    return made | {"status": "completed", "content": [part]}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call as an item."""
    return {
        "id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "call_id": call["id"], "status": "completed",
        "name": call["function"]["name"], "arguments": call["function"]["arguments"],
    }  # fmt: skip
