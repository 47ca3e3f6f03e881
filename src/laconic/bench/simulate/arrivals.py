"""When requests come and how long they are: closed loops, Poisson processes, and recorded traces of real services.

Traces are read in two formats, told apart by their first line: the CSV of the Azure LLM inference traces
(``TIMESTAMP,ContextTokens,GeneratedTokens``) and the JSON lines of the Mooncake traces (``timestamp`` in milliseconds,
``input_length``, ``output_length``).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laconic.bench.replay.records import Problem
from laconic.errors import RequestError, TaskError

_FORMS = (
    "Formats: CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens (Azure), or JSON lines with timestamp, "
    "input_length, output_length (Mooncake); see docs/simulate.md."
)
_LOADS = "Give closed:1,2,4 (clients), poisson:0.5,1 (requests a second), or a trace file."


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace: seconds after the first, tokens given, tokens written."""

    at: float
    prompt: int
    written: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A file's requests in order of arrival, and the lines that could not be used."""

    path: str
    arrivals: tuple[Arrival, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """One point of load: ``clients`` that each wait for their answer, or ``rate`` requests a second, or a ``trace``.

    ``value`` is what a plot puts on its axis: clients, requests a second, or the factor by which a trace is sped up.
    """

    kind: str
    value: float
    trace: Trace | None = None

    @property
    def label(self) -> str:
        """In words, short."""
        return f"{self.kind} x{self.value:g}" if self.kind == "trace" else f"{self.kind}:{self.value:g}"

    @property
    def clients(self) -> int | None:
        """Clients of a closed loop; None for open arrivals."""
        return int(self.value) if self.kind == "closed" else None

    def times(self, n: int, seed: int) -> list[float]:
        """Arrival times of ``n`` requests, seconds; all 0 in a closed loop, whose clients ask when they are free."""
        if self.kind == "closed":
            return [0.0] * n
        if self.trace is not None:
            return [arrival.at / self.value for arrival in self.trace.arrivals[:n]]
        rng, now, times = random.Random(seed), 0.0, []
        for _ in range(n):
            now += rng.expovariate(self.value)
            times.append(now)
        return times


def loads(spec: str, speedup: tuple[float, ...] = (1.0,)) -> list[Load]:
    """What ``--arrivals`` says, point by point. Raises RequestError and TaskError."""
    if any(not (math.isfinite(factor) and factor > 0) for factor in speedup):
        raise RequestError("--speedup must be above 0.", "10 lets a trace's requests come ten times as fast.")
    kind, _, values = spec.partition(":")
    if kind == "closed":
        clients = _values(spec, values, lambda text: float(int(text)))
        return [Load("closed", value) for value in clients]
    if kind == "poisson":
        return [Load("poisson", value) for value in _values(spec, values, float)]
    if values and not Path(spec).exists() and "/" not in kind and "." not in kind:
        raise RequestError(f"no arrivals are called '{kind}'.", _LOADS)
    trace = read(spec)
    return [Load("trace", factor, trace) for factor in speedup]


def _values(spec: str, text: str, number: Callable[[str], float]) -> list[float]:
    try:
        values = [number(part) for part in text.split(",") if part.strip()]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        raise RequestError(f"'{spec}' names no load.", _LOADS)
    return list(dict.fromkeys(values))


def read(path: str | Path) -> Trace:
    """Read a trace; its first request comes at 0. Lines that cannot be used are named, and the rest goes on.

    Raises TaskError for a file that cannot be read, is empty, or has no usable line.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read '{path}': {error.strerror}.", _LOADS) from error
    lines = [(at, line.strip()) for at, line in enumerate(raw.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise TaskError(f"'{path}' is empty.", _FORMS)
    parse: Callable[[bytes], Arrival] = _mooncake
    if not lines[0][1].startswith(b"{"):
        parse = _azure(str(path), lines.pop(0)[1])
    arrivals: list[Arrival] = []
    problems: list[Problem] = []
    for at, line in lines:
        try:
            arrivals.append(parse(line))
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
            problems.append(Problem(at, _reason(error)))
    if not arrivals:
        first = f" Line {problems[0].line}: {problems[0].reason}." if problems else ""
        raise TaskError(f"'{path}' has no usable line.{first}", _FORMS)
    arrivals.sort(key=lambda arrival: arrival.at)
    begun = arrivals[0].at
    shifted = (Arrival(each.at - begun, each.prompt, each.written) for each in arrivals)
    return Trace(str(path), tuple(shifted), tuple(problems))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    return {"JSONDecodeError": "not JSON", "UnicodeDecodeError": "not UTF-8", "IndexError": "too few columns"}.get(
        type(error).__name__, str(error)
    )


def _mooncake(line: bytes) -> Arrival:
    entry: Any = json.loads(line.decode("utf-8"))
    if not isinstance(entry, dict):
        raise ValueError("not an object")
    return _arrival(float(entry["timestamp"]) / 1000, entry["input_length"], entry["output_length"])


def _azure(path: str, header: bytes) -> Callable[[bytes], Arrival]:
    names = [name.strip() for name in header.decode("utf-8", "replace").lstrip("\ufeff").split(",")]
    try:
        places = [names.index(name) for name in ("TIMESTAMP", "ContextTokens", "GeneratedTokens")]
    except ValueError:
        raise TaskError(f"'{path}' is of no known format.", _FORMS) from None

    def parse(line: bytes) -> Arrival:
        cells = line.decode("utf-8").split(",")
        when, prompt, written = (cells[place].strip() for place in places)
        time = datetime.fromisoformat(when)
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return _arrival(time.timestamp(), prompt, written)

    return parse


def _arrival(at: float, prompt: Any, written: Any) -> Arrival:
    made = Arrival(at, int(prompt), int(written))
    if not math.isfinite(at):
        raise ValueError("its time is no number")
    if made.prompt < 1 or made.written < 1:
        raise ValueError("it gives or writes no token")
    return made
