"""Thinking control over HTTP against laconic's own engine: the same problems, greedy, the same weights in float32.

Every configuration runs twice, in the engine and through a server that laconic knows nothing of but its URL: vLLM for
CPUs (``scripts/install_vllm.py`` makes its environment) or, with ``--tiny-server``, the little one of the tests. It
says how many thinking tokens each saves, how many answers are right, and where the two wrote the same.

    python scripts/blackbox.py --n 140 --seed 1 --vllm .venv-vllm/bin/python --json docs/results/blackbox.json
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Request, Result
from laconic.bench.peers.vllm import as_advised
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item, draw, load
from laconic.errors import RemoteError
from laconic.intervals import wilson
from laconic.models.load import load_text, resolve
from laconic.models.remote import RemoteModel
from laconic.remote import RemoteEngine

CONTROLLERS = ("", "settled", "answer-confidence:0.95", "answer-agreement:3", "budget:128")
"""What is compared; the first is free thinking."""
START = 600.0
"""Seconds that a server has to start."""
_TESTS = Path(__file__).resolve().parent.parent / "tests"


def main() -> None:
    """Run both sides, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=140)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=1024)
    parser.add_argument("--vllm", type=Path, help="the Python of vLLM's environment")
    parser.add_argument("--tiny-server", action="store_true", help="the server of the tests, in this process")
    parser.add_argument("--log", type=Path, help="where vLLM's own output goes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if (given.vllm is None) != given.tiny_server:
        parser.error("name vLLM's Python with --vllm, or say --tiny-server")
    torch.set_num_threads(1)
    items = draw(load(None), given.n, given.seed)
    inside = Engine.load("bundled", draft="bundled-draft", drafter="draft-model", dtype=torch.float32)
    requests = [inside.request(item.question, limits=Limits(given.max_tokens)) for item in items]
    serving = tiny() if given.tiny_server else vllm(given.vllm, given.log)
    rows: dict[str, dict[str, Any]] = {}
    with serving as (url, server), RemoteEngine.load(url, "bundled", tokenizer="bundled") as outside:
        for spec in CONTROLLERS:
            think = (spec,) if spec else ()
            sides: dict[str, tuple[list[Result], float]] = {}
            for name, engine in (("engine", inside), ("server", outside)):
                begun = time.perf_counter()
                results = engine.using(think=think).run(requests, batch=given.batch)
                sides[name] = results, time.perf_counter() - begun
            rows[spec or "free"] = compared(items, requests, sides)
            said(spec or "free", rows)
    if given.json:
        made = {
            "rows": rows,
            "server": server,
            "settings": {key: getattr(given, key) for key in ("n", "seed", "batch", "max_tokens")},
            "provenance": provenance(command()),
        }
        given.json.write_text(json.dumps(made, indent=1) + "\n")


def compared(
    items: Sequence[Item], requests: Sequence[Request], sides: dict[str, tuple[list[Result], float]]
) -> dict[str, Any]:
    """Both sides of a configuration, and how often they agree."""
    row: dict[str, Any] = {name: side(items, *found) for name, found in sides.items()}
    pairs = list(zip(sides["engine"][0], sides["server"][0], strict=True))
    row["same_tokens"] = sum(a.tokens == b.tokens for a, b in pairs)
    row["same_place"] = sum(a.usage.thinking == b.usage.thinking for a, b in pairs)
    row["same_answer"] = sum(a.answer == b.answer for a, b in pairs)
    return row


def side(items: Sequence[Item], results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """Sums over all problems."""
    right = sum(bool(item.judge(result.answer)) for item, result in zip(items, results, strict=True))
    return {
        "n": len(results),
        "right": right,
        "accuracy": right / len(results),
        "accuracy_ci": wilson(right, len(results)),
        "thinking": sum(result.usage.thinking for result in results),
        "probed": sum(result.usage.probed for result in results),
        "seconds": round(seconds, 1),
    }


def said(spec: str, rows: dict[str, dict[str, Any]]) -> None:
    """A configuration's line."""
    for name in ("engine", "server"):
        mine, free = rows[spec][name], rows["free"][name]
        mine["saved"] = 1 - mine["thinking"] / free["thinking"]
        print(
            f"{spec:24} {name:7} right {mine['accuracy']:6.1%}  thinking {mine['thinking'] / mine['n']:6.1f}  "
            f"saved {mine['saved']:6.1%}  {mine['seconds']:6.1f} s"
        )
    print(f"{'':24} the same tokens {rows[spec]['same_tokens']}, place {rows[spec]['same_place']}", flush=True)


def command() -> str:
    """This command, without the paths of this machine."""
    words = [Path(word).name if "/" in word else word for word in sys.argv]
    return " ".join(["python", f"scripts/{words[0]}", *words[1:]])


@contextmanager
def tiny() -> Iterator[tuple[str, str]]:
    """The tests' server over the bundled weights; its URL and what it is."""
    from transformers import AutoModelForCausalLM

    sys.path.insert(0, str(_TESTS))
    from server import Server, cached

    model = AutoModelForCausalLM.from_pretrained(resolve("bundled"), dtype=torch.float32).eval()
    with Server(cached(model), load_text("bundled"), name="bundled", context=2048) as server:
        yield server.url, "the server of laconic's tests"


@contextmanager
def vllm(python: Path, log: Path | None) -> Iterator[tuple[str, str]]:
    """vLLM's server over the bundled weights, on this machine alone, for as long as it is wanted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"model": Path(resolve("bundled")).absolute(), "served-model-name": "bundled", "dtype": "float32"}
    settings |= {"max-model-len": 2048, "max-num-seqs": 16, "host": "127.0.0.1", "port": port}
    arguments = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    environment = as_advised(python, 1) | {"VLLM_CPU_OMP_THREADS_BIND": "0"}
    for name, value in (("VLLM_CPU_KVCACHE_SPACE", "1"), ("VLLM_NO_USAGE_STATS", "1"), ("HF_HUB_OFFLINE", "1")):
        environment.setdefault(name, value)
    with (log or Path(os.devnull)).open("w") as output:
        process = subprocess.Popen(
            [str(python), "-I", "-m", "vllm.entrypoints.openai.api_server", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait(url, process)
            asked = [str(python), "-I", "-c", "from importlib.metadata import version as v; print(v('vllm-cpu'))"]
            version = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            yield url, f"vLLM for CPUs {version}, float32"
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the server answers. Raises SystemExit if it ends, or takes too long."""
    end = time.monotonic() + START
    with RemoteModel(url, "", retries=0) as model:
        while time.monotonic() < end and process.poll() is None:
            try:
                model.wait(model.served())
                return
            except RemoteError:
                time.sleep(1)
    raise SystemExit("vLLM did not start; its output says more: name a file for it with --log")


if __name__ == "__main__":
    main()
