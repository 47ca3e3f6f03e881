"""Ways to draft, side by side on a real model with real prompts, prompt by prompt; plain decoding is one of them.

    laconic specimen smollm2
    python scripts/drafters.py --data DIR --json out.json --n 26
    python scripts/drafters.py --data DIR --json out.json --n 80 --temperature 0.7 \\
        recycling=token-recycling@marginal@best-first chain=suffix@constant:8

Each way is ``name=drafter@length@shape``, where length and shape may be left out (``constant``, ``chain``) and brackets
stand around a spec that holds an ``@``. Plain decoding, ``prompt-lookup`` and ``suffix`` always take part. DIR holds
``spec_bench.jsonl``, of whose questions the first turn is asked; --n is spread equally over its categories. --data may
also be a file of that form, or of ``question`` and ``id`` a line.

All ways answer a prompt one straight after the other, in an order that rotates. Answers are kept as they come, so a run
that was stopped goes on where it was, and a larger --n adds to a smaller one. Ways that are added later answer the
prompts that are there; their times are compared with plain decoding on new prompts alone (``apart`` counts the others).
Each way is one engine for all prompts of a run: what its drafter shares over requests it learns as it goes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real import WARM_UP, keep, rows

from laconic import Engine, Limits, Result, Sampling
from laconic.bench.compare import PLAIN
from laconic.bench.provenance import provenance
from laconic.bench.stats import bootstrap_ratio, ratio, rotation
from laconic.cli.options import named_dtype, settle
from laconic.policy import bracketed, split

ALWAYS = ("plain=none", "prompt-lookup=prompt-lookup@constant:8", "suffix=[suffix:shared=false]@marginal")
SETTINGS = ("model", "dtype", "temperature", "seed", "max_tokens", "threads")
Prompt = tuple[str, str, str]
"""Id, category and words."""


def main() -> None:
    """Answer what is missing in the record, then print and write what all answers say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="name=drafter@length@shape")
    parser.add_argument("--n", type=int, default=26)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    settle(given.threads, given.model)
    ways = dict(way(text) for text in (*ALWAYS, *given.ways))
    record = json.loads(given.json.read_text()) if given.json.exists() else {"runs": {}}
    settings = {key: getattr(given, key) for key in SETTINGS}
    name = ", ".join(f"{key} {value}" for key, value in settings.items())
    run = record["runs"].setdefault(name, {"settings": settings, "ways": {}, "prompts": {}})
    for key, methods in ways.items():
        if run["ways"].setdefault(key, methods) != methods:
            parser.error(f"'{key}' is {run['ways'][key]} in {given.json}. Choose another name.")
    measure(given, prompts(given.data, given.n), ways, record, run)
    show(name, run["summary"])


def way(text: str) -> tuple[str, dict[str, str]]:
    """A name and its methods."""
    name, _, spec = text.partition("=")
    parts = [part[1:-1] if bracketed(part) else part for part in split(spec, "@")]
    return name, PLAIN | dict(zip(("drafter", "length", "shape"), parts, strict=False))


def prompts(data: Path, n: int) -> list[Prompt]:
    """``n`` prompts, one of each category in turn and within it evenly over the file; fewer begin more."""
    kinds: dict[str, list[Prompt]] = {}
    for i, row in enumerate(rows(data / "spec_bench.jsonl" if data.is_dir() else data)):
        kind = row.get("category", "all")
        words = row["turns"][0] if "turns" in row else row["question"]
        kinds.setdefault(kind, []).append((str(row.get("question_id", row.get("id", i))), kind, words))
    spread = [[each[at] for at in order(len(each))] for each in kinds.values()]
    most = max(map(len, spread))
    return [each[turn] for turn in range(most) for each in spread if turn < len(each)][:n]


def order(count: int) -> list[int]:
    """0 to ``count - 1`` so that every beginning is spread out: by the digits of the turn, reversed."""
    bits = max(count - 1, 1).bit_length()
    turned = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits))
    return [at for at in turned if at < count]


def measure(
    given: argparse.Namespace,
    chosen: Sequence[Prompt],
    ways: dict[str, dict[str, str]],
    record: dict[str, Any],
    run: dict[str, Any],
) -> None:
    """Have every way answer the prompts that it has not answered yet."""
    base = Engine.load(given.model, dtype=named_dtype(given.dtype), **PLAIN)
    engines = [(name, base.using(**methods)) for name, methods in ways.items()]
    limits = Limits(given.max_tokens)
    for _, engine in engines:
        engine.generate(WARM_UP, limits=Limits(16))
    for turn, (key, kind, words) in enumerate(chosen):
        answers = run["prompts"].setdefault(key, {"category": kind, "answers": {}})["answers"]
        apart = bool(answers)
        for name, engine in rotation(engines, turn):
            if name in answers:
                continue
            request = engine.request(words, limits=limits, sampling=Sampling(given.temperature, seed=given.seed + turn))
            begun = time.perf_counter()
            result = engine.run([request])[0]
            answers[name] = counted(result, time.perf_counter() - begun) | {"apart": apart}
        run["reports"] = {name: found for name, engine in engines if (found := engine.reports())}
        run["summary"] = summary(list(run["prompts"].values()), list(run["ways"]))
        run["provenance"] = provenance()
        keep(record, given.json)
        sys.stderr.write(f"\r{turn + 1} of {len(chosen)} prompts")


