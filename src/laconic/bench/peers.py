"""The peer that every Transformers user already has: ``model.generate``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from laconic.bench.measure import Run
from laconic.errors import RequestError
from laconic.models.load import resolve
from laconic.models.text import Text
from laconic.transcript import Transcript
from laconic.types import FinishReason, Request, Result, Sampling, Usage


class TransformersGenerate:
    """``transformers`` generate with its KV cache, on an instance of its own that nothing of ours has touched.

    float32 and scaled-dot-product attention, as laconic's own model on the CPU; the same prompt ids, the same end
    tokens, the same ``max_new_tokens``. Tokens are counted by laconic's transcript, passes are the new tokens.
    """

    name = "transformers"

    def __init__(self, model: str, text: Text, context: int) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(
            resolve(model), dtype=torch.float32, attn_implementation="sdpa"
        ).eval()
        # The checkpoint's own defaults (penalties, sampling) would otherwise fill what is not set below.
        self._model.generation_config = GenerationConfig()
        self._text = text
        self._context = context

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        """Answer one request after the other. Raises RequestError for batches: padding would change the task."""
        if batch != 1:
            raise RequestError("transformers generate is measured one request at a time.", "Use --batch 1 or --no-hf.")
        return Run([self._answer(request) for request in requests])

    @torch.inference_mode()
    def _answer(self, request: Request) -> Result:
        prompt = torch.tensor([request.prompt])
        torch.manual_seed(request.sampling.seed)
        written = self._model.generate(
            prompt, attention_mask=torch.ones_like(prompt), generation_config=self._config(request)
        )[0, len(request.prompt) :].tolist()
        return self._result(request, written)

    def _config(self, request: Request) -> GenerationConfig:
        new = min(request.limits.max_new_tokens, self._context - len(request.prompt))
        ends = sorted(self._text.eos)
        pad = self._text.tokenizer.pad_token_id
        pad = ends[0] if pad is None and ends else pad
        return GenerationConfig(max_new_tokens=new, eos_token_id=ends, pad_token_id=pad, **_sampling(request.sampling))

    def _result(self, request: Request, written: list[int]) -> Result:
        tokens = list(request.prompt)
        transcript = Transcript(self._text, request, tokens)
        for token in written:
            transcript.push(token)
        parts = transcript.parts()
        usage = Usage(
            prompt=len(request.prompt),
            thinking=transcript.count("thinking"),
            answer=transcript.count("answer"),
            target_passes=len(written),
        )
        finish: FinishReason = "stop" if written and written[-1] in self._text.eos else "length"
        return Result(parts.text, parts.thinking, parts.answer, tuple(written), finish, usage)


def _sampling(sampling: Sampling) -> dict[str, object]:
    if sampling.greedy:
        return {"do_sample": False}
    filters: dict[str, object] = {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k}
    if sampling.top_p < 1:
        filters["top_p"] = sampling.top_p
    if sampling.min_p > 0:
        filters["min_p"] = sampling.min_p
    return filters
