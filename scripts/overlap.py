"""What drafting beside the target would bring on devices that are not here: in virtual time, along real texts.

    python scripts/overlap.py --json out.json --n 8
    python scripts/overlap.py --json out.json --target 30 --draft 2 --texts 4

The target writes plain texts about bundled problems; its draft model then really guesses at whatever a policy has it
guess at, and passes take the milliseconds that are given. What the target has in mind in the middle of its pass
(Mirror-SD) are the likeliest tokens that its output head finds in the output of a layer half-way down. Beside each
policy stands its formula, for drafts that are right as often as they were, wherever they stand: what is missing between
the two is that guesses come in runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from laconic import Engine
from laconic.bench.overlap import formulas
from laconic.bench.overlap.executor import Executor, Outcome
from laconic.bench.overlap.lanes import Virtual
from laconic.bench.overlap.oracles import Along, plain_text
from laconic.bench.overlap.policies import Mirror, Overlap, Pearl, Plain, Pool, Serial
from laconic.bench.provenance import provenance
from laconic.bench.tasks import draw, load
from laconic.cli.options import settle
from laconic.models.parts import last_norm, output_rows

EARLY = 0.5
"""Share of a pass after which the target tells what it has in mind, and of its layers."""


def main() -> None:
    """Write texts, run every policy along each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--draft-model", default="bundled-draft")
    parser.add_argument("--n", type=int, default=8, help="problems")
    parser.add_argument("--length", type=int, default=120, help="tokens of a text")
    parser.add_argument("--target", type=float, default=30.0, help="milliseconds of a target pass")
    parser.add_argument("--draft", type=float, default=3.0, help="milliseconds of a draft pass")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    settle(1, given.model)
    engine = Engine.load(given.model, draft=given.draft_model)
    assert engine.draft_model is not None
    prompts = [engine.request(item.question).prompt for item in draw(load(None), given.n, 1)]
    texts = [plain_text(engine.target, prompt, given.length) for prompt in prompts]
    readers = [Along(engine.draft_model, prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    for reader, prompt, text in zip(readers, prompts, texts, strict=True):
        reader.named = in_mind(engine.target, prompt, text)
    chance = hit_rate(readers, texts)
    rows = table(readers, texts, given.target, given.draft, chance)
    plain = rows["plain"]["ms"]
    print(f"{len(texts)} texts of {given.length} tokens; the draft model's favourite is right for {chance:.1%}")
    print(f"a target pass takes {given.target:g} ms, a draft pass {given.draft:g}\n")
    print(f"{'policy':34} {'ms a token':>10} {'times plain':>12} {'formula':>8} {'wasted':>7}")
    for name, row in rows.items():
        formula = f"{plain / row['formula']:.2f}" if row["formula"] else ""
        print(f"{name:34} {row['ms']:10.2f} {plain / row['ms']:12.2f} {formula:>8} {row['wasted']:7.0%}")
    given.json.write_text(
        json.dumps({"rows": rows, "chance": chance, "about": vars(given) | {"json": ""}, **provenance()}, indent=1)
    )


def table(
    readers: Sequence[Along], texts: Sequence[Sequence[int]], target: float, draft: float, chance: float
) -> dict[str, dict[str, Any]]:
    """Milliseconds a token of every policy, and what its formula says."""
    ratio = max(round(target / draft), 2)
    ways: dict[str, tuple[Overlap, dict[str, Any], float | None]] = {
        "plain": (Plain(), {}, formulas.plain(target)),
        **{
            f"serial, drafts of {k}": (Serial(k), {}, formulas.serial(chance, k, target, draft)) for k in (2, 4, ratio)
        },
        f"PEARL, drafts of {ratio}": (Pearl(ratio), {}, formulas.pearl(chance, ratio, target)),
        "SpecBranch, 2 branches": (Pearl(ratio, branches=2), {}, None),
        "SpecBranch, 4 branches": (Pearl(ratio, branches=4), {}, None),
        "Mirror-SD, 4 tokens half-way": (Mirror(ratio, 4), {"early": EARLY}, None),
        "DSI, 2 target workers": (Pool(-(-ratio // 2)), {"workers": {"check": 2}}, None),
        f"DSI, {ratio + 1} target workers": (
            Pool(), {"workers": {"check": ratio + 1}}, formulas.pool(chance, target, draft)
        ),
        "PipeInfer, 4 stages": (Pool(-(-ratio // 4)), {"stages": {"check": 4}}, None),
        "PipeInfer, 4 stages, not cancelled": (Pool(-(-ratio // 4)), {"stages": {"check": 4}, "drops": False}, None),
    }  # fmt: skip
    rows = {}
    for name, (policy, lanes, formula) in ways.items():
        made = [run(policy, reader, text, target, draft, lanes) for reader, text in zip(readers, texts, strict=True)]
        tokens, guessed = sum(one.tokens for one in made), sum(one.guessed for one in made)
        rows[name] = {
            "ms": sum(one.seconds for one in made) / tokens,
            "formula": formula,
            "checks": sum(one.checks for one in made),
            "drafts": sum(one.drafts for one in made),
            "wasted": sum(one.wasted for one in made) / max(guessed, 1),
            "target_busy": sum(one.busy["check"] for one in made) / sum(one.seconds for one in made),
        }
    return rows


def run(
    policy: Overlap, reader: Along, text: Sequence[int], target: float, draft: float, lanes: dict[str, Any]
) -> Outcome:
    """One text under a policy. Raises AssertionError if it is not the target's."""
    outcome = Executor(policy, Virtual({"check": target, "draft": draft}, reader.work, **lanes), [len(text)]).run()
    assert outcome.texts == (tuple(text),)
    return outcome


def hit_rate(readers: Sequence[Along], texts: Sequence[Sequence[int]]) -> float:
    """How often the draft model's favourite is the target's next token."""
    right = 0
    for reader, text in zip(readers, texts, strict=True):
        right += sum(reader.guesses(tuple(text[:at]))[0][0] == text[at] for at in range(len(text)))
    return right / sum(map(len, texts))


@torch.inference_mode()
def in_mind(target: Any, prompt: Sequence[int], text: Sequence[int], width: int = 4) -> dict[int, list[int]]:
    """By place in the text, the tokens that the target's head finds likeliest in the output of a layer half-way."""
    layer = int(target.num_layers * EARLY) - 1
    states = target.residuals([*prompt, *text], [layer])[layer][len(prompt) - 1 : -1]
    norm: Callable[[torch.Tensor], torch.Tensor] = last_norm(target)
    rows = output_rows(target, torch.arange(target.vocab_size))
    top = (norm(states) @ rows.T).topk(width).indices
    return dict(enumerate(top.tolist()))


if __name__ == "__main__":
    main()
