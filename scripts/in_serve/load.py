"""The server with drafts beside the same server without: tokens a second and the wait for the first token, by load.

    python scripts/in_serve/load.py --json docs/results/serve_load.json

A closed loop: so many clients ask at once, each the next problem as soon as its reply has ended. Both servers run all
the while, and take turns within each round on the same problems, which neither has seen before; what is told are the
ratios of such pairs. Replies are the same, since drafting changes none of them, and that is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from served import KEYS, Served, bearer, serving

from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load


@dataclass
class Round:
    """What one server did with a round's problems."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    """Seconds from each request to its first token."""
    texts: dict[int, str] = field(default_factory=dict)


async def ask(http: httpx.AsyncClient, question: str, most: int, at: int, made: Round) -> None:
    """One request, as a stream."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": most, "stream": True, "temperature": 0,
            "stream_options": {"include_usage": True}}  # fmt: skip
    begun, first, text = time.perf_counter(), None, ""
    async with http.stream("POST", "/v1/chat/completions", json=body, headers=bearer(KEYS[0])) as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            for choice in chunk["choices"]:
                new = choice["delta"].get("reasoning", "") + choice["delta"].get("content", "")
                if new and first is None:
                    first = time.perf_counter() - begun
                text += new
            if chunk.get("usage"):
                made.tokens += chunk["usage"]["completion_tokens"]
    assert first is not None, "a reply without a token"
    made.first.append(first)
    made.texts[at] = text


async def closed_loop(served: Served, questions: Sequence[str], at_once: int, most: int) -> Round:
    """Let so many clients ask all questions."""
    made, left = Round(), iter(enumerate(questions))

    async def client(http: httpx.AsyncClient) -> None:
        for at, question in left:
            await ask(http, question, most, at, made)

    async with httpx.AsyncClient(base_url=served.url, timeout=600) as http:
        begun = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(at_once)))
        made.seconds = time.perf_counter() - begun
    return made


def share(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    return sorted(values)[min(int(part * len(values)), len(values) - 1)]


def row(drafts: Sequence[Round], plain: Sequence[Round]) -> dict[str, Any]:
    """What is told of one load."""
    ratios = [p.seconds / d.seconds * d.tokens / p.tokens for d, p in zip(drafts, plain, strict=True)]
    waits = {
        name: {
            "p50": round(share(first, 0.5), 4), "p99": round(share(first, 0.99), 4),
        }
        for name, first in (
            ("drafts", [wait for made in drafts for wait in made.first]),
            ("plain", [wait for made in plain for wait in made.first]),
        )
    }  # fmt: skip
    return {
        "tokens_a_second_ratio": {"median": round(statistics.median(ratios), 3), "least": round(min(ratios), 3),
                                  "most": round(max(ratios), 3)},
        "first_token_seconds": waits,
        "tokens": sum(made.tokens for made in drafts),
        "same_replies": all(d.texts == p.texts for d, p in zip(drafts, plain, strict=True)),
    }  # fmt: skip


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", default="1,2,4,8,16", help="clients, a comma list")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", default="", help="more options of laconic serve, for both")
    parser.add_argument("--drafts", default="", help="more options for the server that drafts")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    loads = [int(load) for load in given.at_once.split(",")]
    sizes = [max(8, 2 * load) for load in loads]
    items = [item.question for item in draw(load(None), 16 + given.rounds * sum(sizes), given.seed)]
    warm, left = items[:16], iter(items[16:])
    both = ["--memory", "0.5", "--batch", str(max(loads)), *given.options.split()]
    rows: dict[str, Any] = {}
    with serving(*both, *given.drafts.split()) as drafts, serving(*both, "--drafter", "none") as plain:
        for served in (drafts, plain):
            asyncio.run(closed_loop(served, warm, 4, given.max_tokens))
        for at_once, size in zip(loads, sizes, strict=True):
            made: dict[str, list[Round]] = {"drafts": [], "plain": []}
            for turn in range(given.rounds):
                questions = [next(left) for _ in range(size)]
                order = [("drafts", drafts), ("plain", plain)]
                for name, served in order if turn % 2 else reversed(order):
                    made[name].append(asyncio.run(closed_loop(served, questions, at_once, given.max_tokens)))
            rows[str(at_once)] = row(**made)
            print(at_once, json.dumps(rows[str(at_once)]), flush=True)
        both_served = (("drafts", drafts), ("plain", plain))
        methods = {name: served.status()["server"]["methods"] for name, served in both_served}
    record = {
        "at_once": rows,
        "methods": methods,
        "settings": {name: value for name, value in vars(given).items() if name != "json"},
        "provenance": provenance(),
    }
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
