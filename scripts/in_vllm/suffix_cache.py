"""Recorded texts gone through with a drafter that needs no model, draft by draft: what holds, and what it costs.

``along`` is what both sides of ``scripts/suffix_rival.py`` go through. Run as a program, this file is the rival's side:
arctic-inference's SuffixDecodingCache, which is installed beside vLLM. It needs nothing else, so that both sides have a
process of their own::

    .venv-vllm/bin/python scripts/in_vllm/suffix_cache.py < task.json
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

Conversation = Sequence[tuple[list[int], list[int]]]
"""Turns: the tokens given, and those written after them."""


class Side(Protocol):
    """A drafter on one text that grows."""

    def give(self, conversation: int, tokens: list[int]) -> None:
        """More text is given: the first of a conversation, or that of its next turn."""
        ...

    def draft(self) -> tuple[Sequence[int], Sequence[int]]:
        """Tokens and parents of a draft; -1 below the text."""
        ...

    def learn(self, tokens: list[int]) -> None:
        """What was written."""
        ...

    def end(self) -> None:
        """The conversation is over."""
        ...


def along(side: Side, conversations: Sequence[Conversation]) -> dict[str, float]:
    """Go through the conversations. Times are scaled to what the processor gave: others may have had it meanwhile."""
    clock = time.perf_counter  # the processor's own time takes long to ask for
    started, processor = clock(), time.process_time()
    tokens = passes = drafted = given_tokens = 0
    drafting = learning = giving = 0.0
    for number, turns in enumerate(conversations):
        for given, written in turns:
            begun = clock()
            side.give(number, given)
            giving += clock() - begun
            given_tokens += len(given)
            at = 0
            while at < len(written):
                begun = clock()
                draft, parents = side.draft()
                drafting += clock() - begun
                drafted += len(draft)
                passes += 1
                new = written[at : at + accepted(draft, parents, written[at:]) + 1]
                begun = clock()
                side.learn(new)
                learning += clock() - begun
                at += len(new)
        tokens += sum(len(written) for _, written in turns)
        side.end()
    share = 1e6 * (time.process_time() - processor) / (clock() - started)
    return {
        "tokens": tokens,
        "passes": passes,
        "drafted": drafted,
        "tokens_per_pass": tokens / passes,
        "draft_us": drafting / passes * share,
        "learn_us": learning / passes * share,
        "call_us": (drafting + learning) / passes * share,
        "give_us_per_token": giving / given_tokens * share,
    }


def accepted(draft: Sequence[int], parents: Sequence[int], written: Sequence[int]) -> int:
    """Drafted tokens that agree with what was written."""
    tip, length = -1, 0
    for node, (token, parent) in enumerate(zip(draft, parents, strict=True)):
        if parent == tip and length < len(written) and token == written[length]:
            tip, length = node, length + 1
    return length


class Cache:
    """The rival. It knows no turns: the next turn of a conversation is a request whose prompt is all of the text."""

    def __init__(self, depth: int, most: int, factor: float, min_prob: float, tree: bool, shared: bool) -> None:
        from arctic_inference.suffix_decoding import SuffixDecodingCache

        self.cache = SuffixDecodingCache(max_tree_depth=depth, max_cached_requests=-1 if shared else 0)
        self.depth = depth
        self.settings = {
            "max_spec_tokens": most,
            "max_spec_factor": factor,
            "min_token_prob": min_prob,
            "use_tree_spec": tree,
        }
        self.requests = 0
        self.text: list[int] = []

    def give(self, conversation: int, tokens: list[int]) -> None:
        """Begin a request."""
        if self.text:
            self.cache.stop_request(self.requests)
        self.requests += 1
        self.text += tokens
        self.cache.start_request(self.requests, self.text)

    def draft(self) -> tuple[Sequence[int], Sequence[int]]:
        """Its draft."""
        draft = self.cache.speculate(self.requests, self.text[-self.depth :], **self.settings)
        return draft.token_ids, draft.parents

    def learn(self, tokens: list[int]) -> None:
        """Add to the response."""
        self.text += tokens
        self.cache.add_active_response(self.requests, tokens)

    def end(self) -> None:
        """End the request."""
        self.cache.stop_request(self.requests)
        self.text = []


def main() -> None:
    """Read settings and conversations, write the numbers."""
    task: dict[str, Any] = json.load(sys.stdin)
    print(json.dumps(along(Cache(**task["settings"]), task["conversations"])))


if __name__ == "__main__":
    main()
