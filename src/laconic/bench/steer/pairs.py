"""Pairs of texts that say the same in few and in many words: a model's own, or given ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import TaskError
from laconic.models.text import Text
from laconic.transcript import Transcript
from laconic.types import Limits, Request, Result, Sampling

FORM = 'One pair a line: {"question": "...", "concise": "...", "verbose": "..."}, both as the model would write them.'


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts after one prompt, in tokens."""

    question: str
    prompt: tuple[int, ...]
    concise: tuple[int, ...]
    verbose: tuple[int, ...]


def own(
    engine: Engine,
    items: Sequence[Item],
    sampling: Sampling,
    limits: Limits,
    *,
    samples: int = 4,
    batch: int = 16,
    after: Callable[[int], Any] = lambda done: None,
) -> list[Pair]:
    """Efficiency Steering's pairs: of ``samples`` answers to a problem, the shortest right one and each longer one.

    Answers that were cut off are left out, and problems without a right one. The longer answers may be wrong: what is
    wanted is the model when it thinks long. ``after`` is told how many problems are done. Raises TaskError for
    problems that nobody can judge.
    """
    if any(item.grade is None for item in items):
        raise TaskError("the shortest right answer is looked for, and nobody can judge these.", "Give their answers.")
    limits = replace(limits, answer_room=0)  # the model's own texts, with nothing of the loop's
    pairs: list[Pair] = []
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        requests = [
            engine.request(item.question, sampling=replace(sampling, seed=sampling.seed + n), limits=limits)
            for item in part
            for n in range(samples)
        ]
        results = engine.using(think=()).run(requests, batch=batch)
        answers = list(zip(requests, results, strict=True))
        for at, item in enumerate(part):
            pairs += _pairs(item, answers[at * samples : (at + 1) * samples])
        after(start + len(part))
    return pairs


def _pairs(item: Item, answers: Sequence[tuple[Request, Result]]) -> list[Pair]:
    whole = [(request, result) for request, result in answers if result.finish_reason == "stop"]
    right = [result for _, result in whole if item.judge(result.answer)]
    if not right:
        return []
    shortest = min(right, key=lambda result: result.usage.thinking)
    return [
        Pair(item.question, request.prompt, shortest.tokens, result.tokens)
        for request, result in whole
        if result.usage.thinking > shortest.usage.thinking
    ]


def given(path: str | Path, text: Text) -> list[Pair]:
    """Pairs from a JSONL file, as ASC has them. Raises TaskError, naming the line, for what is not of the form."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TaskError(f"cannot read '{path}': {reason}.", FORM) from error
    return [_given(line, f"{path}, line {at}", text) for at, line in enumerate(lines, start=1) if line.strip()]


def _given(line: str, where: str, text: Text) -> Pair:
    try:
        entry = json.loads(line)
        question, concise, verbose = (entry[name] for name in ("question", "concise", "verbose"))
    except (ValueError, KeyError, TypeError) as error:
        raise TaskError(f"{where}: not a pair.", FORM) from error
    if not all(isinstance(part, str) and part.strip() for part in (question, concise, verbose)):
        raise TaskError(f"{where}: a part is no text, or empty.", FORM)
    return Pair(question, text.prompt(question), tuple(text.encode(concise)), tuple(text.encode(verbose)))


def write(path: Path, pairs: Sequence[Pair], text: Text) -> None:
    """Keep pairs in the form that ``given`` reads."""
    made = (
        {"question": pair.question, "concise": text.decode(pair.concise), "verbose": text.decode(pair.verbose)}
        for pair in pairs
    )
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in made), encoding="utf-8")


def thought(text: Text, prompt: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """Places in ``prompt + tokens`` that are the model's thought, tags included; all after the prompt if none are."""
    transcript = Transcript(text, Request(tuple(prompt)), list(prompt))
    for token in tokens:
        transcript.push(token)
    found = [len(prompt) + i for i, kind in enumerate(transcript.told()) if kind == "thinking"]
    return found or list(range(len(prompt), len(prompt) + len(tokens)))
