"""Answers of the bundled model under two hundred schemas that nobody has chosen."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from laconic import Engine, Limits, Sampling
from laconic.grammar import json_schema
from laconic.grammar.compiled import vocabulary
from tests.grammar.schemas import schema

QUESTIONS = ("What is 37 * 48 + 15?", "Describe something.", "Answer in JSON.")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("bundled")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 20))
def test_every_answer_is_of_its_schema(engine: Engine, first: int) -> None:
    """Greedy ones and sampled ones, in batches; one that the limit cuts is the beginning of one."""
    asked = [
        engine.request(
            QUESTIONS[seed % 3], thinking=False, limits=Limits(400), sampling=Sampling(0.8 * (seed % 2), seed=seed),
            grammar=json_schema(schema(seed), compact=seed % 4 > 0),
        )
        for seed in range(first, first + 20)
    ]  # fmt: skip
    whole = 0
    for seed, (request, result) in enumerate(zip(asked, engine.run(asked, batch=8), strict=True), start=first):
        if result.finish_reason == "stop":
            jsonschema_rs.validate(schema(seed), json.loads(result.answer))
            whole += 1
        else:
            assert result.finish_reason == "length"
            matcher, tokens = vocabulary(engine.text).matcher(request.grammar), engine.text.encode(result.answer)
            assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert whole == 20
