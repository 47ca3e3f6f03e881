"""Chat Completions: what may be asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, field_validator

from laconic.serve.api.common import Body, Prediction

_RENDERING = frozenset((
    "conversation", "messages", "tools", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
    "tokenizer_kwargs",
))  # fmt: skip
"""Arguments of whoever renders a template: a client that could name them could bring a template of its own."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TextPart(BaseModel):
    """A part of a message that is text."""

    model_config = ConfigDict(extra="allow")

    type: Literal["text", "input_text", "output_text", "refusal"]
    text: str | None = None


class FunctionCall(BaseModel):
    """The function of a call, with its arguments as JSON text."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1)]
    arguments: str | dict[str, Any] = ""


class ToolCall(BaseModel):
    """A call that an earlier turn of the assistant made."""

    model_config = ConfigDict(extra="allow")

    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(BaseModel):
    """A message of any role, its content a text or parts of text."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart | str] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class Function(BaseModel):
    """A function that the model may call; ``parameters`` is a JSON schema."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class Tool(BaseModel):
    """A tool; functions alone are tools here."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["function"] = "function"
    function: Function


class NamedFunction(BaseModel):
    """A function by its name."""

    name: Annotated[str, Field(min_length=1)]


class ToolChoice(BaseModel):
    """The one tool that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class Schema(BaseModel):
    """A JSON schema that the answer must satisfy."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: StrictBool | None = None


class ResponseFormat(BaseModel):
    """What the answer must look like."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class ChatBody(Body):
    """A request for a chat completion."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: StrictInt | None = Field(default=None, ge=1, le=(1 << 63) - 1)
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = Field(default=None, ge=0, le=20)
    reasoning_effort: Effort | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: StrictBool | None = Field(default=None, description="Taken and without effect.")
    continue_final_message: Literal[True] | None = Field(
        default=None, description="Taken and without effect: a last message of the assistant is always continued."
    )
    include_reasoning: StrictBool | None = Field(default=None, description="False leaves the thought out of the reply.")
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    response_format: ResponseFormat | None = None
    prediction: Prediction | None = None

    @field_validator("chat_template_kwargs")
    @classmethod
    def _for_the_template(cls, keywords: dict[str, Any] | None) -> dict[str, Any] | None:
        if taken := sorted(_RENDERING & set(keywords or ())):
            raise ValueError(f"'{taken[0]}' is not for the template, and cannot be set here.")
        return keywords

    metadata: dict[str, Any] | None = Field(default=None, description="Taken and without effect.")
    store: StrictBool | None = Field(default=None, description="Taken and without effect: nothing is stored.")
    service_tier: str | None = Field(default=None, description="Taken and without effect.")
    safety_identifier: str | None = Field(default=None, description="Taken and without effect.")
    prompt_cache_key: str | None = Field(default=None, description="Taken and without effect.")
    verbosity: Literal["low", "medium", "high"] | None = Field(default=None, description="Taken and without effect.")
    modalities: list[Literal["text"]] | None = Field(default=None, description="Text alone.")
