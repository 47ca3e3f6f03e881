"""llama.cpp behind a pipe. Runs under the Python of its own environment and imports nothing of laconic.

The first line on standard input holds the settings; each further line is one request, answered by one line. What
llama.cpp prints goes to standard error.
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
        engine = Counting(settings)
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    import llama_cpp

    say({"ready": True, "version": llama_cpp.__version__})
    for line in sys.stdin:
        try:
            say(engine.answer(json.loads(line)))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


class Counting:
    """A llama.cpp model that counts its passes."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from llama_cpp import Llama
        from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

        lookup = settings["prompt_lookup"]
        self.model = Llama(
            settings["model"],
            n_ctx=settings["context"],
            n_threads=settings["threads"],
            n_threads_batch=settings["threads"],
            draft_model=LlamaPromptLookupDecoding(num_pred_tokens=lookup) if lookup else None,
            logits_all=bool(lookup),
            verbose=False,
        )
        self.passes = 0
        plain = self.model.eval

        def eval_and_count(tokens: Any) -> None:
            self.passes += 1
            plain(tokens)

        self.model.eval = eval_and_count

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Tokens written after a prompt of ids, and what was accepted of drafts for them."""
        self.model.reset()
        self.model.set_seed(order.get("seed", 0))
        self.passes = 0
        written: list[int] = []
        made = self.model.generate(
            order["prompt"],
            temp=order["temperature"],
            top_k=order.get("top_k", 0),
            top_p=order.get("top_p", 1.0),
            min_p=order.get("min_p", 0.0),
            repeat_penalty=order.get("repetition_penalty", 1.0),
        )
        for token in made:
            written.append(int(token))
            if token in order["ends"] or len(written) >= order["max_tokens"]:
                break
        # Each pass adds one token of its own to those that were drafted and held.
        return {"tokens": written, "drafted": 0, "accepted": max(0, len(written) - self.passes)}


if __name__ == "__main__":
    main()
