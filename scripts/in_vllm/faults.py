"""A vLLM server when things go wrong: bad requests, broken controllers, clients that leave, an engine that dies.

.venv-vllm/bin/python scripts/in_vllm/faults.py --drafts laconic --json docs/results/vllm_faults.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engines
import httpx

from laconic.models.load import load_text, resolve

QUESTIONS = [f"What is {a} * {b} + {c}?" for a, b, c in ((37, 48, 15), (12, 9, 4), (25, 14, 9), (61, 7, 88))]
BAD = {
    "unknown method": {"laconic.think": "budgt:32"},
    "unknown field": {"laconic.thnk": "budget:32"},
    "a value of the wrong kind": {"laconic.think": 32},
    "a knob of the wrong kind": {"laconic.think": "budget:many"},
    "rules on logits beside probes": {"laconic.think": "settled+end-temperature:4"},
    "a say before the request": {"laconic.think": "no-thinking"},
    "no room for an answer": {"laconic.think": "budget:4096"},
}


def main() -> None:
    """Run every case against a server of its own making, and write down what came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drafts", default="laconic", choices=list(engines.SPECULATION))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    row: dict[str, Any] = {}
    with server(given.drafts) as (url, _):
        row |= asyncio.run(living(url))
    with server(given.drafts) as (url, process):
        row["dead engine"] = asyncio.run(dying(url, process))
    with server(given.drafts) as (url, _):
        row["started again"] = asyncio.run(again(url))
    print(json.dumps(row, indent=1))
    if given.json:
        given.json.write_text(json.dumps(row, indent=1) + "\n")


@contextmanager
def server(drafts: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """vLLM's server with the bundled reasoner on this machine, and the plug-in of faulty controllers."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        info = Path(folder, "faulty-1.dist-info")
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[vllm.general_plugins]\nfaulty = faulty:register\n")
        path = os.pathsep.join([folder, str(Path(__file__).parent.absolute())])
        config = engines.speculation(drafts)
        process = subprocess.Popen(
            [
                sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", resolve("bundled"),
                "--dtype", "float32", "--max-model-len", "768", "--max-num-seqs", "8", "--enforce-eager",
                "--host", "127.0.0.1", "--port", str(port), "--block-size", "32", "--served-model-name", "bundled",
                *(["--speculative-config", json.dumps(config)] if config else []),
            ],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait(url, process)
            yield url, process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def body(question: str, think: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A completion of a prompt of ids."""
    prompt = list(load_text("bundled").prompt(question))
    return {"model": "bundled", "prompt": prompt, "max_tokens": 300, "temperature": 0, "skip_special_tokens": False,
            **({"vllm_xargs": think} if think else {}), **more}  # fmt: skip


async def send(client: httpx.AsyncClient, asked: dict[str, Any]) -> tuple[int, str]:
    """Status and text, or the error's message."""
    try:
        reply = await client.post("/v1/completions", json=asked)
    except httpx.HTTPError as error:
        return 0, type(error).__name__
    said = reply.json()
    if reply.status_code == 200:
        return 200, str(said["choices"][0]["text"])
    return reply.status_code, f"{said['error'].get('type')}: {said['error'].get('message')}"


async def living(url: str) -> dict[str, Any]:
    """Bad requests, controllers that raise beside others, clients that leave."""
    row: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        row["bad requests"] = {name: list(await send(client, body(QUESTIONS[0], asked))) for name, asked in BAD.items()}
        alone = [await send(client, body(question)) for question in QUESTIONS]
        thinks = [None, None, {"laconic.think": "budget:40"}, {"laconic.think": "faulty"}, None,
                  {"laconic.think": "faulty-probe"}, {"laconic.think": "settled"}, None]  # fmt: skip
        mixed = await asyncio.gather(*[send(client, body(QUESTIONS[i % 4], think)) for i, think in enumerate(thinks)])
        row["beside faulty ones"] = {
            "others as alone": sum(
                mixed[i] == alone[i % 4] for i, think in enumerate(thinks) if think is None
            ),
            "others": sum(think is None for think in thinks),
            "controlled": [mixed[2][0], mixed[6][0]],
            "faulty": list(mixed[3]), "faulty probe": list(mixed[5]),
            "health": (await client.get("/health")).status_code,
        }  # fmt: skip
        for think in ({"laconic.think": "settled"}, {"laconic.think": "budget:200"}, None):
            await leave(client, body(QUESTIONS[0], think, stream=True, max_tokens=600))
        await asyncio.sleep(2)
        row["clients that left"] = {
            "running": await metric(client, "vllm:num_requests_running"),
            "as before": (await send(client, body(QUESTIONS[1]))) == alone[1],
        }
        row["metrics"] = [
            line for line in (await client.get("/metrics")).text.splitlines()
            if line.startswith("laconic:") and "_created" not in line
        ]  # fmt: skip
    return row


async def leave(client: httpx.AsyncClient, asked: dict[str, Any]) -> None:
    """Read three lines of a stream and go."""
    async with client.stream("POST", "/v1/completions", json=asked) as reply:
        seen = 0
        async for line in reply.aiter_lines():
            seen += bool(line)
            if seen == 3:
                return


async def metric(client: httpx.AsyncClient, name: str) -> float:
    """A number of vLLM's own."""
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{"))


async def dying(url: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The engine's process is killed with requests in flight: every client must hear of it."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        thinks = [None, {"laconic.think": "budget:200"}, {"laconic.think": "settled"}, None]
        tasks = [
            asyncio.create_task(send(client, body(q, t, max_tokens=600)))
            for q, t in zip(QUESTIONS, thinks, strict=True)
        ]
        await asyncio.sleep(0.7)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        begun = time.monotonic()
        replies = await asyncio.gather(*tasks)
    return {"statuses": [status for status, _ in replies], "seconds": round(time.monotonic() - begun, 1)}


async def again(url: str) -> dict[str, Any]:
    """A server that was started anew."""
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        replies = [await send(client, body(q, {"laconic.think": "settled"})) for q in QUESTIONS]
    return {"statuses": [status for status, _ in replies], "answers": [text[-30:] for _, text in replies]}


def children(pid: int) -> list[int]:
    """Process ids below one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(parts[1]) == pid:
            child = int(stat.parent.name)
            found += [child, *children(child)]
    return found


if __name__ == "__main__":
    main()
