"""What a draft model would say along texts that a target wrote: enough to replay any chain of drafts, without models.

Greedy decoding is deterministic, so drafts are functions of the text. At every written position a recording holds the
draft model's probability of its favourite token, the entropy of its distribution, and whether the favourite is the
token that was written (a *hit*). Below a favourite that was not, it holds what the draft model would have gone on with,
its *stray*: a draft does not know where it will be refused, and a length policy judges what it sees there too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laconic.bench.replay.records import Problem
from laconic.errors import TaskError

FORMAT = 1
_HINT = "Make one with: laconic simulate --record FILE."


@dataclass(frozen=True, slots=True)
class Stray:
    """What is drafted below a refused token, one entry a token; ``ended`` says that an end token closed the draft.

    The end token is the last of the entries, or, where there are none, the refused token itself.
    """

    confidence: Sequence[float] = ()
    entropy: Sequence[float] = ()
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """One text: ``prompt`` tokens given, and at each written position what the draft model thought.

    ``limit`` is how many tokens the request might have written, ``stopped`` whether it ended in an end token before
    that. ``entropy`` is in nats. ``strays`` has an entry for each position that is no hit.
    """

    id: str
    prompt: int
    limit: int
    hits: Sequence[bool]
    confidence: Sequence[float]
    entropy: Sequence[float]
    strays: Mapping[int, Stray] = field(default_factory=dict)
    stopped: bool = True
    ties: Sequence[int] = ()
    """Positions where two tokens are as good as equally likely to the target, which costs the engine another pass."""

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True)
class Recording:
    """Texts in order, and where they come from. ``header`` names models, tasks and provenance."""

    scripts: tuple[Script, ...]
    header: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    """Lines that could not be used."""

    @property
    def written(self) -> int:
        """Tokens over all texts."""
        return sum(map(len, self.scripts))

    @property
    def hit_rate(self) -> float:
        """Share of the written tokens that were the draft model's favourite."""
        return sum(sum(script.hits) for script in self.scripts) / self.written


def lay(scripts: Sequence[Script], start: int, prompt: int, written: int, limit: int, name: str = "") -> Script:
    """A text of ``written`` tokens: those of ``scripts`` from index ``start`` on, end to end, round and round, and cut.

    A cut text ends as if its last token were an end token. Inside, end tokens are where one text follows another.
    """
    hits: list[bool] = []
    confidence: list[float] = []
    entropy: list[float] = []
    strays: dict[int, Stray] = {}
    ties: list[int] = []
    at = start
    while len(hits) < written:
        script = scripts[at % len(scripts)]
        base, room = len(hits), written - len(hits)
        hits += script.hits[:room]
        confidence += script.confidence[:room]
        entropy += script.entropy[:room]
        strays |= {base + t: stray for t, stray in script.strays.items() if t < room}
        ties += [base + t for t in script.ties if t < room]
        at += 1
    return Script(name or scripts[start % len(scripts)].id, prompt, limit, hits, confidence, entropy, strays, ties=ties)


def write(recording: Recording, path: Path) -> None:
    """One JSON object a line: the header, then a text each."""
    lines = [{"kind": "laconic recording", "format": FORMAT, **recording.header}]
    lines += [_packed(script) for script in recording.scripts]
    text = "\n".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: str | Path) -> Recording:
    """Read a recording. Lines that cannot be used are kept as ``problems``, and the rest goes on.

    Raises TaskError for a file that cannot be read, has no header of ours, or no usable text.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise TaskError(f"cannot read '{path}': {error.strerror}.", _HINT) from error
    try:
        header = json.loads(lines[0])
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("kind") != "laconic recording":
        raise TaskError(f"'{path}' is no recording of drafts.", _HINT)
    if header.get("format") != FORMAT:
        raise TaskError(f"'{path}' has format {header.get('format')}, not {FORMAT}.", "Record it anew.")
    scripts, problems = [], []
    for at, line in enumerate(lines[1:], start=2):
        if line.strip():
            try:
                scripts.append(_unpacked(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                problems.append(Problem(at, f"no text of a recording ({type(error).__name__}: {error})"))
    if not scripts:
        raise TaskError(f"'{path}' holds no usable text.", _HINT)
    return Recording(tuple(scripts), header, tuple(problems))


def _packed(script: Script) -> dict[str, Any]:
    return {
        "id": script.id,
        "prompt": script.prompt,
        "limit": script.limit,
        "stopped": script.stopped,
        "ties": list(script.ties),
        "hits": "".join("1" if hit else "0" for hit in script.hits),
        "confidence": _rounded(script.confidence),
        "entropy": _rounded(script.entropy),
        "strays": {
            str(t): [_rounded(stray.confidence), _rounded(stray.entropy), int(stray.ended)]
            for t, stray in script.strays.items()
        },
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _unpacked(entry: dict[str, Any]) -> Script:
    """Raises ValueError, KeyError or TypeError for an entry that is not whole."""
    hits = [mark == "1" for mark in entry["hits"]]
    strays = {int(t): Stray(_numbers(c), _numbers(h), bool(ended)) for t, (c, h, ended) in entry["strays"].items()}
    made = Script(
        str(entry["id"]), int(entry["prompt"]), int(entry["limit"]), hits,
        _numbers(entry["confidence"]), _numbers(entry["entropy"]), strays, bool(entry["stopped"]),
        [int(t) for t in entry["ties"]],
    )  # fmt: skip
    if not len(hits) == len(made.confidence) == len(made.entropy) or not hits:
        raise ValueError("its rows differ in length, or are empty")
    if made.prompt < 1 or made.limit < len(hits):
        raise ValueError("its prompt is empty, or it is longer than its own limit")
    if any(len(stray.confidence) != len(stray.entropy) for stray in strays.values()):
        raise ValueError("the rows of a stray differ in length")
    missing = [t for t, hit in enumerate(hits) if not hit and t not in strays]
    if missing:
        raise ValueError(f"no stray at position {missing[0]}")
    return made


def _numbers(values: Sequence[Any]) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError("a number makes no sense")
    return numbers
