"""OpenAI's Responses: what may be asked. Nothing is stored, so every request brings its whole conversation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from laconic.serve.api.chat import Effort
from laconic.serve.api.common import Number, Options, StreamOptions, Whole


class _Given(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Part(_Given):
    """A part of a message that is text."""

    type: Literal["input_text", "output_text", "text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class MessageItem(_Given):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]


class CallItem(_Given):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: Annotated[str, Field(min_length=1)]
    arguments: str = ""


class OutputItem(_Given):
    """What a function has answered."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Part]


class Thought(_Given):
    """Text of a thought."""

    text: str = ""


class ReasoningItem(_Given):
    """A thought of an earlier turn."""

    type: Literal["reasoning"]
    content: list[Thought] | None = None


class Reasoning(_Given):
    """How hard to think. Summaries are not made; the thought itself is shown."""

    effort: Effort | None = None
    summary: str | None = None


class TextFormat(_Given):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = ""
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


class TextOptions(_Given):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: str | None = None


class FunctionTool(_Given):
    """A function that the model may call."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None


class NamedTool(_Given):
    """The one function that must be called."""

    type: Literal["function"]
    name: str


class ResponsesBody(Whole):
    """A request for a response."""

    model: str = ""
    input: str | Annotated[list[CallItem | OutputItem | ReasoningItem | MessageItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: StrictInt | None = Field(default=None, ge=1, le=(1 << 63) - 1)
    temperature: Number | None = Field(default=None, ge=0, le=100)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    reasoning: Reasoning | None = None
    text: TextOptions | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: StrictBool | None = None
    laconic: Options | None = None

    store: StrictBool | None = Field(default=None, description="Taken and without effect: nothing is stored.")
    previous_response_id: None = Field(default=None, description="Not taken: nothing is stored.")
    background: Literal[False] | None = None
    include: list[str] | None = Field(default=None, description="Taken and without effect.")
    truncation: Literal["disabled"] | None = None
    metadata: dict[str, Any] | None = Field(default=None, description="Given back.")
    user: str | None = Field(default=None, description="Taken and without effect.")
    service_tier: str | None = Field(default=None, description="Taken and without effect.")
    safety_identifier: str | None = Field(default=None, description="Taken and without effect.")
    prompt_cache_key: str | None = Field(default=None, description="Taken and without effect.")
