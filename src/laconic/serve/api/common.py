"""What all requests share: sampling, limits, streaming, and laconic's own options in one field."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

MOST_STOPS = 16
_LARGEST = (1 << 63) - 1

Stop = Annotated[str, Field(min_length=1, max_length=256)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Options(BaseModel):
    """laconic's own options (body field ``laconic``)."""

    model_config = ConfigDict(extra="forbid")

    think: str | list[str] | None = Field(
        default=None,
        description="Thinking controllers for this request in place of the server's, in order: 'budget:256+settled', "
        "or a list of them. 'none' lets the model think as long as it likes.",
    )
    answer_room: StrictInt | None = Field(
        default=None, ge=0, description="Tokens kept for the answer. 0 leaves thoughts alone, and may lose the answer."
    )
    kv: str | None = Field(
        default=None,
        description="What of the past this request keeps in the cache, in place of the server's policy: "
        "'snapkv:budget=1024'. 'full' keeps all of it.",
    )
    draft: StrictBool = Field(default=True, description="False decodes this request plainly, without drafts.")
    trace: StrictBool = Field(
        default=False, description="Tell in each chunk where its tokens came from, pass by pass, and what probes found."
    )


class StreamOptions(BaseModel):
    """How a stream is sent."""

    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool | None = None
    include_obfuscation: StrictBool | None = Field(default=None, description="Taken and without effect.")
    continuous_usage_stats: StrictBool | None = Field(default=None, description="Usage with every chunk, as in vLLM.")


class Prediction(BaseModel):
    """What the client thinks the answer will be; drafted, never forced."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["content"] = "content"
    content: str | list[dict[str, Any]]


class Whole(BaseModel):
    """A body that knows all its fields and holds whole characters."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _of_whole_characters(cls, body: Any) -> Any:
        """JSON can write half of a surrogate pair, which no tokenizer takes and no reply can say again."""
        try:
            if isinstance(body, dict):
                json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("The body holds half of a character (a surrogate without its other half).") from error
        except RecursionError as error:
            raise ValueError("The body is nested too deeply.") from error
        return body


class Body(Whole):
    """Fields of both kinds of completions."""

    model: str = Field(default="", description="A name that /v1/models lists; empty for the server's only model.")
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: StrictInt | None = Field(default=None, ge=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    temperature: Number | None = Field(default=None, ge=0, le=100)
    top_p: Number | None = Field(default=None, gt=0, le=1)
    top_k: StrictInt | None = Field(default=None, ge=-1, le=_LARGEST, description="0 and -1 keep all.")
    min_p: Number | None = Field(default=None, ge=0, lt=1)
    seed: StrictInt | None = Field(default=None, ge=-_LARGEST, le=_LARGEST)
    presence_penalty: Number | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: Number | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: Number | None = Field(default=None, gt=0, le=10)
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = Field(default=None, max_length=1024)
    max_tokens: StrictInt | None = Field(default=None, ge=1, le=_LARGEST)
    thinking_token_budget: StrictInt | None = Field(
        default=None, ge=0, le=_LARGEST, description="Most thinking tokens, as in vLLM; 0 lets no thought begin."
    )
    laconic: Options | None = None

    user: str | None = Field(default=None, description="Taken and without effect.")

    @field_validator("stream_options")
    @classmethod
    def _of_a_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if options is not None and not info.data.get("stream"):
            raise ValueError("Only allowed with stream.")
        return options

    def stops(self) -> tuple[str, ...]:
        """Stop strings as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def options(self) -> Options:
        """laconic's options, said or not."""
        return self.laconic or Options()
