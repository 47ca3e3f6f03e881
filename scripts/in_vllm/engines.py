"""vLLM engines in this process, for the scripts beside this one. They run under the Python of vLLM's environment:

python scripts/install_vllm.py
.venv-vllm/bin/python -m pip install --no-deps -e .
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("OMP_NUM_THREADS", "1")

SPECULATION: dict[str, dict[str, Any] | None] = {
    "none": None,
    "ngram": {"method": "ngram", "num_speculative_tokens": 8, "prompt_lookup_max": 4, "prompt_lookup_min": 1},
    "suffix": {"method": "suffix", "num_speculative_tokens": 16},
    "laconic": {"method": "custom_class", "model": "laconic.vllm.proposer.Proposer", "num_speculative_tokens": 16},
}
"""How the engines draft, by name; a draft model is named by its path."""


def speculation(name: str, draft: str = "", tokens: int = 4) -> dict[str, Any] | None:
    """vLLM's speculative configuration of that name."""
    if name == "draft_model":
        return {"method": "draft_model", "model": draft, "num_speculative_tokens": tokens}
    return SPECULATION[name]


@dataclass
class Reply:
    """What a request got: tokens and text of the reply, why it ended, and seconds to its end."""

    tokens: list[int]
    text: str
    finish: str | None
    seconds: float


def alone(measure: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What ``measure`` returns in a process of its own: engines leave things behind that later ones stumble over."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments, **options).result()


def offline(model: str | Path, name: str, *, draft: str = "", seats: int = 8, **options: Any) -> Any:
    """vLLM's offline engine."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM

    settings = {"dtype": "float32", "max_model_len": 768, "enforce_eager": True, "disable_log_stats": False}
    return LLM(str(model), max_num_seqs=seats, speculative_config=speculation(name, draft), **{**settings, **options})


class Online:
    """vLLM's asynchronous engine, in processes of its own."""

    def __init__(self, model: str | Path, name: str, *, seats: int = 16, **options: Any) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        settings = {"dtype": "float32", "max_model_len": 768, "enforce_eager": True, "block_size": 32}
        settings = {**settings, "enable_prefix_caching": True, **options}
        self.engine = AsyncLLM.from_engine_args(
            AsyncEngineArgs(str(model), max_num_seqs=seats, speculative_config=speculation(name), **settings)
        )
        self.name = name
        self._count = 0

    async def ask(self, prompt: Sequence[int], **params: Any) -> Reply:
        """One reply."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._count += 1
        begun = time.perf_counter()
        sampling = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, skip_special_tokens=False, **params)
        told = self.engine.generate({"prompt_token_ids": list(prompt)}, sampling, f"{self._count}")
        outputs = [output async for output in told]
        (one,) = outputs[-1].outputs
        return Reply(list(one.token_ids), one.text, one.finish_reason, time.perf_counter() - begun)

    async def together(self, prompts: Sequence[Sequence[int]], **params: Any) -> list[Reply]:
        """All of them at once."""
        return list(await asyncio.gather(*[self.ask(prompt, **params) for prompt in prompts]))

    def close(self) -> None:
        """Stop its processes."""
        self.engine.shutdown()
