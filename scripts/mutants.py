"""Plant faults in the core and see whether the tests notice: docs/results/mutants.md and mutants.json.

    pip install -e '.[dev,mutants]'
    python scripts/mutants.py --each 40 loop sequence  # a sample of these files' faults, printed
    python scripts/mutants.py --record                 # a sample of every core file, ten minutes on an idle core
    python scripts/mutants.py --again                  # once more what nothing has noticed in that record

The faults are those of Cosmic Ray: an operator, a comparison or a number replaced, a condition turned round, a loop
that does not run, ``break`` for ``continue``. From every file lines are drawn with a fixed seed, and one fault for each
of them. It is planted in a copy of the sources, and the tests of the file run in a process of their own, up to the
first that fails. A fault is caught if one does, or if they take far longer than usual. By hand only: never in CI.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
LOOP = [f"tests/test_{test}.py" for test in ("check_points", "rounds", "prober", "sequence", "landing", "both_loops")]
TIES, EXACT = (
    "tests/test_ties.py::test_rules_make_ties_and_bind_the_referee",
    "tests/speculation/verify/test_exactness.py",
)
BUNDLED = "tests/test_probe.py::test_ending_probes_early_changes_no_decision"
COUPLINGS = [
    "verify/test_numbers.py",
    "relax/test_relaxations.py",
    "transform/test_transforms.py",
    "verify/test_match.py",
]
CORE = {
    "loop": ("loop.py", [*LOOP, TIES]),
    "sequence": ("sequence.py", [*LOOP, TIES]),
    "transcript": ("transcript.py", ["tests/test_transcript.py", *LOOP]),
    "probe": ("probe.py", ["tests/test_probe.py", f"--deselect={BUNDLED}", *LOOP]),
    "prober": ("prober.py", ["tests/test_prober.py", *LOOP]),
    "coupling": ("speculation/verify/coupling.py", [f"tests/speculation/{test}" for test in COUPLINGS]),
    "importance": ("speculation/verify/importance.py", [EXACT, "-k", "importance"]),
    "remote": ("remote/loop.py", ["tests/thinking/test_remote.py"]),
}  # fmt: skip
"""What is tried, and tests of it: the quick ones, so what they miss some slower test may still find."""
FROZEN = "@dataclass(frozen=True, slots=True)", "@dataclass(frozen=False, slots=True)"
EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("transcript.py", *FROZEN): "nobody writes to it",
    (
        "prober.py",
        "return self._draft_model.passes if self._draft_model else 0",
        "return self._draft_model.passes if self._draft_model else -1",
    ): "only differences are used",
}
"""Faults that change nothing that anyone could see, as (file, line before, line after), and why."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault. ``after`` is what it makes of the line ``before``; ``text`` is the whole file with it."""

    file: str
    line: int
    before: str
    after: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a fault: ``caught``, ``slow`` (caught by the time), ``survived`` or ``equivalent``."""

    file: str
    line: int
    before: str
    after: str
    outcome: str
    note: str


def bare(text: str) -> str:
    """A file's code as the interpreter sees it, without annotations and docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = None if isinstance(node, ast.arg) else ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


def places(source: str) -> dict[int, list[tuple[Any, int]]]:
    """For every line of a file the faults that begin there: Cosmic Ray's operators, and which of their places."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    found: dict[int, list[tuple[Any, int]]] = {}
    nodes = list(ast_nodes(get_ast(source)))
    for operator in map(get_operator, operator_names()):
        if not operator.arguments() and operator.__name__ != "RemoveDecorator":  # without, nothing can be imported
            starts = [start for node in nodes for start, _ in operator().mutation_positions(node)]
            for at, (line, _) in enumerate(starts):
                found.setdefault(line, []).append((operator, at))
    return found


def sample(file: str, each: int, seed: int) -> list[Mutant]:
    """``each`` faults of a file that the interpreter would see, each on a line of its own."""
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / "src" / "laconic" / file).read_text()
    rng, plain, drawn = random.Random(f"{seed} {file}"), bare(source), []
    by_line = places(source)
    for line in rng.sample(sorted(by_line), len(by_line)):
        if len(drawn) == each:
            break
        for operator, at in rng.sample(by_line[line], len(by_line[line])):
            text = mutate_code(source, operator(), at)
            try:
                seen = bare(text) != plain
            except SyntaxError:
                continue
            if seen:
                before, after = (code.splitlines()[line - 1].strip() for code in (source, text))
                drawn.append(Mutant(file, line, before, after, text))
                break
    return sorted(drawn, key=lambda mutant: mutant.line)


@dataclass(frozen=True, slots=True)
class Limit:
    """Seconds, of the processor and in all, after which tests are taken to go on for ever."""

    busy: float
    whole: float


def ending(copy: Path, tests: list[str], log: Path, limit: Limit | None = None) -> tuple[str, Limit]:
    """How the tests end: ``passed``, ``failed`` or ``slow``, and what they took. A child process, forked, has torch."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit.busy), int(limit.busy)))
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(copy)
            import pytest

            early = "ignore::pytest.PytestAssertRewriteWarning"  # of what was loaded before the fork
            os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", early, *tests])))
        finally:
            traceback.print_exc()
            os._exit(1)
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG)
        took = Limit(used.ru_utime + used.ru_stime, time.monotonic() - begun)
        if ended:
            return ("slow" if os.WIFSIGNALED(status) else "failed" if status else "passed"), took
        if limit is not None and took.whole > limit.whole:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "slow", took
        time.sleep(0.05)


