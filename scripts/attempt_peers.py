"""Peers that make several attempts at a question, and laconic's own methods: one model behind one server for all.

    python scripts/attempt_peers.py --its-hub ITS/bin/python --optillm OPTILLM/bin/python --n 40 --json out.json

Each peer runs in an environment of its own, named by its Python; one that is not named is left out. The server is
``laconic serve`` with the thought in the reply's text, as every server has it that knows nothing of thoughts. Rows that
end in ``@apart`` ask a second one, which tells the thought apart from the content, as servers with a reasoning parser
do. Attempts, temperature and limit are the same for all. Tokens are counted by the server, those of attempts that are
given up included; ``replies`` are those that were written to their end.

its-hub's best-of-n, beam and particles have laconic's judge ``equations`` (laconic's rows name it themselves): 1 where
all equations hold, 0 where one does not; ``--score share`` gives its-hub the share that holds instead. Beams of both
keep one thought in four.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import laconic.methods  # noqa: F401  (fills the registry)
from laconic import Limits, RemoteEngine, Sampling
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio, rotation
from laconic.bench.tasks import Item, draw, load
from laconic.errors import LaconicError
from laconic.intervals import wilson
from laconic.judges.equations import equations
from laconic.transcript import STEP

VOTE = "laconic:self-consistency"
OWN = (
    "laconic:one",
    VOTE,
    "laconic:adaptive-consistency",
    "laconic:enough",
    "laconic:best-of-n:judge=[equations]",
    "laconic:beam:judge=[equations:unknown=1],width=4",
    "laconic:particles:judge=[equations:unknown=1]",
)
PEERS = (
    "its-hub:self-consistency",
    "its-hub:adaptive-self-consistency",
    "its-hub:beta-self-consistency",
    "its-hub:best-of-n",
    "its-hub:beam",
    "its-hub:particles",
    "optillm:self-consistency",
    "optillm:self-consistency@apart",
    "optillm:majority-voting",
    "optillm:majority-voting@apart",
    "optillm:bon",
    "optillm:bon@apart",
    "optillm:genselect",
)
UNKNOWN = {"its-hub:best-of-n": 0.5}
"""The score of a text without equations; 1 in the search over steps, whose first steps state none."""
APART = "@apart"
CLOSE = "</think>"
START = 120.0
"""Seconds that a server or a peer has to start."""
_COUNTERS = {
    "laconic:pass_tokens_total": "tokens",
    "vllm:e2e_request_latency_seconds_count": "replies",
    "laconic:requests_left_total": "left",
}
_BUSY = ("vllm:num_requests_running", "vllm:num_requests_waiting")


@dataclass
class Served:
    """A ``laconic serve`` under way."""

    url: str
    process: subprocess.Popen[bytes]

    def metrics(self) -> dict[str, float]:
        """All that /metrics tells, labels left out."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as reply:
            page = reply.read().decode()
        return {name: float(value) for name, value in re.findall(r"^([\w:]+)(?:\{[^}]*\})? (\S+)$", page, re.MULTILINE)}

    def counted(self) -> dict[str, float]:
        """What it has written so far. Waits until nothing runs: a client that goes away is noticed after a pass."""
        while True:
            told = self.metrics()
            if not any(told[name] for name in _BUSY):
                return {ours: told.get(theirs, 0.0) for theirs, ours in _COUNTERS.items()}
            time.sleep(0.01)


@dataclass
class Worker:
    """A peer's method in a process of its own."""

    process: subprocess.Popen[str]
    score: Callable[[str], float]
    versions: dict[str, str] = field(default_factory=dict)

    def say(self, said: dict[str, Any]) -> dict[str, Any]:
        """Tell it something, and do what it asks until it has answered."""
        while True:
            if said:
                assert self.process.stdin is not None
                self.process.stdin.write(json.dumps(said) + "\n")
                self.process.stdin.flush()
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("a peer has ended; its output says more: name a file for it with --log")
            told: dict[str, Any] = json.loads(line)
            if "judge" not in told:
                return told
            said = {"scores": [self.score(text) for text in told["judge"]]}


