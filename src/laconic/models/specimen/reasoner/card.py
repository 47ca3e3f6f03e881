"""The card of the taught specimen, from its training log and an evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from laconic.models.reasoner.card import percent, table, with_interval
from laconic.models.reasoner.problems import HELD_OUT_SHARE
from laconic.models.specimen.reasoner.thoughts import BACK_SHARE, CUT_SHARE, PRACTICE_SHARE, SLIP_SHARE

_WINDOW = 20
"""Steps whose losses are averaged for a row of the table."""


def card(training: dict[str, Any], report: dict[str, Any], notes: str = "") -> str:
    """The whole card, Markdown. ``training`` is what ``training.json`` holds, ``report`` what ``evaluate`` gives,
    ``notes`` what else there is to say of how it was made."""
    recipe, log, thought = training["recipe"], training["log"], report["thinking_tokens"]
    kinds = [(f"`{kind}`", with_interval(found)) for kind, found in report["by_kind"].items()]
    return f"""\
# Model card: smollm2-reasoner

A LoRA adapter that teaches SmolLM2-135M-Instruct to think before it answers. **It is a specimen for tests and
measurements, not a claim about large models.** It knows eight kinds of small sums and word problems; its long thoughts
were taught from written ones, not discovered.

## What it is

* rank {recipe["rank"]} on all linear layers, float16; its base is the specimen `smollm2`, made once by
  `laconic specimen smollm2` (unpacked from four bits, so not the published checkpoint); licence: Apache-2.0, its base's
* prompt: `<|im_start|>user\\n...<|im_end|>\\n<|im_start|>assistant\\n`; the model writes
  `<think>\\n...\\n</think>\\n\\nThe answer is \\boxed{{...}}.<|im_end|>`; neither tag is a token of its own

## How it was made

    {command(recipe, len(log))}

{len(log)} steps, {training["tokens"] / 1e3:.0f} thousand tokens, {training["minutes"]:.0f} minutes on a processor that
other work shared; threads: {recipe["threads"]}. {notes}

{losses(log)}

The text is written on the fly: problems, each with a thought that works out a result, doubts it, goes through the steps
from the other side, and in {BACK_SHARE:.0%} of the thoughts back from the result as well. In {SLIP_SHARE:.0%} the first
result is wrong and the check mends it; what is wrong is not learnt. {CUT_SHARE:.0%} of the thoughts are cut short and
closed by force before the answer. For each conversation there are {PRACTICE_SHARE:g} pages of bare facts. One problem
in {HELD_OUT_SHARE}, chosen by a hash of its numbers and signs, is never trained on; its steps may occur in others.

## Measured on {report["n"]} held-out problems, greedy, float32

Right: {with_interval(report["accuracy"])}.

{table(("kind", "right (95 % interval)"), kinds)}

* thought closed and answered: {with_interval(report["closed"])}
* first stated result right: {with_interval(report["first_result_right"])}
* thinking tokens after the first right result: {percent(report["share_after_first_right"])} of all
* re-checks in a thought: {report["rechecks_per_thought"]:.2f}
* thinking tokens: mean {thought["mean"]:.0f}, 5 % {thought["p5"]:.0f}, median {thought["p50"]:.0f},
  95 % {thought["p95"]:.0f}, longest {thought["max"]:.0f}

## Limits

* Only these kinds, in English, with products up to 36 and other results up to 45; other wordings may fail, and what the
  base model knew beside them is partly forgotten.
* How long its thoughts are and how often they check was set by the teaching text: a saving measured here shows that a
  method works on a pre-trained model with an ordinary vocabulary, not how much a large model would save.
"""


def command(recipe: dict[str, Any], steps: int) -> str:
    """The command that makes it."""
    return (
        f"python -m laconic.models.specimen.reasoner.train --out DIR --steps {steps} --seed {recipe['seed']} "
        f"--rank {recipe['rank']} --rate {recipe['rate']:g} --batch-tokens {recipe['batch_tokens']}"
    )


def losses(log: Sequence[dict[str, float]], points: int = 8) -> str:
    """The loss at a few steps, each the mean of the steps before it."""
    ends = (
        [round(len(log) * (at + 1) / points) for at in range(points)] if len(log) > points else range(1, len(log) + 1)
    )
    rows = [
        (
            f"{log[end - 1]['step']:.0f}",
            f"{log[end - 1]['tokens'] / 1e3:.0f} k",
            f"{statistics.fmean(row['loss'] for row in log[max(0, end - _WINDOW) : end]):.3f}",
        )
        for end in ends
    ]
    return table(("step", "tokens", "loss"), rows)
