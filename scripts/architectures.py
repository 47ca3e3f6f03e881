"""Examine laconic on a small random model of every causal decoder of the installed Transformers.

    python scripts/architectures.py [--only llama,mamba] [--json verdicts.json] [--page docs/architectures.md]

Each type is built and examined in a process of its own, so that one crash or one that takes too long ends nothing else.
The page is written for a run over all types; `--only` prints.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import resource
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import transformers

from laconic.bench.zoo.examine import Verdict, examine, summary
from laconic.bench.zoo.models import build, kinds
from laconic.errors import UnsupportedModel

MEMORY = 8 << 30
"""Bytes of address space that one examination may take."""

SECONDS = 120.0
"""How long one examination may take."""


def main() -> None:
    """Examine, print a line for each type, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="model types, separated by commas")
    parser.add_argument("--json", type=Path, help="where to write the verdicts")
    parser.add_argument("--page", type=Path, default=Path("docs/architectures.md"), help="where to write the page")
    asked = parser.parse_args()
    chosen = asked.only.split(",") if asked.only else kinds()
    torch.set_num_threads(1)
    began = time.perf_counter()
    verdicts = []
    for kind in chosen:
        verdicts.append(guarded(kind))
        print(f"{kind:28} {verdicts[-1]}", flush=True)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary(verdicts).items())
    print(f"{len(verdicts)} types: {counts}; {time.perf_counter() - began:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(verdict) for verdict in verdicts], indent=1) + "\n")
    if not asked.only:
        asked.page.write_text(page(verdicts))


def guarded(kind: str) -> Verdict:
    """The verdict on one type, whatever becomes of the process that finds it."""
    context = multiprocessing.get_context("fork")  # Transformers is imported once, by this process
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_examine, args=(kind, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(SECONDS):
            return Verdict(kind, "crash", f"took more than {SECONDS:.0f} s", {}, "")
        verdict: Verdict = receiver.recv()
    except EOFError:
        process.join()
        return Verdict(kind, "crash", f"the process ended with code {process.exitcode}", {}, "")
    finally:
        process.kill()
        process.join()
    return verdict


def _examine(kind: str, sender: multiprocessing.connection.Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    try:
        verdict = examine(build(kind), kind)
    except UnsupportedModel as error:
        verdict = Verdict(kind, "not built", error.message, {}, "")
    sender.send(verdict)


def page(verdicts: Sequence[Verdict]) -> str:
    """The page of all verdicts, in Markdown."""
    counts = summary(verdicts)
    lines = [
        "# Architectures",
        "",
        f"Every one of the {len(verdicts)} causal decoders of Transformers {transformers.__version__}, as a small",
        f"random model in float32 on a CPU (PyTorch {torch.__version__.partition('+')[0]}). **Exact** means:",
        "token by token, in drafts, in trees and branches off earlier points, after rollbacks and forks, in ragged",
        "batches and behind long prompts, every logit is that of the model run without a cache over the whole text, to",
        "a thousandth of the largest. Written by `python scripts/architectures.py`; the checks are in",
        "`src/laconic/bench/zoo/checks.py`.",
        "Families known as encoders or as encoder-decoders (`bert`, `bart`, `whisper`) stand for their decoders",
        "alone, with `is_decoder`; their checkpoints that are something else are refused.",
        "",
        "| " + " | ".join(counts) + " |",
        "|" + "--:|" * len(counts),
        "| " + " | ".join(str(count) for count in counts.values()) + " |",
        "",
        "| model type | verdict | path | largest error | reason |",
        "|---|---|---|--:|---|",
    ]
    for verdict in verdicts:
        error = f"{max(verdict.errors.values()):.0e}" if verdict.errors else ""
        reason = verdict.reason.replace("|", "\\|")
        lines.append(f"| `{verdict.model_type}` | {verdict.outcome} | {verdict.path} | {error} | {reason} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
