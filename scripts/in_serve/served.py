"""A ``laconic serve`` in a process of its own, and what scripts ask about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

KEYS = ("key-of-ann", "key-of-bob", "key-of-eve")


@dataclass
class Served:
    """A server that runs; ``url`` without a path."""

    url: str
    process: subprocess.Popen[str]
    log: IO[str]

    @property
    def resident(self) -> int:
        """Bytes of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def status(self) -> dict[str, Any]:
        """What the server says of itself."""
        reply = httpx.get(f"{self.url}/v1/laconic/status", headers=bearer(KEYS[0]), timeout=60)
        reply.raise_for_status()
        return dict(reply.json())

    def lines(self, level: str) -> list[str]:
        """What it has logged at this level."""
        self.log.flush()
        return [line for line in Path(self.log.name).read_text().splitlines() if f'"level": "{level}"' in line]

    def idle(self, seconds: float = 60.0) -> bool:
        """Wait until nothing is under way; whether that came about."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            load = self.status()["load"]
            if not load["running"] and not load["waiting"]:
                return True
            time.sleep(0.2)
        return False


@contextmanager
def serving(*options: str, keys: Sequence[str] = KEYS) -> Iterator[Served]:
    """Start ``laconic serve`` with these options on a free port; end it with SIGTERM."""
    said = {"LACONIC_SERVE_KEYS": ",".join(keys), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "laconic", "serve", "--port", "0", *options]
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **said}
        )  # fmt: skip
        try:
            assert process.stdout is not None
            ready = next((line for line in process.stdout if line.startswith("ready: ")), None)
            if ready is None:
                raise SystemExit(f"the server has not started:\n{Path(log.name).read_text()}")
            yield Served(ready.split()[1].removesuffix("/v1"), process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"authorization": f"Bearer {key}"}
