"""Published findings about thoughts, tried on the bundled reasoner.

    python scripts/evidence.py record attempts.jsonl --model bundled --n 210 --attempts 16
    python scripts/evidence.py length large.jsonl small.jsonl --json FILE
    python scripts/evidence.py structure rows.jsonl docs/recipes/bundled_sft.toml FOLDER --base MODEL --json FILE \\
        none answer:1 digits:0.5 cues:1 deleted:0.5 inserted:0.5 shuffled:0.5
    python scripts/evidence.py examples rows.jsonl docs/recipes/bundled_sft.toml FOLDER --base MODEL --json FILE \\
        20:32 100:32 512:32

``length`` looks for the inverted U in recorded attempts, each recording by itself: how often they are right by their
length, which length is best on problems of which difficulty, and what Length-Filtered Vote does beside the plain vote.
``structure`` trains ``--base`` on rows of ``laconic traces rft`` that are spoilt in a way and to a degree
(laconic.training.traces.perturbing); ``none`` is the control. ``examples`` trains it on so many rows for so many
updates. Trainings that have ended are not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from laconic import Engine, Limits, Result, Sampling
from laconic.answers import extract
from laconic.bench.attempts.lengths import (
    Try,
    filtered_vote,
    gap,
    optimum,
    places,
    relative,
    shape,
    tries,
    vote,
)
from laconic.bench.attempts.recording import Recording, Written, load, save
from laconic.bench.provenance import provenance
from laconic.bench.tasks import Item, draw, kinds
from laconic.bench.tasks import load as tasks
from laconic.equality import same
from laconic.intervals import wilson
from laconic.models.load import load_text
from laconic.models.reasoner.habits import stated_results
from laconic.models.text import Text
from laconic.scaling.groups import read
from laconic.training.traces.perturbing import Told, perturbed
from laconic.training.traces.rendering import Renderer
from laconic.training.traces.trace import Steps, parts

Row = dict[str, Any]
EDGES = (0.7, 0.85, 1.0, 1.15, 1.3)
"""Bands of length, of the mean at the same problem."""
RATES = (0.0, 0.4, 0.7, 0.9, 1.0)
"""Bands of difficulty: the share of a problem's attempts that are right."""


