"""Draw tokens in another way than was asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from laconic.policy import Card, knobs
from laconic.thinking.route.base import Before
from laconic.types import Question


@knobs
class Resample(Before):
    """Set temperature and filters; what is not given stays as asked. The seed always does.

    A part of modes: DiffAdapt's strategies differ in prompt, temperature and most tokens. Alone it sets the
    temperature of every request.
    """

    card = Card(
        paper="DiffAdapt: Difficulty-Adaptive Reasoning for Token-Efficient LLM Inference",
        lossless=False,
        catalogue=(224,),
    )

    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """0 is greedy."""
    top_k: Annotated[int, Field(ge=0)] | None = None
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Keep this much probability; 1 keeps all."""
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Keep tokens at least this likely, relative to the best."""

    def prepare(self, question: Question) -> Question:
        """The question under these settings."""
        said = {name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "min_p")}
        given = {name: value for name, value in said.items() if value is not None}
        if not given:
            return question
        reason = ", ".join(f"{name} {value:g}" for name, value in given.items())
        return replace(question, sampling=replace(question.sampling, **given)).noting(self.name, "prepare", reason)
