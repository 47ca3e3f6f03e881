"""``settled`` over vLLM against laconic's own engine, and its time against plain vLLM and its suffix decoding.

Ends: the same problems, greedily in float32, in laconic's own engine and under ``laconic.think`` in vLLM; where do
thoughts end, and what is saved against thoughts that are written to their end?

    .venv-vllm/bin/python scripts/in_vllm/settled.py ends --problems problems.jsonl --n 200 --json OUT

Time: one request at a time on a padded target (``laconic pad bundled PADDED --parameters 0.1B``), three engines in turn
on every problem.

    .venv-vllm/bin/python scripts/in_vllm/settled.py time --model PADDED --problems problems.jsonl --n 24 --json OUT
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from pathlib import Path
from typing import Any

import engines

from laconic import Engine, Limits, Result
from laconic.answers import extract
from laconic.bench.stats import bootstrap, ratio
from laconic.equality import same
from laconic.models.load import load_text, resolve
from laconic.models.text import Text
from laconic.vllm import counters

THINK = "loop-break:every=128+settled"
MOST = 700


def main() -> None:
    """Measure one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ends", "time"])
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    records = [json.loads(line) for line in given.problems.read_text().splitlines()][: given.n]
    row = asyncio.run(ends(records, given.batch) if given.what == "ends" else times(records, given.model))
    print(json.dumps(row, indent=1))
    if given.json:
        kept = json.loads(given.json.read_text()) if given.json.exists() else {}
        given.json.write_text(json.dumps({**kept, given.what: row}, indent=1) + "\n")


async def ends(records: list[dict[str, Any]], batch: int) -> dict[str, Any]:
    """Where thoughts end in both engines."""
    text = load_text("bundled")
    questions = [record["question"] for record in records]
    own = Engine.load("bundled", think=tuple(THINK.split("+")))
    mine = own.run([own.request(q, limits=Limits(MOST)) for q in questions], batch=batch)
    plain = own.using(think=()).run(
        [own.request(q, limits=Limits(MOST, answer_room=0)) for q in questions], batch=batch
    )
    row: dict[str, Any] = {"problems": len(records), "think": THINK}
    for name in ("none", "laconic"):
        engine = engines.Online(resolve("bundled"), name)
        theirs = []
        try:
            for at in range(0, len(questions), batch):
                prompts = [text.prompt(question) for question in questions[at : at + batch]]
                theirs += await engine.together(
                    prompts, max_tokens=MOST, temperature=0, extra_args={"laconic.think": THINK}
                )
        finally:
            engine.close()
        row[name] = alike(text, records, theirs, mine, plain)
    return row


def alike(
    text: Text, records: list[dict[str, Any]], theirs: list[engines.Reply], mine: list[Result], plain: list[Result]
) -> dict[str, Any]:
    """What both engines made of the same problems."""
    here, own = [one.tokens for one in theirs], [list(one.tokens) for one in mine]
    whole = sum(thought(text, list(one.tokens)) for one in plain)
    ended = [thought(text, a) == thought(text, b) for a, b in zip(here, own, strict=True)]
    answers = [record["answer"] for record in records]
    return {
        "ends_alike": sum(ended),
        "texts_alike": sum(trimmed(text, a) == trimmed(text, b) for a, b in zip(here, own, strict=True)),
        "saved_here": 1 - sum(thought(text, one) for one in here) / whole,
        "saved_in_own_engine": 1 - sum(thought(text, one) for one in own) / whole,
        "right_here": sum(right(text.decode(one), answer) for one, answer in zip(here, answers, strict=True)),
        "right_in_own_engine": sum(right(text.decode(one), answer) for one, answer in zip(own, answers, strict=True)),
        "differ": [index for index, one in enumerate(ended) if not one],
    }


async def times(records: list[dict[str, Any]], model: str) -> dict[str, Any]:
    """Seconds of an answered problem, three engines in turn."""
    text = load_text(model)
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "plain": ("none", {}),
        "suffix": ("suffix", {}),
        "laconic": ("laconic", {"extra_args": {"laconic.think": THINK}}),
    }
    running = {name: engines.Online(model, drafts, seats=4) for name, (drafts, _) in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    tokens: dict[str, list[int]] = {name: [] for name in ways}
    correct = dict.fromkeys(ways, 0)
    try:
        for index, record in enumerate(records):
            order = list(ways)[index % 3 :] + list(ways)[: index % 3]
            for name in order:
                (reply,) = await running[name].together(
                    [text.prompt(record["question"])], max_tokens=MOST, temperature=0, **ways[name][1]
                )
                seconds[name].append(reply.seconds)
                tokens[name].append(thought(text, reply.tokens))
                correct[name] += right(reply.text, record["answer"])
            print(index, {name: round(all[-1], 2) for name, all in seconds.items()}, flush=True)
    finally:
        for engine in running.values():
            engine.close()
    row: dict[str, Any] = {"model": Path(model).name, "problems": len(records), "think": THINK}
    for name in ways:
        row[name] = {
            "seconds_median": statistics.median(seconds[name]),
            "thinking_tokens": sum(tokens[name]),
            "right": correct[name],
        }
    for name in ("plain", "suffix"):
        pairs = list(zip(seconds["laconic"], seconds[name], strict=True))
        row[f"laconic_to_{name}"] = {
            "total": sum(a for a, _ in pairs) / sum(b for _, b in pairs),
            "interval": bootstrap(pairs, ratio),
        }
    row["tokens_by_kind"] = counters.tokens()
    return row


def thought(text: Text, tokens: list[int]) -> int:
    """Tokens up to the closing tag, or all of them."""
    close = text.close_token
    return tokens.index(close) if close in tokens else len(tokens)


def trimmed(text: Text, tokens: list[int]) -> list[int]:
    """Tokens without an end token."""
    return [token for token in tokens if token not in text.eos]


def right(said: str, answer: str) -> bool:
    """Whether the answer in a reply is the right one."""
    return same(answer, extract(said))


if __name__ == "__main__":
    main()