def main() -> int:
    """Answer, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="All rows by default.")
    parser.add_argument("--its-hub", type=Path, help="the Python of its-hub's environment")
    parser.add_argument("--optillm", type=Path, help="the Python of optillm's environment")
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=900)
    parser.add_argument("--score", choices=("all", "share"), default="all")
    parser.add_argument("--vllm-fields", action="store_true", help="have its-hub send what it sends to vLLM")
    parser.add_argument("--log", type=Path, help="where servers and peers write their own output")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else servers and peers would stay
    specs = [row for row in given.rows or [*OWN, *PEERS] if _python(given, row) is not None]
    items = draw(load(None), given.n, given.seed)
    rows: dict[str, list[dict[str, Any]]] = {spec: [] for spec in specs}
    with ExitStack() as stack:
        log = stack.enter_context((given.log or Path(os.devnull)).open("w", encoding="utf-8"))
        servers = {"": stack.enter_context(served(log, "none"))}
        if any(spec.endswith(APART) for spec in specs):
            servers[APART] = stack.enter_context(served(log, None))
        engine = stack.enter_context(RemoteEngine.load(f"{servers[''].url}/v1", "bundled", tokenizer="bundled"))
        workers = {
            spec: stack.enter_context(worker(given, spec, servers[_mode(spec)], log))
            for spec in specs
            if not spec.startswith("laconic:")
        }
        for turn, item in enumerate(items):
            for spec in rotation(specs, turn):
                server = servers[_mode(spec)]
                before, begun = server.counted(), time.perf_counter()
                told = _asked(workers[spec], engine, item) if spec in workers else _own(engine, spec, item, given)
                seconds, after = time.perf_counter() - begun, server.counted()
                used = {name: after[name] - before[name] for name in after}
                right = bool(item.judge(told.get("answer", "").rpartition(CLOSE)[2]))
                rows[spec].append({"item": item.id, "right": right, "seconds": seconds, **used, **told})
            if (turn + 1) % 10 == 0:
                sys.stderr.write(f"{turn + 1} of {len(items)} problems\n")
                _write(given, rows, workers)
        told = _write(given, rows, workers)
    sys.stdout.write(_table(told))
    return 0


def _python(given: argparse.Namespace, row: str) -> Path | None:
    pythons = {"its-hub": given.its_hub, "optillm": given.optillm, "laconic": Path(sys.executable)}
    found: Path | None = pythons[row.partition(":")[0]]
    return found


def _mode(spec: str) -> str:
    return APART if spec.endswith(APART) else ""


def _asked(peer: Worker, engine: RemoteEngine, item: Item) -> dict[str, Any]:
    tokens, _ = engine.text.ask([{"role": "user", "content": item.question}])
    return peer.say({"question": item.question, "prompt": engine.text.decode(tokens)})


def _own(engine: RemoteEngine, spec: str, item: Item, given: argparse.Namespace) -> dict[str, Any]:
    method = spec.partition(":")[2]
    scaling, n = ("self-consistency", 1) if method == "one" else (method, given.attempts)
    sampling, limits = Sampling(given.temperature, seed=given.seed), Limits(given.max_tokens)
    try:
        found = engine.answer(item.question, scaling=scaling, n=n, sampling=sampling, limits=limits)
    except (LaconicError, NotImplementedError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"answer": found.answer}


def score(text: str, unknown: float, share: bool) -> float:
    """What laconic's judge ``equations`` says of a text: of its steps one by one, as laconic shows them to it."""
    held = [holds for step in text.split(STEP) for holds in equations(step)]
    if not held:
        return unknown
    return sum(held) / len(held) if share else float(all(held))


