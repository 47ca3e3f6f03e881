"""A limit of new tokens does not cost the answer, nor does the end of the text inside the thought."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from laconic import Engine, Limits, Methods, Request, Sampling, reference
from laconic.errors import RequestError
from laconic.models.causal_lm import CausalLM
from tests import tiny

TEXT = tiny.text()
NEVER_CLOSES = tiny.model(0, bias={"\n\n": 4.0, "<|im_end|>": -30.0, "</think>": -30.0})
ENDS_INSIDE = tiny.model(0, bias={"\n\n": 4.0, "<|im_end|>": 6.0, "</think>": -30.0})


@pytest.mark.parametrize("model", [NEVER_CLOSES, ENDS_INSIDE])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_thought_is_answered_as_the_reference_does(model: torch.nn.Module, temperature: float) -> None:
    def logits(tokens: Sequence[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([list(tokens)])).logits[0, -1]

    asked = [
        Request(tuple(TEXT.encode(f"{i}?<think>\n")), Sampling(temperature, seed=i), Limits(12 + 9 * i))
        for i in range(3)
    ]
    expected = [reference.decode(logits, TEXT, request, (), 512) for request in asked]
    models = CausalLM(tiny.noisy(model, 0.0)), CausalLM(tiny.noisy(model, 0.1))  # type: ignore[arg-type]
    engine = Engine(models[0], TEXT, Methods(drafter="draft-model", length="constant:6"), models[1])
    found = engine.run(asked, batch=3)
    assert [(list(r.tokens), r.finish_reason) for r in found] == expected
    for request, result in zip(asked, found, strict=True):
        assert [event.method for event in result.events] == ["loop"]
        assert result.usage.answer > 0
        assert len(result.tokens) <= request.limits.max_new_tokens
    raw = Request(asked[0].prompt, asked[0].sampling, Limits(12, answer_room=0))
    assert engine.run([raw])[0].usage.answer == 0


def test_the_event_names_what_sets_the_end() -> None:
    """The limit of new tokens, or the context of 512 tokens where that leaves less."""
    prompt = tuple(TEXT.encode("2?<think>\n"))
    engine = Engine(CausalLM(tiny.noisy(NEVER_CLOSES, 0.0)), TEXT)  # type: ignore[arg-type]
    left = engine.target.context - len(prompt)
    for limit, cause in ((40, "limit"), (left, "limit"), (left + 1, "context"), (32_768, "context")):
        found = engine.run([Request(prompt, limits=Limits(limit))])[0]
        assert [event.reason.split(" leaves")[0] for event in found.events] == [f"the {cause}"]
        assert len(found.tokens) <= min(limit, left)


def test_room_that_cannot_be_is_refused() -> None:
    for room in (-1, 8):
        with pytest.raises(RequestError, match="answer_room"):
            Limits(8, answer_room=room)
