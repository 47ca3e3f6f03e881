"""Data sets of reasoning-gym: problems, the same for every number asked for, and verifiers, not trusted blindly."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from laconic.answers import stated
from laconic.equality import same
from laconic.errors import TaskError

_PART = 500
"""Problems of one data set object. Some data sets draw all their problems at once, so that its size changes them."""
_FULL_SCORE = 0.99
"""Verifiers give parts of a point for answers in the wrong form."""
_JUNK = ("nan", "?", "inf", "banana")
"""Right for no problem."""
_FENCED = re.compile(r"```[^\n]*\n(.*?)\n?```", re.DOTALL)
_ANSWER_IS = re.compile(r"answer\s*(?:is|:|=)\s*:?", re.IGNORECASE)


def entries(dataset: str, n: int, seed: int) -> Iterator[tuple[dict[str, Any], Callable[[str], bool]]]:
    """Up to ``n`` different problems of a data set and who judges an answer to each; the first ones never change.

    A judge whose verifier takes junk for right is replaced by a comparison with the data set's answer, and a warning
    names the data set. Raises TaskError for a data set that cannot be made in its default settings.
    """
    seen: set[str] = set()
    unsafe: dict[str, None] = {}
    for entry, data in _all(dataset, 4 * n, seed):
        if entry["question"] in seen:
            continue
        seen.add(entry["question"])
        judge = _judge(dataset, data, entry)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            passed = [junk for junk in _JUNK if judge(junk)]
        unsafe |= dict.fromkeys(passed)
        yield entry, _compared(entry) if passed else judge
        if len(seen) == n:
            break
    if unsafe:
        warnings.warn(
            f"gym:{dataset}: its verifier takes {', '.join(map(repr, unsafe))} for right; answers to such problems are "
            "compared with the data set's own instead.",
            stacklevel=3,
        )


def block(text: str) -> str:
    """A final answer of several lines: what is boxed, else the last fenced block, else all that follows the last
    "answer is", else the last paragraph."""
    if boxed := stated(text) if "\\boxed{" in text else "":
        return boxed
    if fenced := _FENCED.findall(text):
        return str(fenced[-1])
    said = list(_ANSWER_IS.finditer(text))
    rest = text[said[-1].end() :].strip("\n") if said else ""
    return rest if rest.strip() else re.split(r"\n\n+", text.strip("\n"))[-1]


def _all(dataset: str, most: int, seed: int) -> Iterator[tuple[dict[str, Any], Any]]:
    import reasoning_gym

    for part in range(-(-most // _PART)):
        try:
            data = reasoning_gym.create_dataset(dataset, size=_PART, seed=seed + part * 1_000_003)
        except (AssertionError, TypeError, ValueError) as error:
            raise TaskError(
                f"reasoning-gym cannot make '{dataset}' in its default settings: {error}.", "Name another data set."
            ) from error
        for at in range(min(_PART, most - part * _PART)):
            yield _entry(data, at, f"{seed}/{part}/{at}"), data


def _entry(data: Any, at: int, seed: str) -> dict[str, Any]:
    """One problem. A few data sets draw from the one generator that all of Python shares, whatever their seed."""
    state = random.getstate()
    random.seed(seed)
    try:
        return dict(data[at])
    finally:
        random.setstate(state)


def _judge(dataset: str, data: Any, entry: dict[str, Any]) -> Callable[[str], bool]:
    def judge(given: str) -> bool:
        try:
            return float(data.score_answer(given, entry)) > _FULL_SCORE
        except Exception as error:
            warnings.warn(
                f"gym:{dataset}: its verifier fails on {given[:60]!r} ({type(error).__name__}); counted as wrong.",
                stacklevel=2,
            )
            return False

    return judge


def _compared(entry: dict[str, Any]) -> Callable[[str], bool]:
    return lambda given: same(str(entry["answer"]), given)
