"""Measure the taught specimen on problems kept from training, and write its card.

python -m laconic.models.specimen.reasoner.evaluate --model smollm2-reasoner --n 104 --json evaluation.json
python -m laconic.models.specimen.reasoner.evaluate --model DIR/adapter --training DIR --n 104 --card MODEL_CARD.md
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laconic.answers import extract
from laconic.equality import same
from laconic.models.reasoner.evaluate import quantiles, share
from laconic.models.reasoner.habits import rechecks, share_after_first_right, stated_results
from laconic.models.specimen.reasoner.problems import Problem, held_out

if TYPE_CHECKING:
    from laconic.engine import Engine

_LIMIT = 320
"""Tokens of a reply at most; the longest that is taught has about 200."""


def evaluate(engine: Engine, problems: Sequence[Problem], *, batch: int = 16) -> dict[str, Any]:
    """Accuracy and habits over problems, by kind and in all; greedy."""
    from laconic.types import Limits

    results = engine.generate_many([problem.question for problem in problems], batch=batch, limits=Limits(_LIMIT))
    rows: list[dict[str, Any]] = []
    for problem, result in zip(problems, results, strict=True):
        thought, answer = result.thinking, str(problem.answer)
        stated = stated_results(thought)
        rows.append(
            {
                "kind": problem.kind,
                "right": same(answer, extract(result.answer)),
                "closed": bool(result.answer),
                "first_right": bool(stated) and stated[0].value == problem.answer,
                "tokens": result.usage.thinking,
                "after": share_after_first_right(thought, problem.answer, lambda text: len(engine.text.encode(text))),
                "rechecks": len(rechecks(thought)),
                "question": problem.question,
                "text": result.text,
            }
        )
    return {**summary(rows), "rows": rows}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all rows say. The share after the first right result is of all thinking tokens; a thought without one has
    none after it."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row["right"])
    thinking = sum(row["tokens"] for row in rows)
    return {
        "n": len(rows),
        "accuracy": share([row["right"] for row in rows]),
        "by_kind": {kind: share(values) for kind, values in kinds.items()},
        "closed": share([row["closed"] for row in rows]),
        "first_result_right": share([row["first_right"] for row in rows]),
        "share_after_first_right": sum(row["after"] * row["tokens"] for row in rows) / max(1, thinking),
        "share_after_in_right_thoughts": _mean([row["after"] for row in rows if row["right"]]),
        "rechecks_per_thought": _mean([float(row["rechecks"]) for row in rows]),
        "thinking_tokens": quantiles([row["tokens"] for row in rows]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def main() -> None:
    """The command line."""
    from laconic.engine import Engine
    from laconic.models.specimen.reasoner.card import card

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-reasoner")
    parser.add_argument("--n", type=int, default=104)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path, help="where the record goes, every reply in it")
    parser.add_argument("--training", type=Path, help="the folder that `train` left, for the card")
    parser.add_argument("--card", type=Path, help="where the card goes")
    parser.add_argument("--notes", default="", help="what else the card says of how it was made")
    given = parser.parse_args()
    if given.card and not given.training:
        parser.error("--card needs --training")
    engine = Engine.load(given.model, drafter="none", length="constant", think=())
    report = evaluate(engine, held_out(given.n, given.seed), batch=given.batch)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given.card:
        training = json.loads((given.training / "training.json").read_text(encoding="utf-8"))
        given.card.write_text(card(training, report, given.notes), encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "rows"}, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
