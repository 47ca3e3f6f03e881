"""What is answered, for the OpenAPI document. Replies are built as plain data and hold more than is promised here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Health(BaseModel):
    """A server that is well."""

    status: str


class Model(_Open):
    """A model that is served; ``max_model_len`` is its context in tokens."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class Usage(_Open):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class ReplyMessage(_Open):
    """The assistant's turn, its thought apart: in ``reasoning``, and in ``reasoning_content`` for older clients."""

    role: Literal["assistant"]
    content: str | None
    reasoning: str | None = None
    reasoning_content: str | None = None


class ChatChoice(_Open):
    """One reply."""

    index: int
    message: ReplyMessage
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: dict[str, Any] | None = None
    laconic: dict[str, Any]


class ChatCompletion(_Open):
    """A reply to chat messages. Streams send chunks of it as server-sent events."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(_Open):
    """One text."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: dict[str, Any] | None = None
    laconic: dict[str, Any]


class TextCompletion(_Open):
    """What follows a text."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class Concluded(BaseModel):
    """How many open thoughts of a request were ended."""

    id: str
    concluded: int


class Error(_Open):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error, as the OpenAI API has it."""

    error: Error


ERRORS: dict[int, dict[str, Any]] = {
    code: {"model": ErrorBody, "description": said}
    for code, said in {
        400: "The request cannot be served as it was asked.",
        401: "A key is needed.",
        403: "The server is not known by this name, or not asked by pages of this origin.",
        404: "There is no such thing.",
        413: "The body is too large.",
        429: "Too many requests are under way; Retry-After says when to come again.",
        500: "The server failed.",
        502: "The server behind this one failed.",
        503: "The server takes no requests now.",
    }.items()
}


class MessageError(_Open):
    """What was wrong, in Anthropic's words."""

    type: str
    message: str


class MessageErrorBody(BaseModel):
    """An error, as Anthropic's API has it."""

    type: Literal["error"]
    error: MessageError


MESSAGE_ERRORS = {code: {**said, "model": MessageErrorBody} for code, said in ERRORS.items()}
