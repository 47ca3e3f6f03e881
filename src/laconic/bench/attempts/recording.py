"""Writing all attempts at a question to their ends, with what a probe finds at every step of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import TaskError
from laconic.policy import Card, Needs, knobs
from laconic.scaling.answering import Answering, sampled
from laconic.scaling.base import Acts, Attempt, Board, Candidate, Growth, Scaling
from laconic.scaling.groups import grouped
from laconic.types import Limits, Sampling


@dataclass(frozen=True, slots=True)
class Glance:
    """What a probe found after so many ``tokens`` of an attempt, ``thinking`` of them the model's own thought."""

    tokens: int
    thinking: int
    answer: str
    complete: bool
    probs: tuple[float, ...]
    doubt: float
    promise: float


@dataclass(frozen=True, slots=True)
class Written:
    """An attempt as it was written to its end. ``closing`` are the tokens behind its thought."""

    tokens: tuple[int, ...]
    thinking: int
    closing: int
    reply: str
    answer: str
    finish: str
    chances: tuple[float, ...]
    glances: tuple[Glance, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """A question with all its attempts. ``passes`` and ``seconds`` are those of writing them side by side."""

    id: str
    question: str
    right: str
    attempts: tuple[Written, ...]
    passes: int
    seconds: float


@knobs
class _Recorder(Scaling):
    """All attempts to their ends, probed on the way, none concluded."""

    card = Card(paper="laconic's own", lossless=True)
    needs = Needs(chances=True)
    probes = True

    def acts(self, state: Any, board: Board) -> Acts:
        """All at once."""
        return Acts(start=board.left)

    def concludes(self, state: Any, board: Board, attempt: Attempt, growth: Growth) -> str | None:
        """Never; the promise is noted."""
        look = attempt.looks[-1]
        state.setdefault(attempt.number, []).append((look, growth.promise))
        return None

    def start(self, board: Board) -> dict[int, list[Any]]:
        """Looks by attempt."""
        return {}

    def candidates(self, state: Any, board: Board) -> list[Candidate]:
        """A plain vote."""
        return grouped((a, a.answer, 1.0) for a in board.done)


def record(engine: Engine, item: Item, n: int, sampling: Sampling, limits: Limits) -> Recording:
    """Write ``n`` attempts at a problem. Their seeds are those that every scaling policy gives its attempts."""
    policy = _Recorder()
    request = engine.request(item.question, sampling=sampling, limits=limits)
    answering = Answering(engine, sampled(request, sampling, several=n > 1), policy, n)
    for _ in answering:
        pass
    found = answering.result
    attempts = []
    for attempt in answering.board.attempts:
        result = attempt.result
        assert result is not None
        glances = tuple(
            Glance(
                look.tokens, look.thinking, look.belief.answer,
                look.belief.complete, tuple(look.belief.probs), look.doubt, promise,
            )
            for look, promise in (answering._state or {}).get(attempt.number, ())
        )  # fmt: skip
        attempts.append(
            Written(
                result.tokens, result.usage.thinking, len(result.tokens) - result.thought, result.answer,
                attempt.answer, result.finish_reason, tuple(attempt.chances), glances,
            )
        )  # fmt: skip
    return Recording(item.id, item.question, item.answer, tuple(attempts), found.passes, found.seconds)


def save(path: Path, recordings: Iterable[Recording]) -> None:
    """Add recordings to a file, one a line."""
    with path.open("a", encoding="utf-8") as file:
        for each in recordings:
            file.write(json.dumps(asdict(each), ensure_ascii=False) + "\n")


def load(path: Path) -> Iterator[Recording]:
    """Read them back. Raises TaskError for a line that is none."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            raw = json.loads(line)
            attempts = tuple(
                Written(
                    **{
                        **each,
                        "tokens": tuple(each["tokens"]),
                        "chances": tuple(each["chances"]),
                        "glances": tuple(Glance(**{**g, "probs": tuple(g["probs"])}) for g in each["glances"]),
                    }
                )
                for each in raw.pop("attempts")
            )
            yield Recording(attempts=attempts, **raw)
        except (ValueError, TypeError, KeyError) as error:
            raise TaskError(f"{path.name}, line {number} is no recording: {error}.", "Record anew.") from None
