"""Completions: a prompt is written on, tags and all."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, ValidationInfo, field_validator

from laconic.serve.api.common import Body

Token = Annotated[StrictInt, Field(ge=0, lt=1 << 31)]


class CompletionBody(Body):
    """A request for a completion of a text, or of tokens."""

    prompt: (
        str
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1)]
    )
    logprobs: StrictInt | None = Field(default=None, ge=0, le=20)
    echo: StrictBool | None = None
    best_of: StrictInt | None = Field(default=None, ge=1, description="Taken where it is n.")
    suffix: None = Field(default=None, description="Not taken.")
    add_special_tokens: StrictBool | None = Field(
        default=None, description="False takes a text without the model's own token before it."
    )

    return_token_ids: StrictBool | None = Field(default=None, description="The ids of what was written, as in vLLM.")
    return_tokens_as_token_ids: StrictBool | None = Field(
        default=None, description="In logprobs, ids in place of tokens' texts, as in vLLM."
    )
    skip_special_tokens: StrictBool | None = Field(
        default=None, description="Texts have their tags here whatever is said, as with False."
    )

    @field_validator("echo")
    @classmethod
    def _without_logprobs(cls, echo: bool | None, info: ValidationInfo) -> bool | None:
        if echo and info.data.get("logprobs") is not None:
            raise ValueError("The prompt's own log probabilities cannot be had here: ask for echo or logprobs.")
        return echo

    def prompts(self) -> list[str | list[int]]:
        """One or several, each a text or tokens."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(one, int) for one in self.prompt):
            return [[one for one in self.prompt if isinstance(one, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]
