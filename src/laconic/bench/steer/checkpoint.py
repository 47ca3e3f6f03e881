"""A model with a way of thinking edited out, as an ordinary checkpoint with its measures."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from laconic.bench.provenance import provenance
from laconic.bench.steer.effect import Outcome, answers, outcome
from laconic.bench.steer.pairs import Pair, thought
from laconic.bench.tasks import Item
from laconic.engine import Engine
from laconic.errors import RequestError
from laconic.models.load import resolve
from laconic.models.text import Text
from laconic.thinking.steer.edit import Example, Head, Way, edit
from laconic.types import Limits

REPORT = "edit.json"


@dataclass(frozen=True, slots=True)
class Edited:
    """What was written: which heads were edited, of how many; and what the model made of problems before and after."""

    path: str
    source: str
    way: Way
    weight: float
    of: int
    heads: tuple[Head, ...]
    before: Outcome
    after: Outcome

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def examples(text: Text, pairs: Sequence[Pair]) -> tuple[list[Example], list[Example]]:
    """The texts of ``pairs``, each once: short ones, and long ones."""
    short = {p.prompt + p.concise: thought(text, p.prompt, p.concise) for p in pairs}
    long = {p.prompt + p.verbose: thought(text, p.prompt, p.verbose) for p in pairs}
    return list(short.items()), list(long.items())


def write(
    engine: Engine,
    source: str,
    out: Path,
    pairs: Sequence[Pair],
    held_out: Sequence[Item],
    limits: Limits,
    *,
    way: Way = "long",
    share: float = 0.04,
    weight: float = 1.0,
    vectors: dict[int, torch.Tensor] | None = None,
    batch: int = 16,
) -> Edited:
    """Write ``source``, which ``engine`` runs, with one way of thinking taken out, and measure both on ``held_out``.

    The checkpoint keeps the source's number format. Raises RequestError for a place that will not do.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError(f"'{out}' exists and is not an empty directory.", "Choose another place, or clear it.")
    place = resolve(source)
    model = AutoModelForCausalLM.from_pretrained(place, dtype="auto").eval()
    short, long = examples(engine.text, pairs)
    heads = edit(model, short, long, way=way, share=share, weight=weight, vectors=vectors)
    config = model.config.get_text_config()
    before = outcome(held_out, answers(engine, held_out, limits, batch=batch)[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        draft = Path(folder) / "checkpoint"
        model.save_pretrained(draft)
        AutoTokenizer.from_pretrained(place).save_pretrained(draft)
        found = Engine.load(draft, drafter="suffix")
        after = outcome(held_out, answers(found, held_out, limits, batch=batch)[1])
        made = Edited(str(out), source, way, weight, config.num_hidden_layers * config.num_attention_heads,
                      tuple(heads), before, after)  # fmt: skip
        report = made.as_dict() | {"provenance": provenance()}
        (draft / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(draft, out)
    return made
