"""Seconds to an answered problem of ``laconic serve`` and of vLLM's own server, on one checkpoint, in one run.

    laconic pad bundled PADDED --parameters 0.1B --dtype float32
    python scripts/in_serve/against_vllm.py --model PADDED --vllm-python .venv-vllm/bin/python --json OUT

Clients ask the same problems in a closed loop, as many at once as ``--at-once`` says. The servers take turns, in
changing order, and whoever does not is paused (SIGSTOP), since vLLM's idle processes poll. Both decode greedily, on one
thread each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from servers import Process, laconic, vllm

from laconic.answers import stated
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.equality import same

LONGEST = 700


@dataclass
class Round:
    """What one server did with some problems."""

    server: str
    at_once: int
    problems: int
    seconds: float
    tokens: int
    answered: int
    right: int


async def ask(client: httpx.AsyncClient, model: str, question: str) -> tuple[str, int]:
    """The answer and the tokens that it took."""
    body = {
        "model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": LONGEST
    }  # fmt: skip
    reply = await client.post("/v1/chat/completions", json=body)
    reply.raise_for_status()
    said = reply.json()
    content = said["choices"][0]["message"]["content"] or ""
    return content.rpartition("</think>")[2], said["usage"]["completion_tokens"]


async def round_of(server: Process, name: str, model: str, items: Sequence[Any], at_once: int) -> Round:
    """All problems once, ``at_once`` clients at a time."""
    waiting = list(enumerate(items))[::-1]
    tokens = answered = right = 0

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal tokens, answered, right
        while waiting:
            _, item = waiting.pop()
            content, count = await ask(client, model, item.question)
            tokens += count
            answer = stated(content)
            answered += bool(answer)
            right += bool(answer) and same(item.answer, answer)

    async with httpx.AsyncClient(base_url=server.url, timeout=1800) as client:
        begun = time.perf_counter()
        await asyncio.gather(*(work(client) for _ in range(at_once)))
        seconds = time.perf_counter() - begun
    return Round(name, at_once, len(items), seconds, tokens, answered, right)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--vllm-python", required=True)
    parser.add_argument("--at-once", default="1,2,4,8,16")
    parser.add_argument("--each", type=int, default=2, help="problems of a client in a round; four at least in all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    loads = [int(one) for one in given.at_once.split(",")]
    items = draw(load(None), max(max(loads) * given.each, 8) * given.rounds, 7)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as place:
        logs = Path(place)
        seats = str(max(loads))
        arguments = ["--dtype", "float32", "--max-model-len", "768", "--max-num-seqs", seats, "--enforce-eager",
                     "--block-size", "32", "--served-model-name", "padded"]  # fmt: skip
        with (
            vllm(given.vllm_python, given.model, arguments, log=logs / "vllm.log") as theirs,
            laconic(["--model", given.model, "--draft-model", given.draft_model, "--threads", "1", "--batch", seats,
                     "--served-model-name", "padded", "--dtype", "float32"], log=logs / "laconic.log") as ours,
        ):  # fmt: skip
            servers = {"vllm": theirs, "laconic": ours}
            for server in servers.values():
                server.pause()
            for turn in range(given.rounds + 1):  # the first is not counted: everything is cold
                for at_once in loads if turn else loads[:1]:
                    size = max(4, at_once * given.each)
                    start = (turn - 1) * size if turn else 0
                    mine = items[start : start + size] if turn else items[:2]
                    for name in sorted(servers, reverse=bool(turn % 2)):
                        servers[name].go_on()
                        found = asyncio.run(round_of(servers[name], name, "padded", mine, at_once))
                        servers[name].pause()
                        if turn:
                            rounds.append(found)
                            print(asdict(found), flush=True)
    record = {"provenance": provenance(), "rounds": [asdict(one) for one in rounds], "summary": summary(rounds, loads)}
    if given.json is not None:
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for row in record["summary"]:
        print(row)


def summary(rounds: Sequence[Round], loads: Sequence[int]) -> list[dict[str, Any]]:
    """For each load the ratio of seconds per answered problem, round by round, and tokens a second."""
    rows = []
    for at_once in loads:
        ours, theirs = (
            [r for r in rounds if r.server == name and r.at_once == at_once] for name in ("laconic", "vllm")
        )
        ratios = [(a.seconds / a.answered) / (b.seconds / b.answered) for a, b in zip(ours, theirs, strict=True)]
        rows.append(
            {
                "at_once": at_once, "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
                "laconic_right": f"{sum(r.right for r in ours)}/{sum(r.problems for r in ours)}",
                "vllm_right": f"{sum(r.right for r in theirs)}/{sum(r.problems for r in theirs)}",
                "laconic_tokens": sum(r.tokens for r in ours), "vllm_tokens": sum(r.tokens for r in theirs),
                "tokens_a_second_ratio": statistics.median(
                    (a.tokens / a.seconds) / (b.tokens / b.seconds) for a, b in zip(ours, theirs, strict=True)
                ),
            }
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
