"""The peer that every Transformers user already has: ``model.generate``, plain, assisted, and with prompt lookup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from laconic.bench.measure import Run
from laconic.bench.peers.base import one_at_a_time, result
from laconic.models.load import resolve
from laconic.models.text import Text
from laconic.types import Request, Result, Sampling

PROMPT_LOOKUP_TOKENS = 10
"""Draft length of prompt lookup, that of its author's examples."""


class Checkpoint:
    """A Transformers model that nothing of ours has touched, and how often it was called.

    ``dtype`` None is float32.
    """

    def __init__(self, name: str, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            resolve(name), dtype=dtype or torch.float32, attn_implementation="sdpa"
        )
        self.model.eval().to(device)
        # The checkpoint's own defaults (penalties, sampling) would otherwise fill what a request does not set.
        self.model.generation_config = GenerationConfig()
        self.passes = 0
        self.model.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.passes += 1


class TransformersGenerate:
    """``generate`` with its KV cache and scaled-dot-product attention; the same prompt ids, ends and token limit.

    With ``assistant`` it is assisted generation, with ``prompt_lookup`` prompt-lookup decoding; both with the defaults
    of Transformers. Several variants may share a Checkpoint.
    """

    def __init__(
        self,
        model: Checkpoint,
        text: Text,
        context: int,
        *,
        name: str = "transformers",
        assistant: Checkpoint | None = None,
        prompt_lookup: bool = False,
    ) -> None:
        self.name = name
        self._model = model
        self._assistant = assistant
        self._text = text
        self._context = context
        self._lookup = prompt_lookup

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        """Answer one request after the other. Raises RequestError for batches: padding would change the task."""
        one_at_a_time("transformers generate", batch)
        return Run([self._answer(request) for request in requests])

    @torch.inference_mode()
    def _answer(self, request: Request) -> Result:
        prompt = torch.tensor([request.prompt], device=self._model.model.device)
        torch.manual_seed(request.sampling.seed)
        begun, drafted = self._model.passes, self._assistant.passes if self._assistant else 0
        made = self._model.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=self._config(request),
            assistant_model=self._assistant.model if self._assistant else None,
        )
        written = made[0, len(request.prompt) :].tolist()
        passes = self._model.passes - begun
        if self._assistant is not None:
            drafted = self._assistant.passes - drafted
        # Each pass adds one token of its own to those that were drafted and held.
        accepted = len(written) - passes
        return result(self._text, request, written, passes=passes, drafted=drafted, accepted=max(0, accepted))

    def _config(self, request: Request) -> GenerationConfig:
        new = min(request.limits.max_new_tokens, self._context - len(request.prompt))
        ends = sorted(self._text.eos)
        pad = self._text.tokenizer.pad_token_id
        pad = ends[0] if pad is None and ends else pad
        return GenerationConfig(
            max_new_tokens=new,
            eos_token_id=ends,
            pad_token_id=pad,
            prompt_lookup_num_tokens=PROMPT_LOOKUP_TOKENS if self._lookup else None,
            **_sampling(request.sampling),
        )


def _sampling(sampling: Sampling) -> dict[str, object]:
    """All of it is said: what is not, Transformers takes from the checkpoint's generation config."""
    penalty = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.greedy:
        return {"do_sample": False, **penalty}
    filters = {"top_k": sampling.top_k, "top_p": sampling.top_p, "min_p": sampling.min_p}
    return {"do_sample": True, "temperature": sampling.temperature, **filters, **penalty}