def counted(result: Result, seconds: float) -> dict[str, Any]:
    """The numbers of an answer, and its tokens, so that any two can be compared."""
    usage = result.usage
    return {
        "tokens": list(result.tokens),
        "generated": usage.generated,
        "passes": usage.target_passes,
        "drafted": usage.drafted,
        "accepted": usage.accepted,
        "seconds": seconds,
        "phases": dict(usage.seconds),
    }


def summary(done: list[dict[str, Any]], ways: list[str]) -> dict[str, Any]:
    """Over all prompts and for each category: every way's numbers, on prompts that plain decoding answered, too."""
    kinds = list(dict.fromkeys(each["category"] for each in done))
    sets = {"all": done, **{kind: [each for each in done if each["category"] == kind] for kind in kinds}}
    return {
        name: {w: table(each, w) for w in ways if any(w in x["answers"] for x in each)} for name, each in sets.items()
    }


def table(done: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Sums over sums; intervals are 95 %, prompts drawn anew; ``wall_ratio`` is above 1 where plain decoding is slower.

    Times of drafting are in microseconds. ``drafting_share`` and ``learning_share`` are of the time of all passes: what
    comes before the target's pass, and what is done with its verdict (of which the drafter's part is nearly all).
    """
    pairs = [
        (x["answers"][name], x["answers"]["plain"]) for x in done if name in x["answers"] and "plain" in x["answers"]
    ]
    mine = [own for own, _ in pairs]
    passes = [(float(own["generated"]), float(own["passes"])) for own in mine]
    tokens, drafted, accepted = (sum(own[key] for own in mine) for key in ("generated", "drafted", "accepted"))
    phase = {key: sum(own["phases"][key] for own in mine) for key in mine[0]["phases"]}
    spent = sum(seconds for key, seconds in phase.items() if key != "prefill")
    times = [(plain["seconds"], own["seconds"]) for own, plain in pairs if own["apart"] == plain["apart"]]
    return {
        "prompts": len(pairs),
        "apart": len(pairs) - len(times),
        "same_tokens": sum(own["tokens"] == plain["tokens"] for own, plain in pairs),
        "tokens_per_pass": ratio(passes),
        "tokens_per_pass_95": bootstrap_ratio(passes),
        "acceptance": accepted / drafted if drafted else None,
        "wasted_per_token": (drafted - accepted) / tokens,
        "drafting_us_per_token": 1e6 * phase["draft"] / tokens,
        "drafting_share": phase["draft"] / spent,
        "learning_us_per_token": 1e6 * phase["policy"] / tokens,
        "learning_share": phase["policy"] / spent,
        "wall_ratio": ratio(times) if times else None,
        "wall_ratio_95": bootstrap_ratio(times) if times else None,
    }


def show(name: str, summary: dict[str, Any]) -> None:
    """A table over all prompts, and tokens a pass and time by category."""
    out = sys.stdout.write
    found = summary["all"]
    width = max(map(len, found))
    out(
        f"\n{name}\n{'':{width}}  tokens/pass           accepted wasted  draft us  share  learn us  "
        "wall ratio               same\n"
    )
    for way_, row in found.items():
        accepted = "" if row["acceptance"] is None else f"{row['acceptance']:.3f}"
        interval = "{:.3f} to {:.3f}".format(*row["tokens_per_pass_95"])
        wall = (
            ""
            if row["wall_ratio"] is None
            else f"{row['wall_ratio']:.3f}, " + "{:.3f} to {:.3f}".format(*row["wall_ratio_95"])
        )
        out(
            f"{way_:{width}}  {row['tokens_per_pass']:.3f}, {interval:14} {accepted:>6} {row['wasted_per_token']:6.2f} "
            f"{row['drafting_us_per_token']:9.0f} {row['drafting_share']:6.1%} {row['learning_us_per_token']:9.0f}  "
            f"{wall:23} {row['same_tokens']:>3} of {row['prompts']}\n"
        )
    out(f"\ntokens a pass by category\n{'':24}" + "".join(f"{way_[:15]:>16}" for way_ in found) + "\n")
    for kind, each in summary.items():
        out(f"{kind:24}" + "".join(f"{row['tokens_per_pass']:16.3f}" for row in each.values()) + "\n")


if __name__ == "__main__":
    main()