def main() -> int:
    """Do what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    records = what.add_parser("record")
    records.set_defaults(does=_record)
    records.add_argument("file", type=Path)
    records.add_argument("--model", default="bundled")
    records.add_argument("--data", help="Tasks, as laconic compare takes them; else the bundled kinds.")
    records.add_argument("--n", type=int, default=210)
    records.add_argument("--attempts", type=int, default=16)
    records.add_argument("--temperature", type=float, default=1.0)
    records.add_argument("--max-tokens", type=int, default=800)
    records.add_argument("--seed", type=int, default=0)
    records.add_argument("--threads", type=int, default=1)
    reads = what.add_parser("length")
    reads.set_defaults(does=_length)
    reads.add_argument("files", type=Path, nargs="+")
    reads.add_argument("--json", type=Path)
    for name, does in (("structure", _structure), ("examples", _examples)):
        trains = what.add_parser(name)
        trains.set_defaults(does=does)
        trains.add_argument("rows", type=Path)
        trains.add_argument("recipe", type=Path)
        trains.add_argument("folder", type=Path)
        trains.add_argument("specs", nargs="+", metavar="KIND:STRENGTH" if name == "structure" else "ROWS:UPDATES")
        trains.add_argument("--base", default="bundled")
        trains.add_argument("--seed", type=int, default=0)
        trains.add_argument("--json", type=Path)
        if name == "structure":
            trains.add_argument("--n", type=int, default=128, help="rows to train on")
    given = parser.parse_args()
    found: int = given.does(given)
    return found


def _record(given: argparse.Namespace) -> int:
    """Attempts as scripts/scaling.py records them, without probes, and so many problems in a batch."""
    torch.set_num_threads(given.threads)
    known = {each.id for each in load(given.file)} if given.file.exists() else set()
    items = [item for item in draw(tasks(given.data), given.n, 0) if item.id not in known]
    engine = Engine.load(given.model)
    limits = Limits(given.max_tokens, answer_room=0)
    for at in range(0, len(items), 16):
        some = items[at : at + 16]
        seeds = range(given.seed, given.seed + given.attempts)
        made = engine.run(
            [
                engine.request(item.question, sampling=Sampling(given.temperature, seed=seed), limits=limits)
                for item in some
                for seed in seeds
            ],
            batch=64,
        )
        apart = [made[start : start + given.attempts] for start in range(0, len(made), given.attempts)]
        save(given.file, [_recording(item, each) for item, each in zip(some, apart, strict=True)])
        sys.stderr.write(f"{at + len(some)} of {len(items)} problems\n")
    return 0


def _recording(item: Item, made: Sequence[Result]) -> Recording:
    written = (
        Written(
            result.tokens, result.usage.thinking, len(result.tokens) - result.thought, result.answer,
            read(result), result.finish_reason, (), (),
        )
        for result in made
    )  # fmt: skip
    return Recording(item.id, item.question, item.answer, tuple(written), 0, 0.0)


def _length(given: argparse.Namespace) -> int:
    read_in = {path.stem: list(load(path)) for path in given.files}
    shared = set.intersection(*(_mixed(each) for each in read_in.values()))
    found = {name: _lengths(each, shared) for name, each in read_in.items()}
    for name, told in found.items():
        sys.stdout.write(f"\n{name}: {json.dumps(told['all'])}\n\n")
        _bands(f"of the mean length, {told['relative']['shape']}", told["relative"]["bands"])
        for name, band in told["thoughts"].items():
            sys.stdout.write(f"thoughts whose {name}: {band['n']}, {band['share']:.1%}, {band['tokens']:.0f} tokens\n")
        sys.stdout.write("\n| problems | how many | mean tokens | right by quarters of length | best (95 %) |\n")
        sys.stdout.write("|---|---|---|---|---|\n")
        for group, each in told["groups"].items():
            shares = ", ".join(f"{band['share']:.1%}" for band in each["bands"])
            low, high = each["interval"]
            sys.stdout.write(
                f"| {group} | {each['problems']} | {each['mean']:.0f} | {shares} "
                f"| {each['tokens']:.0f} ({low:.0f}-{high:.0f}) |\n"
            )
        sys.stdout.write("\n| vote | right (95 %) | won, lost |\n|---|---|---|\n")
        for way, each in told["votes"].items():
            low, high = each["interval"]
            share = f"{each['right'] / each['n']:.1%} ({low:.0%}-{high:.0%})"
            sys.stdout.write(f"| {way} | {share} | {each['won']}, {each['lost']} |\n")
    if given.json:
        given.json.write_text(json.dumps({**found, "provenance": provenance()}, indent=1) + "\n", "utf-8")
    return 0


def _bands(title: str, bands: list[Row]) -> None:
    sys.stdout.write(f"| {title} | attempts | right (95 %) |\n|---|---|---|\n")
    for band in bands:
        low, high = band["interval"]
        upto = "" if band["high"] is None else f"{band['high']:.2f}"
        sys.stdout.write(f"| {band['low']:.2f}-{upto} | {band['n']} | {band['share']:.1%} ({low:.0%}-{high:.0%}) |\n")
    sys.stdout.write("\n")


def _mixed(recordings: list[Recording]) -> set[str]:
    """Problems with right and wrong attempts, cut ones left out."""
    told = {each.id: {one.right for one in tries(each) if not one.cut} for each in recordings}
    return {id for id, each in told.items() if len(each) > 1}


def _lengths(recordings: list[Recording], shared: set[str]) -> Row:
    """Accuracy by length, the best length by difficulty, and votes, of one model's attempts.

    ``shared`` are problems that all models solve at times. Attempts that were cut off are left out of all but the
    votes: long and wrong, they would make any curve fall.
    """
    every = {each.id: tries(each) for each in recordings}
    whole = {id: [one for one in attempts if not one.cut] for id, attempts in every.items()}
    some = _mixed(recordings)
    mixed = {id: each for id, each in whole.items() if id in some}
    groups = {
        "solved at times": list(mixed.values()),
        "solved at times by all models": [each for id, each in mixed.items() if id in shared],
    }
    for low, high in itertools.pairwise(RATES):
        groups[f"solved {low:.0%} to {high:.0%}"] = [
            each for each in mixed.values() if low <= sum(one.right for one in each) / len(each) < high
        ]
    text = load_text("bundled")
    agree = {each.id: _agree(each, text) for each in recordings}
    thoughts = {}
    for name, wanted in (("results agree", True), ("results differ", False)):
        parted = [
            [one for one, told in zip(every[id], agree[id], strict=True) if told is wanted and not one.cut]
            for id in every
        ]
        thoughts[name] = relative([each for each in parted if each], ())[0].as_dict()
        groups[f"thoughts whose {name}"] = [
            each for each in parted if len(each) >= 4 and 0 < sum(one.right for one in each) < len(each)
        ]
    for count in (2, 3, 4):
        groups[f"chain_sum, {count} numbers"] = [
            whole[each.id]
            for each in recordings
            if each.id.startswith("chain_sum/") and len(re.findall(r"\d+", each.question)) == count
        ]
    bands = relative(list(mixed.values()), EDGES)
    gaps = [gap(each) for each in mixed.values()]
    attempts = [one for each in every.values() for one in each]
    return {
        "all": {
            "problems": len(every), "attempts": len(attempts), "cut": sum(one.cut for one in attempts),
            "mixed": len(mixed), "right": sum(one.right for one in attempts) / len(attempts),
            "thinking": sum(one.length for one in attempts) / len(attempts),
            "right_shorter": sum(each < 0 for each in gaps), "right_longer": sum(each > 0 for each in gaps),
        },
        "relative": {"shape": shape(bands), "bands": [band.as_dict() for band in bands]},
        "thoughts": thoughts,
        "groups": {name: optimum(each, 4) for name, each in groups.items() if each},
        "votes": _votes(recordings, every),
    }  # fmt: skip


def _agree(recording: Recording, text: Text) -> list[bool]:
    """For each attempt of a bundled model whether all results that its thought states for the problem are the same."""
    thoughts = [text.decode(list(each.tokens)).partition(text.format.closes)[0] for each in recording.attempts]
    return [len({stated.value for stated in stated_results(thought)}) < 2 for thought in thoughts]


def _votes(recordings: list[Recording], every: dict[str, list[Try]]) -> Row:
    def sized(groups: int, keep: int, each: list[Try]) -> str:
        return filtered_vote(each, places(each, groups), keep)

    def wide(width: int, each: list[Try]) -> str:
        return filtered_vote(each, [one.length // width for one in each], 3)

    ways: dict[str, Any] = {"plain": vote}
    ways |= {f"{k} of {g} groups of equal size": partial(sized, g, k) for g, k in ((2, 1), (4, 1), (4, 2), (4, 3))}
    ways |= {f"3 groups, {width} tokens wide": partial(wide, width) for width in (25, 50, 100)}
    right = {way: [same(r.right, says(every[r.id])) for r in recordings] for way, says in ways.items()}
    return {
        way: {
            "n": len(told), "right": sum(told), "interval": list(wilson(sum(told), len(told))),
            "won": sum(a and not b for a, b in zip(told, right["plain"], strict=True)),
            "lost": sum(b and not a for a, b in zip(told, right["plain"], strict=True)),
        }
        for way, told in right.items()
    }  # fmt: skip


def _structure(given: argparse.Namespace) -> int:
    rows = _drawn(given.rows, given.seed)
    renderer = Renderer(load_text(given.base))
    told = []
    for spec in given.specs:
        kind, _, strength = spec.partition(":")
        spoilt = rows[: given.n]
        if kind != "none":
            spoilt = list(_spoilt(rows, given.n, kind, float(strength), renderer, given.seed))
        told.append({"spec": spec, **_trained(given, spec.replace(":", "_"), spoilt, {})})
    return _report(given, told)


def _examples(given: argparse.Namespace) -> int:
    rows = _drawn(given.rows, given.seed)
    batch = int(tomllib.loads(given.recipe.read_text("utf-8"))["sft"]["rows"])
    told = []
    for spec in given.specs:
        count, updates = map(int, spec.split(":"))
        taken = rows[:count]
        if len(taken) < count:
            raise SystemExit(f"{given.rows.name} has {len(taken)} rows, {count} were asked for.")
        epochs = updates / math.ceil(count / batch)
        told.append({"spec": spec, **_trained(given, spec.replace(":", "_"), taken, {"sft.epochs": epochs})})
    return _report(given, told)


def _drawn(path: Path, seed: int) -> list[Row]:
    """All rows, in the order in which scripts/taught.py draws them."""
    lines = path.read_text("utf-8").splitlines()
    random.Random(seed).shuffle(lines)
    return [json.loads(line) for line in lines]


def _spoilt(rows: list[Row], n: int, kind: str, strength: float, renderer: Renderer, seed: int) -> Iterable[Row]:
    """The first ``n`` rows, each spoilt by random numbers of its own; others' steps are those of other problems."""
    apart = [_apart(row, renderer) for row in rows]
    for at, row in enumerate(rows[:n]):
        thought, reply = apart[at]
        others = [
            step
            for (other, _), of in zip(apart, rows, strict=True)
            if of["problem"] != row["problem"]
            for step in Steps.of(other).texts
        ]
        before = Told(tuple(Steps.of(thought).texts), reply, extract(reply))
        after = perturbed(kind, strength, before, others, random.Random(f"{seed} {row['trace']} {kind} {strength}"))
        head, tail = row["completion"].split(thought, 1)
        written = head + "\n\n".join(after.steps) + tail.replace(reply, after.reply)
        yield {**row, "completion": written, "tokens_after": renderer.tokens(written)}


