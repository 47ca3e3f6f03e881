"""vLLM in a process of its own, under its own Python: it needs other versions of much that laconic uses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from laconic.bench.measure import Run
from laconic.bench.peers import vllm_worker
from laconic.bench.peers.base import PeerUnavailable, one_at_a_time, result
from laconic.models.load import resolve
from laconic.models.text import Text
from laconic.types import Request, Result

SPECULATION: dict[str, dict[str, Any] | None] = {
    "vllm": None,
    "vllm-ngram": {"method": "ngram", "num_speculative_tokens": 8, "prompt_lookup_max": 4, "prompt_lookup_min": 1},
    "vllm-suffix": {"method": "suffix", "num_speculative_tokens": 16},
}
"""Peers by name, and what vLLM is told about speculation for each."""


class VLLM:
    """One vLLM engine. Started when made, stopped by :meth:`close`, or with laconic's own process.

    ``python`` is the interpreter of its environment. Raises PeerUnavailable, with vLLM's own words, if it does not
    start.
    """

    def __init__(
        self,
        name: str,
        python: str | Path,
        model: str,
        text: Text,
        *,
        context: int,
        threads: int,
        dtype: str = "float32",
        log: Path | None = None,
    ) -> None:
        self.name = name
        self._text = text
        self._context = context
        worker = Path(vllm_worker.__file__)
        self._log = (log or Path("/dev/null")).open("w")
        try:
            self._process = subprocess.Popen(
                [str(python), "-I", str(worker)],  # isolated: our folder must not come before its packages
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                bufsize=1,
                env=_as_advised(Path(python), threads),
            )
        except OSError as error:
            self._log.close()
            raise PeerUnavailable(
                f"cannot start '{python}': {error.strerror}.", "Make it with scripts/install_vllm.py."
            ) from error
        settings = {
            "model": str(Path(resolve(model)).absolute()) if Path(resolve(model)).exists() else model,
            "dtype": dtype,
            "context": context,
            "threads": threads,
            "speculative": SPECULATION[name],
        }
        try:
            self.version = str(self._ask(settings)["version"])
        except BaseException:
            self.close()
            raise

    def run(self, requests: Sequence[Request], batch: int) -> Run:
        """Answer one request after the other."""
        one_at_a_time("vLLM", batch)
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


def _as_advised(python: Path, threads: int) -> dict[str, str]:
    """The environment vLLM's guide asks for: Intel's OpenMP first, where it is installed, and the threads named."""
    environment = dict(os.environ) | {"OMP_NUM_THREADS": str(threads)}
    library = (python.parent.parent / "lib" / "libiomp5.so").absolute()
    if library.exists():
        environment["LD_PRELOAD"] = ":".join(filter(None, [str(library), environment.get("LD_PRELOAD")]))
    return environment


_HINT = "Its output says more: name a folder for it with --logs."
