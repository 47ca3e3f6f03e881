"""Servers as processes for the scripts beside this one: started, waited for, paused while others run, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Process:
    """A server in a process group of its own. ``url`` is where it answers once ``path`` does."""

    def __init__(
        self, command: Sequence[str], port: int, path: str = "/health", *, log: Path, wait: float = 300.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.url = f"http://127.0.0.1:{port}"
        self._log = log.open("wb")
        given = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=given, start_new_session=True
        )
        until = time.monotonic() + wait
        while True:
            try:
                if httpx.get(self.url + path, timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if self._process.poll() is not None or time.monotonic() > until:
                self.close()
                raise RuntimeError(f"the server did not start; see {log}")
            time.sleep(0.05)
        self.seconds = time.perf_counter() - begun
        """What it took to be ready."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def pause(self) -> None:
        """Let it use no processor for a while: some servers poll where they have nothing to do."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """The end of a pause."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def close(self) -> int:
        """End it politely, else by force; its exit status."""
        if self._process.poll() is None:
            self.go_on()
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._log.close()
        return int(self._process.returncode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def laconic(arguments: Sequence[str], *, log: Path, python: str = sys.executable) -> Process:
    """``laconic serve`` with these arguments."""
    port = free_port()
    return Process([python, "-m", "laconic", "serve", "--port", str(port), *arguments], port, "/ready", log=log)


def vllm(python: str, model: str, arguments: Sequence[str], *, log: Path) -> Process:
    """vLLM's own server, without laconic: its plug-ins are left out."""
    port = free_port()
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--port", str(port)]
    environment = {
        "VLLM_PLUGINS": "", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    return Process([*command, *arguments], port, log=log, environment=environment)
