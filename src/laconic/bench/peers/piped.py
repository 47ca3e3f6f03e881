"""A peer in a process of its own, under its own Python, behind a pipe: its packages may contradict laconic's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from laconic.bench.measure import Run
from laconic.bench.peers.base import PeerUnavailable, one_at_a_time, result
from laconic.models.text import Text
from laconic.types import Request, Result


class PipedPeer:
    """An engine behind a pipe. Started when made, stopped by :meth:`close`, or with laconic's own process.

    ``python`` runs ``worker``, a file that imports nothing of laconic: it reads ``settings`` as its first line and
    answers with its version, then one request a line. Raises PeerUnavailable, with the engine's own words, if it does
    not start.
    """

    def __init__(
        self,
        name: str,
        python: Path,
        worker: Path,
        settings: Mapping[str, Any],
        text: Text,
        *,
        context: int,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.name = name
        self._text = text
        self._context = context
        self._log = (log or Path("/dev/null")).open("w")
        try:
            self._process = subprocess.Popen(
                [str(python), "-I", str(worker)],  # isolated: our folder must not come before its packages
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                bufsize=1,
                env=environment,
            )
        except OSError as error:
            self._log.close()
            raise PeerUnavailable(
                f"cannot start '{python}': {error.strerror}.", "scripts/install_*.py make such environments."
            ) from error
        try:
            self.version = str(self._ask(dict(settings))["version"])
        except BaseException:
            self.close()
            raise

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        """Answer one request after the other."""
        one_at_a_time(self.name, batch)
        return Run([self._answer(request) for request in requests])

    def close(self) -> None:
        """Stop the process: it ends with its input, or is killed. Safe to call more than once."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answer(self, request: Request) -> Result:
        sampling = request.sampling
        order: dict[str, Any] = {
            "prompt": list(request.prompt),
            "ends": sorted(self._text.eos),
            "max_tokens": min(request.limits.max_new_tokens, self._context - len(request.prompt)),
            "temperature": sampling.temperature,
            "repetition_penalty": sampling.repetition_penalty,
        }
        if not sampling.greedy:
            order |= {
                "top_k": sampling.top_k,
                "top_p": sampling.top_p,
                "min_p": sampling.min_p,
                "seed": sampling.seed,
            }
        said = self._ask(order)
        tokens = said["tokens"]
        return result(
            self._text,
            request,
            tokens,
            passes=len(tokens) - said["accepted"],
            drafted=said["drafted"],
            accepted=said["accepted"],
        )

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            raise PeerUnavailable(f"{self.name} ended with exit code {self._process.returncode}.", _HINT)
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise PeerUnavailable(f"{self.name}: {said['error']}", _HINT)
        return said


_HINT = "Its output says more: name a folder for it with --logs."
