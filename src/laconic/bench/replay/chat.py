"""Chat messages and server logs as text: one plain way to write roles, thoughts and tool calls.

Every model has its own chat template, and a log does not say which. So roles are written as ``[user]`` and so on,
which only counts as given text; a thought that came in a field of its own is put back in ``<think>`` tags, and a
tool call is written as JSON in ``<tool_call>`` tags (as Qwen and Hermes do), since the model wrote both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Where servers put the thought: DeepSeek, SGLang and older vLLM; OpenRouter and newer vLLM; Ollama."""
_ROLES = {"human": "user", "gpt": "assistant", "ai": "assistant", "model": "assistant"}
"""Names of roles in ShareGPT's form, which has ``from`` and ``value`` for ``role`` and ``content``."""


class Unusable(Exception):
    """A line that cannot be replayed; the text says why."""


def flat(messages: Any) -> list[dict[str, Any]]:
    """Messages with their content as one string. Raises Unusable for what is not a list of messages."""
    if not isinstance(messages, list) or not messages:
        raise Unusable("its messages are empty or not a list")
    found = []
    for message in messages:
        if isinstance(message, dict) and isinstance(message.get("from"), str) and "value" in message:
            who = message["from"]
            message = {"role": _ROLES.get(who, who), "content": message["value"]}
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Unusable("a message without a role")
        found.append(message if message["role"] == "assistant" else message | {"content": _content(message)})
    return found


def given_of(messages: Sequence[dict[str, Any]]) -> str:
    """What the model reads of ``messages`` before its own turn begins; never empty."""
    said = (f"[{m['role']}]\n{written_of(m) if m['role'] == 'assistant' else m['content']}\n" for m in messages)
    return "".join(said) + "[assistant]\n"


