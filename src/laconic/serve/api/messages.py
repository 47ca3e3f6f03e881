"""Anthropic's Messages: what may be asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from laconic.serve.api.common import MOST_STOPS, Number, Options, Stop, Whole


class _Given(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TextBlock(_Given):
    """Text."""

    type: Literal["text"]
    text: str


class ThinkingBlock(_Given):
    """A thought of an earlier turn."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: str = ""


class UseBlock(_Given):
    """A call of a tool in an earlier turn."""

    type: Literal["tool_use"]
    id: str
    name: Annotated[str, Field(min_length=1)]
    input: dict[str, Any] = {}


class ResultBlock(_Given):
    """What a tool has answered."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] = ""
    is_error: StrictBool | None = None


Block = Annotated[TextBlock | ThinkingBlock | UseBlock | ResultBlock, Field(discriminator="type")]


class Turn(_Given):
    """A turn of the user or of the assistant."""

    role: Literal["user", "assistant"]
    content: str | Annotated[list[Block], Field(min_length=1)]


class Thinking(_Given):
    """Whether the model may think, and how long."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: StrictInt | None = Field(default=None, ge=1)


class Output(_Given):
    """How hard to think."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class Tool(_Given):
    """A tool; ``input_schema`` is a JSON schema."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: dict[str, Any] = {}


class Choice(_Given):
    """Which tools may be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class MessagesBody(Whole):
    """A request for a message."""

    model: str = ""
    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: StrictInt = Field(ge=1, le=(1 << 63) - 1)
    system: str | list[TextBlock] | None = None
    stream: StrictBool | None = None
    stop_sequences: Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    temperature: Number | None = Field(default=None, ge=0, le=1)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    top_k: StrictInt | None = Field(default=None, ge=0, le=(1 << 63) - 1)
    thinking: Thinking | None = None
    output_config: Output | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    laconic: Options | None = None

    metadata: dict[str, Any] | None = Field(default=None, description="Taken and without effect.")
    service_tier: str | None = Field(default=None, description="Taken and without effect.")
    cache_control: dict[str, Any] | None = Field(default=None, description="Taken and without effect.")
