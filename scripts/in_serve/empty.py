"""Thousands of requests with every knob at random: does any reply stop without an answer?

    python scripts/in_serve/empty.py --n 10000 --json docs/results/serve_empty.json

Through the whole server, over laconic's own engine with the bundled model, over an upstream server with one that
writes at random, and (``--backends vllm``, under the Python of vLLM's environment) over vLLM with the bundled model.
Limits are tiny as often as not, end tokens are made likely inside the thought, and closing tags
unlikely. What a client asks for itself is counted apart: its own stop string at the head of the answer, and
``answer_room`` of 0, which leaves thoughts alone. So is a model whose very first token is the end of the text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from laconic import Engine
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.models.text import Text
from laconic.serve.app import application
from laconic.serve.backend import Backend
from laconic.serve.behind import Behind
from laconic.serve.own import Own
from laconic.serve.settings import Settings

_TESTS = Path(__file__).resolve().parent.parent.parent / "tests"
_THINK = (
    "none",
    "settled:0.1",
    "budget:12",
    "answer-agreement:1",
    "loop-break:every=16",
    "budget:30+settled",
    "soft-landing:20",
)
_STOPS = ("The", "answer", "\n", "}", "zzz", ".")


def body(dice: random.Random, question: str, text: Text, *, upstream: bool) -> dict[str, Any]:
    """A request with every knob at random."""
    made: dict[str, Any] = {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": dice.choice((1, 2, 3, 5, 8, 13, 21, 34, 60, 120)),
        "seed": dice.randrange(1 << 31),
    }

    def sometimes(share: float, name: str, value: Any) -> None:
        if dice.random() < share:
            made[name] = value

    sometimes(0.7, "temperature", dice.choice((0, 0.3, 0.8, 1.0, 1.5, 3.0)))
    sometimes(0.3, "top_p", dice.choice((0.05, 0.5, 0.95)))
    sometimes(0.3, "top_k", dice.choice((-1, 1, 5, 50)))
    sometimes(0.2, "min_p", dice.choice((0.0, 0.05, 0.3)))
    sometimes(0.2, "repetition_penalty", dice.choice((0.8, 1.1, 2.0)))
    sometimes(0.3, "thinking_token_budget", dice.choice((0, 1, 4, 20)))
    sometimes(0.1, "reasoning_effort", dice.choice(("none", "low", "high")))
    sometimes(0.2, "stop", [dice.choice(_STOPS)])
    sometimes(0.2, "n", 2)
    ends = dict.fromkeys(map(str, text.eos), dice.choice((2, 5, 10, 30, 100)))
    close = {} if text.close_token is None else {str(text.close_token): dice.choice((-100, -5, 5, 100))}
    sometimes(0.4, "logit_bias", dice.choice((ends, close, ends | close)))
    own = {"think": dice.choice(_THINK)} if dice.random() < 0.5 else {}
    if dice.random() < 0.1:
        own["answer_room"] = dice.choice((0, 1))
    if own:
        made["laconic"] = own
    if not upstream:
        sometimes(0.2, "presence_penalty", dice.choice((-2, 1, 2)))
        sometimes(0.2, "frequency_penalty", dice.choice((-2, 1, 2)))
        sometimes(0.1, "prediction", {"type": "content", "content": "The answer is 7."})
    return made


async def ask(backend: Backend, n: int, questions: list[str], seed: int, *, upstream: bool) -> dict[str, Any]:
    """Ask ``n`` of them, sixteen at once; what became of them."""
    counts: Counter[str] = Counter()
    empty: list[dict[str, Any]] = []
    app = application(backend, Settings())
    dice, left = random.Random(seed), iter(range(n))

    async def client(http: httpx.AsyncClient) -> None:
        for at in left:
            asked = body(dice, questions[at % len(questions)], backend.text, upstream=upstream)
            reply = await http.post("/v1/chat/completions", json=asked)
            counts[f"status {reply.status_code}"] += 1
            if reply.status_code == 400:
                counts[reply.json()["error"]["message"][:40]] += 1
            if reply.status_code != 200:
                continue
            for choice in reply.json()["choices"]:
                counts["replies"] += 1
                counts[f"finish {choice['finish_reason']}"] += 1
                if choice["finish_reason"] != "stop" or choice["message"]["content"].strip():
                    continue
                if "stop" in asked:
                    counts["empty by the client's own stop string"] += 1
                elif asked.get("laconic", {}).get("answer_room") == 0:
                    counts["empty by the client's answer_room of 0"] += 1
                elif not choice["message"]["reasoning"] and not choice["laconic"]["events"]:
                    counts["empty from the first token: no thought, no answer"] += 1
                else:
                    counts["empty"] += 1
                    empty.append(asked)

    async with app.app.router.lifespan_context(app.app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http:
            await asyncio.gather(*(client(http) for _ in range(16)))
    return {"counts": dict(sorted(counts.items())), "first_empty": empty[:3]}


@contextmanager
def at_random() -> Iterator[Behind]:
    """A backend over the tests' server and a model that writes at random."""
    sys.path.insert(0, str(_TESTS))
    import tiny
    from fakes import Hashed
    from server import Server, following

    from laconic.models.remote import RemoteModel
    from laconic.remote import RemoteEngine

    text = tiny.text()
    likely = {
        **{chr(code): 9.0 for code in range(32, 127)},
        "\n\n": 12.5,
        "}": 13.0,
        "<|im_end|>": 11.5,
        "</think>": 9.5,
    }
    with Server(following(Hashed(text, likely).after), text) as server:
        yield Behind(RemoteEngine(RemoteModel(server.url, "tiny"), text, ("settled",), context=512))


def by_vllm() -> Backend:
    """vLLM's engine in this process over the bundled model, under the Python of vLLM's environment."""
    from laconic.models.reasoner import target_path
    from laconic.serve.within import Within

    args = {"dtype": "float32", "max_model_len": 768, "enforce_eager": True, "block_size": 32, "max_num_seqs": 16}
    return Within.prepared(str(target_path()), ("loop-break:every=128", "settled"), args)


def main() -> None:
    """Ask, print, write the record; the exit status says whether any reply was empty."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="requests over each backend")
    parser.add_argument("--backends", default="own,upstream", help="a comma list of own, upstream and vllm")
    parser.add_argument("--tasks", help="problems as JSONL (scripts/in_vllm/problems.py), where they cannot be made")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    questions = [item.question for item in draw(load(given.tasks), 200, given.seed)]
    found: dict[str, Any] = {}
    for name in given.backends.split(","):
        begun = time.monotonic()
        if name == "own":
            engine = Engine.load("bundled", drafter="draft-model", think=("loop-break:every=128", "settled"))
            found[name] = asyncio.run(
                ask(Own(engine, memory=512 << 20), given.n, questions, given.seed, upstream=False)
            )
        elif name == "vllm":
            found[name] = asyncio.run(ask(by_vllm(), given.n, questions, given.seed, upstream=True))
        else:
            with at_random() as backend:
                found[name] = asyncio.run(ask(backend, given.n, questions, given.seed, upstream=True))
        print(name, round(time.monotonic() - begun), "s", json.dumps(found[name], indent=1), flush=True)
    settings = {name: value for name, value in vars(given).items() if name != "json"}
    record = {"backends": found, "settings": settings, "provenance": provenance()}
    if given.json:
        given.json.write_text(json.dumps(record, indent=1) + "\n")
    raise SystemExit(any(one["counts"].get("empty") for one in found.values()))


if __name__ == "__main__":
    main()
