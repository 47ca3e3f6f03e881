"""The model card of the pair, written beside the weights from the training log and an evaluation.

python -m laconic.models.reasoner.card --dir DIR --evaluation FILE
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import target_path
from .corpus import CLOSE, CUT_SHARE, DRILL_SHARE, TIME_IS_UP
from .problems import HELD_OUT_SHARE, KINDS
from .rollout import PROBE

HEAD = """\
# Model card: the bundled reasoner

A tiny reasoning model and its draft, trained from nothing by `laconic.models.reasoner.train`. **It is a specimen for
tests, demos and measurements, not a claim about large models.** It knows seven kinds of arithmetic puzzles and nothing
else; outside of them it writes confident nonsense. Its long thoughts were taught from written traces, not discovered.
"""

LIMITS = """\
## Limits

* Only the task kinds above, in English, in the ranges above: larger numbers or other wordings fail.
* How long the thoughts are, how often they check and how sure the model is were set by the training text. Savings
  measured on it show that a method works as built; they say nothing about how much a large model would save.
* Its confidence after a forced close was trained, on thoughts cut short. How far it can be trusted is the gap between
  right and wrong first results above; where that is small, so is what an exit by confidence can know.
"""


def percent(value: float) -> str:
    """0.934 -> '93.4 %'."""
    return f"{100 * value:.1f} %"


def with_interval(share: dict[str, Any]) -> str:
    """A share with its confidence interval and count."""
    return f"{percent(share['share'])} ({percent(share['low'])} to {percent(share['high'])}, n = {share['n']})"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def accuracy_table(report: dict[str, Any]) -> str:
    """Accuracy by task kind and difficulty."""
    rows = []
    for kind, total in report["by_kind"].items():
        levels = [report["by_difficulty"].get(f"{kind} {level}") for level in (1, 2, 3)]
        cells = [f"{percent(cell['share'])} of {cell['n']}" if cell else "-" for cell in levels]
        rows.append((f"`{kind}`", with_interval(total), *cells))
    return table(("kind", "accuracy (95 % interval)", "easy", "middle", "hard"), rows)


def loss_table(log: list[dict[str, float]], points: int = 12) -> str:
    """The loss curve at a few steps, with bars."""
    chosen = [log[round(at * (len(log) - 1) / (points - 1))] for at in range(points)] if len(log) > points else log
    rows = [
        (
            f"{row['step']:.0f}", f"{row['minutes']:.0f}", f"{row['tokens'] / 1e6:.1f} M", f"{row['loss']:.3f}",
            f"{row['draft_loss']:.3f}", "#" * max(1, round(40 * min(1.0, row["loss"]))),
        )
        for row in chosen
    ]  # fmt: skip
    return table(("step", "minutes", "tokens", "target loss", "draft loss", "target loss, 40 marks = 1"), rows)


def write_card(folder: Path, report: dict[str, Any], notes: str = "") -> Path:
    """Write `MODEL_CARD.md` into the folder that holds `target/`, `draft/` and `training.json`."""
    training = json.loads((folder / "training.json").read_text())
    log, recipe = training["log"], training["recipe"]
    sizes = {name: parameters(folder / name) for name in ("target", "draft")}
    megabytes = sum(file.stat().st_size for name in sizes for file in (folder / name).iterdir()) / 1e6
    thought, belief, sure = report["thinking_tokens"], report["belief_at_first_result"], report["exit_when_sure"]
    exits = [
        (level, percent(row["accuracy"]), f"{100 * row['accuracy_change']:+.1f} points", percent(row["thinking_saved"]))
        for level, row in sure.items()
    ]
    configs = "\n".join(f"* `{name}`: {_settings(kind.config)}" for name, kind in KINDS.items())
    draft = report.get("draft", {})
    command = (
        f"python -m laconic.models.reasoner.train --out DIR --minutes {recipe['minutes']:g} --seed {recipe['seed']}"
    )
    made = training.get("how", f"`{command}`")
    text = f"""{HEAD}
## What it is

* target: {sizes["target"] / 1e6:.2f} M parameters; draft: {sizes["draft"] / 1e6:.2f} M parameters; Qwen3 architecture,
  float32, one tokenizer; {megabytes:.1f} MB together
* prompt: `<|im_start|>user\\n...<|im_end|>\\n<|im_start|>assistant\\n`; the model writes
  `<think>\\n...\\n</think>\\n\\nThe answer is \\boxed{{...}}.<|im_end|>`
* to close a thought by force: {_code(CLOSE)} or {_code(TIME_IS_UP)}; to ask for its belief: the first of these,
  followed by {_code(PROBE)}

## How it was made

{made}

{log[-1]["step"]:.0f} steps, {log[-1]["tokens"] / 1e6:.1f} M tokens, {log[-1]["minutes"]:.0f} minutes on two CPU
cores. {notes}

{loss_table(log)}

The data are written on the fly: problems of `reasoning-gym`, each with a thought that tries a quick route, states a
result, doubts it and checks it by other routes. The quick route sometimes slips, more often on hard problems, and a
check finds and mends it; the slip itself is not learnt. In {CUT_SHARE:.0%} of the conversations the thought is cut at
a random step and closed by force before the true answer, which teaches an honest belief. {DRILL_SHARE:.0%} of the
examples are pages of bare facts instead, for practice: sums, divisors, and whether two results agree. One question in
{HELD_OUT_SHARE}, chosen by a hash of its content, is never trained on.

{configs}

## Measured on {report["n"]} held-out problems, greedy

Overall accuracy: {with_interval(report["accuracy"])}.

{accuracy_table(report)}

* thinking tokens: mean {thought["mean"]:.0f}, 5 % {thought["p5"]:.0f}, median {thought["p50"]:.0f},
  95 % {thought["p95"]:.0f}, longest {thought["max"]:.0f}
* tokens after the first right result: {percent(report["share_after_first_right"])}
* first stated result right: {with_interval(report["first_result_right"])}
* forced to answer at the first stated result: {with_interval(report["forced_at_first_result"])}
* re-checks that go by another route: {with_interval(report["rechecks_by_another_route"])}
* belief at the first result: {_belief(belief)}
* draft: {percent(draft.get("token_agreement", 0.0))} of its greedy tokens agree;
  {draft.get("accepted_of_8", 0.0):.2f} of 8 drafted tokens accepted;
  alone it answers {with_interval(report["draft_alone"]) if "draft_alone" in report else "(not measured)"}

Ending a thought at the first step after which the belief is above a level:

{table(("level", "accuracy", "change", "thinking saved"), exits)}

{LIMITS}"""
    path = folder / "MODEL_CARD.md"
    path.write_text(text)
    return path


def parameters(folder: Path) -> int:
    """The number of parameters in a checkpoint."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        total += size
    return total


def _settings(config: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items())


def _code(text: str) -> str:
    shown = text.replace("\n", "\\n")
    return f"`{shown}`"


def _belief(belief: dict[str, Any]) -> str:
    parts = [
        f"{name} {belief[key]['mean']:.3f} on average"
        for name, key in (("right", "right"), ("right and easy", "right_and_easy"), ("wrong", "wrong"))
        if belief[key]
    ]
    return "; ".join(parts) + (f"; AUC {belief['auc']:.3f}" if belief["auc"] is not None else "")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=target_path().parent)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--notes", default="", help="a sentence on how this run differed from the recipe")
    given = parser.parse_args()
    print(write_card(given.dir, json.loads(given.evaluation.read_text()), given.notes))  # noqa: T201


if __name__ == "__main__":
    main()
