"""What laconic's proposer leaves as it is: greedy texts, and the law of sampled ones.

    .venv-vllm/bin/python scripts/in_vllm/same.py greedy --model FOLDER --questions gsm8k.jsonl --n 200 --json OUT
    .venv-vllm/bin/python scripts/in_vllm/same.py sampled --model bundled --n 4000 --json OUT

``sampled`` draws short continuations of a repetitive text, n with and n without drafts, and compares how often each
came (G test).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import engines

from laconic.models.load import load_text, resolve
from laconic.vllm.proposer import Proposer


def main() -> None:
    """Measure one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["greedy", "sampled"])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--names", default="none,laconic")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    row = greedy(given) if given.what == "greedy" else sampled(given)
    print(json.dumps(row))
    if given.json:
        kept = json.loads(given.json.read_text()) if given.json.exists() else {}
        given.json.write_text(json.dumps({**kept, f"{given.what} {row['model']}": row}, indent=1) + "\n")


def greedy(given: argparse.Namespace) -> dict[str, Any]:
    """The same prompts, eight at once, with drafts and without."""
    from vllm import SamplingParams

    place = resolve(given.model)
    text = load_text(given.model)
    questions = [json.loads(line)["question"] for line in given.questions.read_text().splitlines()][: given.n]
    prompts = [{"prompt_token_ids": list(text.prompt(question))} for question in questions]
    params = SamplingParams(temperature=0, max_tokens=given.new)
    written, counted = {}, {}
    for name in given.names.split(","):
        written[name], counted[name] = engines.alone(replies, place, name, 8, prompts, params)
    first, second = given.names.split(",")
    alike = [a == b for a, b in zip(written[first], written[second], strict=True)]
    return {
        "model": Path(given.model).name, "names": given.names, "prompts": len(prompts), "same": sum(alike),
        "tokens": sum(map(len, written[first])), "differ": [i for i, one in enumerate(alike) if not one],
        **counted[second],
    }  # fmt: skip


def sampled(given: argparse.Namespace) -> dict[str, Any]:
    """Three tokens behind a text that a suffix drafter knows how to go on, n times each way."""
    from scipy.stats import chi2
    from vllm import SamplingParams

    text = load_text(given.model)
    start = text.encode("1 + 2 = 3. 1 + 2 = 4. 1 + 2 = 3. 1 + 2 = 5. 1 + 2 = 3. 1 + 2")
    written, counted = {}, {}
    prompts = [{"prompt_token_ids": start}] * given.n
    params = [SamplingParams(temperature=1.0, max_tokens=4, seed=seed) for seed in range(given.n)]
    for name in given.names.split(","):
        outputs, counted[name] = engines.alone(replies, resolve(given.model), name, 32, prompts, params)
        written[name] = Counter(map(tuple, outputs))
    first, second = (written[name] for name in given.names.split(","))
    statistic, freedom = g_test(first, second)
    return {
        "model": Path(given.model).name, "names": given.names, "draws": given.n, "g": statistic, "degrees": freedom,
        "p": float(chi2.sf(statistic, freedom)), **counted[given.names.split(",")[1]],
    }  # fmt: skip


def replies(place: str, name: str, seats: int, prompts: Any, params: Any) -> tuple[list[list[int]], dict[str, float]]:
    """Tokens of every reply, what was drafted for them, and which share of the time laconic's proposer took."""
    engine = engines.offline(place, name, seats=seats)
    spent, propose = [0.0], Proposer.propose

    def timed(self: Proposer, *arguments: Any, **options: Any) -> list[list[int]]:
        begun = time.perf_counter()
        drafts = propose(self, *arguments, **options)
        spent[0] += time.perf_counter() - begun
        return drafts

    Proposer.propose = timed  # type: ignore[method-assign]
    begun = time.perf_counter()
    outputs = engine.generate(prompts, params, use_tqdm=False)
    share = spent[0] / (time.perf_counter() - begun)
    return [list(one.outputs[0].token_ids) for one in outputs], {**drafted(engine), "proposing": share}


def g_test(first: Counter[Any], second: Counter[Any], least: int = 10) -> tuple[float, int]:
    """G statistic of two samples and its degrees of freedom; what came fewer than ``least`` times is put together."""
    import math

    cells: Counter[Any] = Counter()
    for one in first + second:
        cells[one] = first[one] + second[one]
    rare = {one for one, count in cells.items() if count < least}
    table = [(first[one], second[one]) for one in cells if one not in rare]
    table.append((sum(first[one] for one in rare), sum(second[one] for one in rare)))
    table = [pair for pair in table if sum(pair)]
    sizes = [sum(pair[side] for pair in table) for side in (0, 1)]
    total = sum(sizes)
    statistic = 2 * sum(
        count * math.log(count * total / (sum(pair) * sizes[side]))
        for pair in table
        for side, count in enumerate(pair)
        if count
    )
    return statistic, len(table) - 1


def drafted(engine: Any) -> dict[str, int]:
    """Drafted and accepted tokens so far."""
    found = {metric.name: getattr(metric, "value", 0) for metric in engine.get_metrics()}
    names = {"drafted": "vllm:spec_decode_num_draft_tokens", "accepted": "vllm:spec_decode_num_accepted_tokens"}
    return {ours: int(found.get(theirs, 0)) for ours, theirs in names.items()}


if __name__ == "__main__":
    main()
