"""vLLM behind a pipe. Runs under the Python of vLLM's own environment and imports nothing of laconic.

The first line on standard input holds the settings; each further line is one request, answered by one line. What vLLM
prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Serve until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())

    def say(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")

    try:
        engine = load(settings)
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    import vllm

    say({"ready": True, "version": vllm.__version__})
    for line in sys.stdin:
        try:
            say(answer(engine, json.loads(line)))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


def load(settings: dict[str, Any]) -> Any:
    """vLLM's offline engine for one request at a time, in this process."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{settings['threads'] - 1}" if settings["threads"] > 1 else "0"
    from vllm import LLM

    return LLM(
        model=settings["model"],
        dtype=settings["dtype"],
        max_model_len=settings["context"],
        max_num_seqs=1,
        disable_log_stats=False,
        enable_prefix_caching=False,
        speculative_config=settings["speculative"],
    )


def answer(engine: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Tokens written after a prompt of ids, and what was drafted and accepted for them."""
    from vllm import SamplingParams

    ends = order.pop("ends")
    prompt = order.pop("prompt")
    before = counts(engine)
    done = engine.generate(
        [{"prompt_token_ids": prompt}],
        SamplingParams(stop_token_ids=ends, detokenize=False, **order),
        use_tqdm=False,
    )[0].outputs[0]
    tokens = list(done.token_ids)
    if done.finish_reason == "stop" and isinstance(done.stop_reason, int) and tokens[-1:] != [done.stop_reason]:
        tokens.append(done.stop_reason)
    after = counts(engine)
    return {"tokens": tokens, **{name: after[name] - before[name] for name in after}}


COUNTERS = {"drafted": "vllm:spec_decode_num_draft_tokens", "accepted": "vllm:spec_decode_num_accepted_tokens"}


def counts(engine: Any) -> dict[str, int]:
    """vLLM's own counters of speculation so far."""
    found = {metric.name: metric for metric in engine.get_metrics()}
    return {ours: int(found[theirs].value) if theirs in found else 0 for ours, theirs in COUNTERS.items()}


if __name__ == "__main__":
    main()
