"""laconic's proposer beside vLLM's suffix decoding and no speculation, on prompts of recorded agents, 1 to 16 at once.

Prompts are conversations of ``agent_tau_bench.jsonl`` up to a reply of the agent, their last tokens. Engines run in
turn on the same prompts, one load after the other, each having written sixteen short replies before.

    .venv-vllm/bin/python scripts/in_vllm/proposer.py --model FOLDER --traces DIR --json docs/results/vllm_proposer.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path
from typing import Any

import engines

from laconic.bench.stats import bootstrap, ratio
from laconic.models.load import load_text

NAMES = ("none", "suffix", "laconic")


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--loads", default="1,2,4,8,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=64, help="tokens of a reply")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    row = asyncio.run(measure(given))
    if given.json:
        kept = json.loads(given.json.read_text()) if given.json.exists() else {}
        given.json.write_text(json.dumps({**kept, Path(given.model).name: row}, indent=1) + "\n")


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second at every load."""
    loads = [int(load) for load in given.loads.split(",")]
    text = load_text(given.model)
    prompts = conversations(given.traces / "agent_tau_bench.jsonl", text, given.prompt)
    running = {
        name: engines.Online(
            given.model, name, seats=16, dtype=given.dtype, enable_prefix_caching=False,
            max_model_len=given.prompt + given.new + 64,
        )
        for name in NAMES
    }  # fmt: skip
    row: dict[str, Any] = {
        "model": Path(given.model).name,
        "dtype": given.dtype,
        "prompt": given.prompt,
        "new": given.new,
    }
    try:
        for name in NAMES:
            await running[name].together(prompts[-16:], max_tokens=16, temperature=0)
        at = 0
        for load in loads:
            rates: dict[str, list[float]] = {name: [] for name in NAMES}
            for turn in range(given.rounds + (load == 1)):
                batch = [prompts[(at + i) % len(prompts)] for i in range(load)]
                at += load
                for name in NAMES[turn % 3 :] + NAMES[: turn % 3]:
                    begun = time.perf_counter()
                    replies = await running[name].together(batch, max_tokens=given.new, temperature=0, ignore_eos=True)
                    rates[name].append(sum(len(one.tokens) for one in replies) / (time.perf_counter() - begun))
            row[str(load)] = {name: statistics.median(found) for name, found in rates.items()}
            for name in ("none", "suffix"):
                pairs = list(zip(rates["laconic"], rates[name], strict=True))
                row[str(load)][f"to_{name}"] = [ratio(pairs), *bootstrap(pairs, ratio)]
            print(load, json.dumps(row[str(load)]), flush=True)
    finally:
        for engine in running.values():
            engine.close()
    return row


def conversations(file: Path, text: Any, most: int) -> list[list[int]]:
    """The last ``most`` tokens of every conversation up to each reply of the agent, for conversations that long."""
    found = []
    for line in file.read_text().splitlines():
        said = ""
        for message in json.loads(line)["messages"]:
            words = message.get("content") or json.dumps(message.get("tool_calls") or "")
            if message["role"] == "assistant" and len(tokens := text.encode(said)) >= 2 * most:
                found.append((json.loads(line)["id"], tokens[-most:]))
            said += f"{message['role']}: {words}\n\n"
    by_turn: dict[str, list[list[int]]] = {}
    for name, tokens in found:
        by_turn.setdefault(str(name), []).append(tokens)
    return [turns[index] for index in range(8) for turns in by_turn.values() if index < len(turns)]


if __name__ == "__main__":
    main()