def written_of(message: dict[str, Any]) -> str:
    """Everything a model wrote in one message: thought, text, tool calls. Empty if there is nothing.

    A thought that stands both in a field and in the content is written once.
    """
    text = _content(message)
    thought = _thought(message).strip()
    if thought and "".join(thought.split()) in "".join(text.split()):
        thought = ""
    parts = [f"<think>\n{thought}\n</think>\n"] if thought else []
    parts += [text] if text.strip() else []
    calls = message.get("tool_calls")
    functions = (
        [call.get("function", call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    )
    functions += [message.get("function_call"), *_parts(message, "tool_use")]
    parts += [_call(function) for function in functions if isinstance(function, dict)]
    return "\n".join(parts)


def _thought(message: dict[str, Any]) -> str:
    """The thought of a message: the first field that says anything, else the parts of its content that are one."""
    fields = [message.get(name) for name in _THOUGHT_FIELDS]
    said = next((text for text in fields if isinstance(text, str) and text.strip()), "")
    return said or "\n\n".join(_said(part) for kind in ("thinking", "reasoning") for part in _parts(message, kind))


def _parts(message: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    content = message.get("content")
    return [p for p in content if isinstance(p, dict) and p.get("type") == kind] if isinstance(content, list) else []


def _said(part: Any) -> str:
    """The text of a part or of a list of parts, under any of the names that it goes by."""
    if isinstance(part, list):
        return "".join(map(_said, part))
    if isinstance(part, dict):
        return next(
            (
                said
                for name in ("text", "thinking", "reasoning", "content", "summary")
                if (said := _said(part.get(name)))
            ),
            "",
        )
    return part if isinstance(part, str) else ""


def log(entry: dict[str, Any]) -> list[tuple[list[dict[str, Any]], str]] | None:
    """Request messages and reply of every choice of a server's log line; None if the line is no such log.

    The request is ``request``, ``body`` or the line itself, the reply ``response`` (or its ``body``, in the output
    of a batch) or the line itself; either may be JSON in a string. A reply has ``choices``, Ollama's ``message``, the
    Responses API's ``output``, or is a list of a stream's chunks. A batch output knows no request: the given text is
    then nothing but the opening of the turn.
    """
    response = joined(entry["response"]) if isinstance(entry.get("response"), list) else _object(entry.get("response"))
    reply = _object(response.get("body")) or response or entry
    choices = _choices(reply)
    if choices is None:
        failures = [each.get("error") for each in (reply, response, entry)]
        failures += [each.get("message", "error") for each in (reply, entry) if each.get("object") == "error"]
        failed = next((e for e in failures if e), None)
        if failed:
            said = failed.get("message", failed) if isinstance(failed, dict) else failed
            raise Unusable(f"a failed request ({str(said)[:120]})")
        return None
    request = next((r for r in (_object(entry.get("request")), _object(entry.get("body")), entry) if _asks(r)), {})
    request = _object(request.get("body")) or request
    asked = _messages(request)
    said_by = len(choices) // len(asked) if asked and len(choices) % len(asked) == 0 else len(choices)
    found = [(asked[i // (said_by or 1)] if asked else [], text) for i, text in enumerate(choices) if text.strip()]
    if not found:
        raise Unusable("none of its choices says anything")
    return found


def joined(chunks: Sequence[Any]) -> dict[str, Any]:
    """A stream's chunks as the reply that they make up; empty if they are none."""
    made: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or [] if isinstance(chunk, dict) else []:
            message = made.setdefault(choice.get("index", 0), {"role": "assistant", "content": "", "tool_calls": {}})
            delta = choice.get("delta") or {"content": choice.get("text")}
            for name in ("content", *_THOUGHT_FIELDS):
                if isinstance(delta.get(name), str):
                    message[name] = message.get(name, "") + delta[name]
            for call in delta.get("tool_calls") or []:
                function = message["tool_calls"].setdefault(call.get("index", 0), {"name": "", "arguments": ""})
                for name, piece in (call.get("function") or {}).items():
                    function[name] = function.get(name, "") + (piece or "")
    for message in made.values():
        message["tool_calls"] = [{"function": one} for one in message["tool_calls"].values()]
    return {"choices": [{"message": message} for _, message in sorted(made.items())]} if made else {}


def is_chunk(entry: dict[str, Any]) -> bool:
    """Whether a line is one piece of a streamed reply."""
    choices = entry.get("choices")
    return isinstance(choices, list) and any(isinstance(c, dict) and "delta" in c for c in choices)


def _choices(reply: dict[str, Any]) -> list[str] | None:
    """What each choice of a reply says; None for what is no reply."""
    if isinstance(reply.get("choices"), list):
        return [_choice(choice) for choice in reply["choices"]]
    if isinstance(reply.get("message"), dict):
        return [written_of(reply["message"])]
    output = reply.get("output")
    if isinstance(output, list) and all(isinstance(item, dict) and "type" in item for item in output):
        return [_responses(output)]
    return None


def _responses(output: Sequence[dict[str, Any]]) -> str:
    """The items of the Responses API as what one message holds."""
    thought = "\n\n".join(said for item in output if item["type"] == "reasoning" and (said := _said(item)))
    text = "".join(_content(item) for item in output if item["type"] == "message")
    calls = [{"function": item} for item in output if item["type"] == "function_call"]
    return written_of({"content": text, "reasoning": thought, "tool_calls": calls})


def _asks(request: dict[str, Any]) -> bool:
    body = _object(request.get("body"))
    return any(name in where for where in (request, body) for name in ("messages", "prompt", "input"))


def _messages(request: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """What each prompt of a request gave: one, or as many as a list of texts has; empty if it gave none."""
    if "messages" in request:
        return [flat(request["messages"])]
    prompt = request.get("prompt", request.get("input"))
    if isinstance(prompt, list) and prompt and all(isinstance(one, dict) for one in prompt):
        return [flat(prompt)]
    if isinstance(prompt, list) and prompt and not all(isinstance(one, str) for one in prompt):
        raise Unusable("its prompt is token ids, which only the model's own tokenizer reads")
    prompts = prompt if isinstance(prompt, list) else [prompt] if isinstance(prompt, str) else []
    return [[{"role": "user", "content": one}] for one in prompts]


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


def _content(message: dict[str, Any]) -> str:
    """Text of a message's content: a string, a list of parts of which only the text ones are read, or nothing."""
    content = message.get("content")
    if isinstance(content, list):
        said = [p for p in content if isinstance(p, dict) and p.get("type") not in ("thinking", "reasoning")]
        return "".join(part["text"] for part in said if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _call(function: dict[str, Any]) -> str:
    arguments = function.get("arguments", function.get("input", ""))
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return f'<tool_call>\n{{"name": {json.dumps(function.get("name", ""))}, "arguments": {written}}}\n</tool_call>'
