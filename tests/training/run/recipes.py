"""Recipes over the tiny checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from laconic.training.run.recipe import Recipe, of

REWARD = "cosine"
"""Tells wrong rollouts apart by their length, so that a random model, which is never right, learns something."""


def said(checkpoint: Path, questions: Path, **changes: Any) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "model": str(checkpoint),
        "problems": str(questions),
        "reward": REWARD,
        "threads": 1,
        "save": 2,
        "rollouts": {"prompts": 2, "generations": 4, "max_tokens": 24, "batch": 4},
        "update": {"steps": 4, "rate": 1e-2, "rows": 4},
        "evaluation": {"n": 3, "every": 2},
    }
    if "sft" in changes or "dpo" in changes:
        tables.pop("reward")
        tables.pop("update")
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(tables.get(name), dict):
            tables[name] = tables[name] | value
        else:
            tables[name] = value
    return tables


def recipe(checkpoint: Path, questions: Path, **changes: Any) -> Recipe:
    return of(said(checkpoint, questions, **changes))
