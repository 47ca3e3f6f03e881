"""Control under tensor parallel: two ranks of one engine must decide alike, greedy and sampled, with drafts.

    .venv-vllm/bin/python scripts/in_vllm/ranks.py --model PADDED --problems problems.jsonl --n 24

PADDED has a number of heads that two ranks can share (``laconic pad bundled PADDED --parameters 0.1B``). Ranks that
decided differently would accept different tokens, and what they write would break off or turn to noise.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import engines
import kept

from laconic.models.load import load_text


def main() -> None:
    """Budgets and landings in batches of eight, with laconic's proposer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    text, dice = load_text(given.model), random.Random(0)
    questions = [json.loads(line)["question"] for line in given.problems.read_text().splitlines()][: given.n]
    reasoning = {"reasoning_start_str": text.format.opens, "reasoning_end_str": text.format.closes}
    engine = engines.offline(given.model, "laconic", tensor_parallel_size=2, reasoning_config=reasoning)
    rows = []
    for temperature in (0.0, 0.7):
        row: dict[str, Any] = dict.fromkeys(("requests", "over_budget", "no_answer", "errors", "thinking"), 0)
        asked = [kept.ask(dice, temperature, plain=False) for _ in questions]
        prompts = [{"prompt_token_ids": list(text.prompt(question))} for question in questions]
        outputs = engine.generate(prompts, [params for params, _ in asked], use_tqdm=False)
        for output, (_, budget) in zip(outputs, asked, strict=True):
            kept.judge(row, text, output.outputs[0], budget, tag=1)
        rows.append({"ranks": 2, "temperature": temperature, **row})
        print(json.dumps(rows[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