def _apart(row: Row, renderer: Renderer) -> tuple[str, str]:
    found = parts(row["completion"], renderer.text.format, renderer.ends)
    if found is None:
        raise SystemExit(f"{row['trace']}: its thought has no end.")
    return found


def _trained(given: argparse.Namespace, name: str, rows: list[Row], more: dict[str, Any]) -> Row:
    """A training by ``laconic train`` in a folder of its own, with the evaluations before and after it."""
    given.folder.mkdir(parents=True, exist_ok=True)
    data, out = given.folder / f"{name}.{given.seed}.jsonl", given.folder / f"{name}.{given.seed}"
    if not (out / "model").exists():
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        command = [sys.executable, "-m", "laconic", "train", str(given.recipe), str(out)]
        settings = {
            "model": given.base, "sft.data": str(data), "seed": given.seed, "stop.accuracy": 1,
            "evaluation.problems": ",".join(kinds()), **more,
        }  # fmt: skip
        for key, value in settings.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[2:])}: {done.stderr[-800:]}")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    known = [each for each in log if "evaluation" in each]
    return {
        "seed": given.seed, "rows": len(rows), "updates": known[-1]["evaluation"],
        "tokens": sum(row["tokens_after"] for row in rows) / len(rows), "base": known[0], "last": known[-1],
        "loss": [each["loss"] for each in log if "loss" in each],
    }  # fmt: skip


def _report(given: argparse.Namespace, told: list[Row]) -> int:
    sys.stdout.write(
        "| | rows | updates | tokens of a row | right (95 %) | thinking tokens |\n|---|---|---|---|---|---|\n"
    )
    before = {"spec": "base", "rows": 0, "updates": 0, "tokens": 0, "last": told[0]["base"]}
    for row in [before, *told]:
        last = row["last"]
        low, high = wilson(round(last["right"] * last["n"]), last["n"])
        sys.stdout.write(
            f"| `{row['spec']}` | {row['rows']} | {row['updates']} | {row['tokens']:.0f} | {last['right']:.1%} "
            f"({low:.0%}-{high:.0%}) | {last['thinking']:.0f} |\n"
        )
    if given.json:
        record = {"rows": told, "recipe": given.recipe.read_text("utf-8"), "provenance": provenance()}
        given.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
