"""Boards with attempts that never ran."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.policy import registry
from laconic.scaling.base import Acts, Attempt, Board, Candidate, Look, Scaling
from laconic.thinking.base import Belief
from laconic.types import Result, Usage


def policy(spec: str) -> Scaling:
    """A scaling policy by its spec."""
    made = registry.build("scaling", spec)
    assert isinstance(made, Scaling)
    return made


def done(
    number: int, answer: str, *, thinking: int = 10, chances: Sequence[float] = (0.5,), reply: str = ""
) -> Attempt:
    """An attempt that has ended, as the ``number``-th."""
    tokens = tuple(ord(c) for c in f"{number} {answer}")
    result = Result("", "", reply or answer, tokens, "stop", Usage(thinking=thinking))
    return Attempt(
        number, "done", len(tokens), thinking, ended=number, answer=answer, chances=tuple(chances), result=result
    )


def running(number: int, *, thinking: int = 5) -> Attempt:
    """One that is being written."""
    return Attempt(number, tokens=thinking, thinking=thinking)


def look(answer: str, doubt: float, thinking: int = 10, *, complete: bool = True) -> Look:
    """What a probe found."""
    return Look(thinking, Belief(answer, (1 - doubt,), (0.0,), complete, 1), doubt)


SPECS = {
    "sfs": "sfs:judge=[equations]",
    "beam": "beam:judge=[equations]",
    "dvts": "dvts:judge=[equations]",
    "particles": "particles:judge=[equations]",
    "a-star": "a-star:judge=[equations]",
    "srm": "srm:judge=[equations],check=[likelihood]",
    "mcts": "mcts:judge=[equations],rollouts=6",
    "deepconf": "deepconf:top=0",
    "best-of-n": "best-of-n:judge=[equations]",
    "best-of-majority": "best-of-majority:judge=[equations]",
}
"""Of policies whose bare name is no spec, or needs more than boards have."""


KNOWN = {name: cast(type[Scaling], registry.get("scaling", name)) for name in registry.names("scaling")}
SEARCHES = [name for name, policy in KNOWN.items() if policy.walks]
"""Policies whose attempts walk step by step."""
VOTES = [name for name, policy in KNOWN.items() if not (policy.walks or policy.reads)]
"""Policies that start attempts, stop them and count."""


def board(*attempts: Attempt, most: int = 8) -> Board:
    """A board of these attempts, all of which a judge likes alike."""
    messages = ({"role": "user", "content": "What is 2+2?"},)
    return Board(messages, most, attempts=list(attempts), judged=lambda *_: 0.5, told=lambda *_: "")


def answers(*given: str, most: int = 8, **options: int) -> Board:
    """A board of attempts that have ended with these answers."""
    return board(*(done(at, answer, **options) for at, answer in enumerate(given)), most=most)  # type: ignore[arg-type]


def stands(spec: str, on: Board) -> list[Candidate]:
    """The candidates of a policy that begins with this board."""
    made = policy(spec)
    return made.candidates(made.start(on), on)


def does(spec: str, on: Board) -> Acts:
    """What a policy does that begins with this board."""
    made = policy(spec)
    return made.acts(made.start(on), on)
