"""Budgets, landings, loops and ends of text inside the thought under every way to draft: is each promise kept?

The bundled reasoner, and the same one with a row of its output head changed so that it ends its text inside thoughts
as often as it ends a step. A budget is broken where more thinking tokens stand before what closes the thought; an
answer is empty where the text ends in the thought or right behind it.

    .venv-vllm/bin/python scripts/in_vllm/kept.py --problems problems.jsonl --n 200 --json OUT
    VLLM_PLUGINS= .venv-vllm/bin/python scripts/in_vllm/kept.py --plain --problems problems.jsonl --n 200 --json OUT

``--plain`` is vLLM without laconic, with its own thinking budgets.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import engines
import torch

from laconic.models.load import load_text, resolve
from laconic.models.text import Text
from laconic.thinking.budget.budget import Budget

HANDS_OVER = load_text("bundled").encode(Budget(8).text)
"""What a budget writes where it ends a thought."""
KINDS = ("budget", "soft-landing", "loop-break", "answer", "vllm-budget")


def main() -> None:
    """Run the requests of one engine after the other, and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200, help="requests for each way to draft and temperature")
    parser.add_argument("--names", default="none,ngram,suffix,draft_model,laconic")
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    questions = [json.loads(line)["question"] for line in given.problems.read_text().splitlines()]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        stress(Path(folder))
        for name in given.names.split(","):
            for model in (resolve("bundled"), folder):
                rows += engines.alone(run, name, model, questions[: given.n // 2], plain=given.plain)
                print(json.dumps(rows[-2:]), flush=True)
                if given.json:
                    kept = json.loads(given.json.read_text()) if given.json.exists() else {}
                    given.json.write_text(json.dumps({**kept, "plain" if given.plain else "laconic": rows}, indent=1))


def stress(folder: Path) -> None:
    """The bundled model with an end token that is about as likely as the end of a step."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = resolve("bundled")
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(place)
    text = load_text("bundled")
    (step,) = text.encode("\n\n")
    head = model.get_output_embeddings().weight.detach().clone()
    noise = torch.randn(head.shape[1], generator=torch.Generator().manual_seed(0)) * head[step].std() * 0.1
    head[tokenizer.eos_token_id] = head[step] + noise
    model.config.tie_word_embeddings = False
    model.lm_head = torch.nn.Linear(head.shape[1], head.shape[0], bias=False)
    model.lm_head.weight.data = head
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run(name: str, model: str, questions: list[str], *, plain: bool) -> list[dict[str, Any]]:
    """Both temperatures under one engine."""
    text = load_text("bundled")
    engine = engines.offline(
        model, name, draft=resolve("bundled-draft"), reasoning_config={
            "reasoning_start_str": text.format.opens, "reasoning_end_str": text.format.closes,
        },
    )  # fmt: skip
    rows = []
    for temperature in (0.0, 0.7):
        dice = random.Random(f"{name} {temperature}")
        row: dict[str, Any] = {
            "drafts": name, "model": "bundled" if model == resolve("bundled") else "stress",
            "temperature": temperature, "requests": 0, "over_budget": 0, "no_answer": 0, "errors": 0, "thinking": 0,
        }  # fmt: skip
        at = size = 0
        while at < len(questions):
            size = size % 8 + 1
            batch = questions[at : at + size]
            at += len(batch)
            asked = [ask(dice, temperature, plain=plain) for _ in batch]
            outputs = engine.generate(
                [{"prompt_token_ids": list(text.prompt(question))} for question in batch],
                [params for params, _ in asked],
                use_tqdm=False,
            )
            for output, (_, budget) in zip(outputs, asked, strict=True):
                judge(row, text, output.outputs[0], budget, tag=0 if plain else 1)
        rows.append(row)
    counters = {metric.name: getattr(metric, "value", None) for metric in engine.get_metrics()}
    rows[-1]["drafted"] = counters.get("vllm:spec_decode_num_draft_tokens", 0)
    rows[-1]["accepted"] = counters.get("vllm:spec_decode_num_accepted_tokens", 0)
    del engine
    return rows


def ask(dice: random.Random, temperature: float, *, plain: bool) -> tuple[Any, int | None]:
    """Sampling parameters of a request, and the budget that it must keep."""
    from vllm import SamplingParams

    kind, budget = dice.choice(KINDS), dice.randint(8, 48)
    common: dict[str, Any] = {
        "temperature": temperature,
        "seed": dice.randrange(1 << 30) if temperature else None,
        "max_tokens": 112,
        "skip_special_tokens": False,
    }
    if plain or kind == "vllm-budget":
        return SamplingParams(**common, thinking_token_budget=budget), budget
    think = {
        "budget": f"budget:{budget}",
        "soft-landing": f"soft-landing:{budget}",
        "loop-break": "loop-break:every=64",
        "answer": "none",
    }[kind]
    budgeted = budget if kind in ("budget", "soft-landing") else None
    return SamplingParams(**common, extra_args={"laconic.think": think}), budgeted


def judge(row: dict[str, Any], text: Text, output: Any, budget: int | None, *, tag: int) -> None:
    """Count one reply. Blank lines and words that hand over to the answer are no part of the model's own thought.

    ``tag`` says how much the opening tag counts: nothing in vLLM's own budgets.
    """
    row["requests"] += 1
    row["errors"] += output.finish_reason == "error"
    tokens = [token for token in output.token_ids if token not in text.eos]
    close = text.close_token
    closed = tokens.index(close) if close in tokens else len(tokens)
    thought, answer = tokens[:closed], text.decode(tokens[closed + 1 :])
    for size in range(len(thought)):
        if thought[size : size + len(HANDS_OVER)] == HANDS_OVER:
            thought = thought[:size]
            break
    while thought and not text.piece(thought[-1]).strip():
        thought = thought[:-1]
    opened = text.open_token in thought[:1] and not tag
    row["thinking"] += len(thought)
    row["over_budget"] += budget is not None and len(thought) - opened > budget
    row["no_answer"] += not answer.strip()


if __name__ == "__main__":
    main()