def tried(name: str, mutants: list[Mutant], copy: Path) -> list[Outcome]:
    """Plant faults in one file, one after the other. Raises RuntimeError if the tests fail without any."""
    file, tests = CORE[name]
    log, place = copy / "log.txt", copy / "src" / "laconic" / file
    original = place.read_text()
    ended, took = ending(copy, tests, log, None)
    if ended != "passed":
        raise RuntimeError(f"the tests of {file} fail as it is:\n{log.read_text()[-2000:]}")
    print(f"{file}: {took.busy:.0f} s of tests", flush=True)
    limit = Limit(2 * took.busy + 5, 5 * took.whole + 60)
    outcomes = []
    for mutant in mutants:
        place.write_text(mutant.text)
        ended, _ = ending(copy, tests, log, limit)
        place.write_text(original)
        note = EQUIVALENT.get((file, mutant.before, mutant.after), "")
        outcome = {"failed": "caught", "slow": "slow"}.get(ended, "equivalent" if note else "survived")
        outcomes.append(Outcome(file, mutant.line, mutant.before, mutant.after, outcome, note))
        print(f"{file}:{mutant.line}  {outcome}  {mutant.before}  ->  {mutant.after}", flush=True)
    return outcomes


def again(old: list[Outcome], copy: Path) -> list[Outcome]:
    """The same faults, those that no test noticed tried once more; what the code has no place for any more is gone."""
    new = []
    for name, (file, _) in CORE.items():
        left = [outcome for outcome in old if outcome.file == file and outcome.outcome == "survived"]
        found = [mutant for outcome in left if (mutant := replanted(outcome)) is not None]
        new += [outcome for outcome in old if outcome.file == file and outcome not in left]
        new += tried(name, found, copy) if found else []
    return new


def replanted(outcome: Outcome) -> Mutant | None:
    """The fault of an outcome, where its line stands by now; of several lines alike the nearest."""
    from cosmic_ray.mutating import mutate_code

    source = (ROOT / "src" / "laconic" / outcome.file).read_text()
    lines, by_line = source.splitlines(), places(source)
    same = [i for i, text in enumerate(lines, start=1) if text.strip() == outcome.before]
    for line in sorted(same, key=lambda i: abs(i - outcome.line)):
        for operator, at in by_line.get(line, ()):
            text = mutate_code(source, operator(), at)
            if text.splitlines()[line - 1].strip() == outcome.after:
                return Mutant(outcome.file, line, outcome.before, outcome.after, text)
    return None


def page(outcomes: list[Outcome]) -> str:
    """The table, and every fault that no test noticed."""
    rows = ["| file | faults | caught | equivalent | survived | share caught |", "|---|--:|--:|--:|--:|--:|"]
    for file in [*dict.fromkeys(o.file for o in outcomes), "all"]:
        mine = [o.outcome for o in outcomes if file in ("all", o.file)]
        equal, left = mine.count("equivalent"), mine.count("survived")
        share = (len(mine) - equal - left) / max(len(mine) - equal, 1)
        rows.append(f"| `{file}` | {len(mine)} | {len(mine) - equal - left} | {equal} | {left} | {share:.0%} |")
    listed = [
        f"* `{o.file}` {o.line}, {o.outcome}{f' ({o.note})' if o.note else ''}: `{o.before}` became `{o.after}`"
        for o in outcomes
        if o.outcome in ("survived", "equivalent")
    ]
    return "\n".join(
        [
            "# Planted faults in the core",
            "",
            "`python scripts/mutants.py --record`: faults of Cosmic Ray, one a line, lines drawn at random. "
            "Caught means that a test of the file failed, or that the tests took far too long. Equivalent ones change "
            "nothing that anyone could see, and do not count in the share.",
            "",
            *rows,
            "",
            *(["Not noticed:", "", *listed, ""] if listed else []),
        ]
    )


def main() -> None:
    """Try the files that are asked for; record the results of all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="files to try; all of them by default")
    parser.add_argument("--each", type=int, default=12, help="faults in each file")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other faults")
    parser.add_argument("--record", action="store_true", help="keep the results in docs/results")
    parser.add_argument("--again", action="store_true", help="try again what the record says was not noticed")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(CORE):
        parser.error(f"no core file is called {unknown.pop()!r}; there are {', '.join(CORE)}")
    for heavy in ("pytest", "transformers.models.qwen3.modeling_qwen3"):  # once, before the forks; laconic in each
        importlib.import_module(heavy)
    sys.dont_write_bytecode = True  # a file changed within a second would be taken for the one compiled before
    record, outcomes = RESULTS / "mutants.json", list[Outcome]()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("src", "tests", "scripts"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if asked.again:
            outcomes = again([Outcome(**old) for old in json.loads(record.read_text())["mutants"]], copy)
        else:
            for name in asked.names or CORE:
                outcomes += tried(name, sample(CORE[name][0], asked.each, asked.seed), copy)
    text = page(outcomes)
    print(text)
    if asked.record or asked.again:
        from laconic.bench.provenance import provenance

        record.write_text(
            json.dumps({"provenance": provenance(), "mutants": list(map(asdict, outcomes))}, indent=1) + "\n"
        )
        record.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