@contextmanager
def worker(given: argparse.Namespace, spec: str, server: Served, log: IO[str]) -> Iterator[Worker]:
    """A peer's method for as long as it is wanted."""
    row = spec.removesuffix(APART)
    told = {"row": row, "url": f"{server.url}/v1", "model": "bundled", "n": given.attempts, "seed": given.seed}
    told |= {name: getattr(given, name) for name in ("temperature", "max_tokens", "vllm_fields")}
    script = Path(__file__).with_name("attempt_peers_worker.py")
    process = subprocess.Popen(
        [str(_python(given, row)), "-I", str(script), json.dumps(told)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
    )
    made = Worker(process, lambda text: score(text, UNKNOWN.get(row, 1.0), given.score == "share"))
    try:
        made.versions = made.say({})["versions"]
        yield made
    finally:
        _ended(process)


@contextmanager
def served(log: IO[str], format: str | None) -> Iterator[Served]:
    """``laconic serve`` on this machine alone, for as long as it is wanted; it ends no thoughts of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--model", "bundled", "--think", "none", "--threads", "1", "--port", str(port)]
    words += [] if format is None else ["--format", format]
    process = subprocess.Popen([sys.executable, "-m", "laconic", "serve", *words], stdout=log, stderr=log)
    try:
        end, url = time.monotonic() + START, f"http://127.0.0.1:{port}"
        while not _ready(url):
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the server did not start; its output says more: name a file for it with --log")
            time.sleep(0.2)
        yield Served(url, process)
    finally:
        _ended(process)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ready", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _ended(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write(
    given: argparse.Namespace, rows: dict[str, list[dict[str, Any]]], workers: dict[str, Worker]
) -> dict[str, Any]:
    told = {spec: _told(mine, rows.get(VOTE, [])) for spec, mine in rows.items() if mine}
    setup = {name: getattr(given, name) for name in ("n", "attempts", "temperature", "seed", "max_tokens", "score")}
    versions = {spec.partition(":")[0]: peer.versions for spec, peer in workers.items()}
    record = {"setup": setup, "versions": versions, "rows": told, "items": rows, "provenance": provenance(_command())}
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return told


def _command() -> str:
    """This command, without the paths of this machine."""
    return " ".join(["python", "scripts/attempt_peers.py", *(Path(w).name if "/" in w else w for w in sys.argv[1:])])


def _told(rows: list[dict[str, Any]], votes: list[dict[str, Any]]) -> dict[str, Any]:
    n, right = len(rows), sum(row["right"] for row in rows)
    told: dict[str, Any] = {"n": n, "accuracy": right / n, "accuracy_ci": list(wilson(right, n))}
    for name in ("tokens", "replies", "left", "seconds"):
        told[name] = sum(row[name] for row in rows) / n
    told["failed"] = sum("error" in row for row in rows)
    pairs = [(mine["tokens"], vote["tokens"]) for mine, vote in zip(rows, votes, strict=False)]
    if pairs:
        told["tokens_of_vote"] = sum(a for a, _ in pairs) / sum(b for _, b in pairs)
        told["tokens_of_vote_ci"] = bootstrap_ratio(pairs)
        told["won"] = sum(a["right"] and not b["right"] for a, b in zip(rows, votes, strict=False))
        told["lost"] = sum(b["right"] and not a["right"] for a, b in zip(rows, votes, strict=False))
    return told


def _table(told: dict[str, Any]) -> str:
    lines = [
        f"{'row':52s} {'right':>22s} {'tokens':>7s} {'of vote':>18s} {'replies':>7s} {'seconds':>7s} won lost failed"
    ]
    for spec, row in told.items():
        low, high = row["accuracy_ci"]
        of = row.get("tokens_of_vote_ci")
        least = f"{row['tokens_of_vote']:6.3f} ({of[0]:.2f}-{of[1]:.2f})" if of else ""
        lines.append(
            f"{spec:52s} {row['accuracy']:7.1%} ({low:5.1%}-{high:5.1%}) {row['tokens']:7.0f} {least:>18s} "
            f"{row['replies']:7.1f} {row['seconds']:7.2f} {row.get('won', 0):3d} {row.get('lost', 0):4d} "
            f"{row['failed']:6d}"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
