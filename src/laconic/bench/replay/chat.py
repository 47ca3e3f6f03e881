"""Chat messages and server logs as text: one plain way to write roles, thoughts and tool calls.

Every model has its own chat template, and a log does not say which. So roles are written as ``[user]`` and so on,
which only counts as given text; a thought that came in a field of its own is put back in ``<think>`` tags, and a
tool call is written as JSON in ``<tool_call>`` tags (as Qwen and Hermes do), since the model wrote both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_THOUGHT_FIELDS = ("reasoning_content", "reasoning")
"""Where servers put the thought: DeepSeek, SGLang and older vLLM; OpenRouter and newer vLLM."""


class Unusable(Exception):
    """A line that cannot be replayed; the text says why."""


def flat(messages: Any) -> list[dict[str, Any]]:
    """Messages with their content as one string. Raises Unusable for what is not a list of messages."""
    if not isinstance(messages, list) or not messages:
        raise Unusable("its messages are empty or not a list")
    found = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Unusable("a message without a role")
        found.append(message | {"content": _content(message.get("content"))})
    return found


def given_of(messages: Sequence[dict[str, Any]]) -> str:
    """What the model reads of ``messages`` before its own turn begins; never empty."""
    said = (f"[{m['role']}]\n{written_of(m) if m['role'] == 'assistant' else m['content']}\n" for m in messages)
    return "".join(said) + "[assistant]\n"


def written_of(message: dict[str, Any]) -> str:
    """Everything a model wrote in one message: thought, text, tool calls. Empty if there is nothing."""
    thought = next((message[name] for name in _THOUGHT_FIELDS if isinstance(message.get(name), str)), "")
    text = _content(message.get("content"))
    parts = [f"<think>\n{thought.strip()}\n</think>\n"] if thought.strip() else []
    parts += [text] if text.strip() else []
    calls = message.get("tool_calls") or []
    legacy = message.get("function_call")
    functions = [call.get("function", call) for call in calls if isinstance(call, dict)] if calls else []
    functions += [legacy] if isinstance(legacy, dict) else []
    parts += [_call(function) for function in functions if isinstance(function, dict)]
    return "\n".join(parts)


def log(entry: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]] | None:
    """Request messages and replies of a server's log line; None if the line is no such log.

    The request is ``request``, ``body`` or the line itself, the reply ``response`` (or its ``body``, in the output
    of a batch) or the line itself; either may be JSON in a string. A batch output knows no request: the given
    text is then nothing but the opening of the turn.
    """
    response = _object(entry.get("response"))
    reply = _object(response.get("body")) or response or entry
    if not isinstance(reply.get("choices"), list):
        if entry.get("error"):
            raise Unusable("a failed request")
        return None
    request = next((r for r in (_object(entry.get("request")), _object(entry.get("body")), entry) if _asks(r)), {})
    request = _object(request.get("body")) or request
    messages = _messages(request)
    replies = [text for choice in reply["choices"] if (text := _choice(choice)).strip()]
    if not replies:
        raise Unusable("none of its choices says anything")
    return messages, replies


def _asks(request: dict[str, Any]) -> bool:
    return any(name in request for name in ("messages", "prompt")) or _asks_within(request)


def _asks_within(request: dict[str, Any]) -> bool:
    body = _object(request.get("body"))
    return "messages" in body or "prompt" in body


def _messages(request: dict[str, Any]) -> list[dict[str, Any]]:
    if "messages" in request:
        return flat(request["messages"])
    if isinstance(request.get("prompt"), str):
        return [{"role": "user", "content": request["prompt"]}]
    return []


def _choice(choice: Any) -> str:
    if not isinstance(choice, dict):
        return ""
    if isinstance(choice.get("message"), dict):
        return written_of(choice["message"])
    return choice["text"] if isinstance(choice.get("text"), str) else ""


def _object(value: Any) -> dict[str, Any]:
    """``value`` if it is an object, or the object it is as JSON text; else empty."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _content(content: Any) -> str:
    """Text of a message's content: a string, a list of parts of which only the text ones are read, or nothing."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _call(function: dict[str, Any]) -> str:
    arguments = function.get("arguments", "")
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {json.dumps(function.get("name", ""))}, "arguments": {written}}}\n</tool_call>'
