"""Drafts of ``suffix`` beside those of arctic-inference's SuffixDecodingCache, on recorded texts of other models.

    python scripts/suffix_rival.py --traces DIR --python .venv-vllm/bin/python --json docs/results/suffix_rival.json

Every reply of every record is gone through pass by pass as if a greedy model wrote it, with a model's own tokenizer.
Both sides see the same tokens and match and draft equally far. One file after the other, the rival in a process of its
own under ``--python``; costs are processor time of the drafting alone, which other programs on the machine still
touch, so read their ratio. Bytes are those of our shared store; the rival does not say what it takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "in_vllm"))
from suffix_cache import Conversation, along

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.bench.provenance import provenance
from laconic.bench.replay.records import read
from laconic.models.load import load_text
from laconic.policy import registry
from laconic.speculation.base import Context, Tools, Verdict
from laconic.speculation.draws import Draws
from laconic.types import Request

RIVAL = Path(__file__).parent / "in_vllm" / "suffix_cache.py"
_LIMIT = 3600
"""Seconds that the rival may take for a file."""


class Suffix:
    """Our side: the drafter through its contract, as the loop calls it."""

    def __init__(
        self, depth: int, most: int, factor: float, min_prob: float, tree: bool, shared: bool, room: int
    ) -> None:
        spec = f"suffix:max_depth={depth},factor={factor},min_prob={min_prob},shared={shared},max_tokens={room}"
        self.drafter: Any = registry.build("drafter", spec)
        self.tools = Tools(None, registry.build("shape", "best-first" if tree else "chain"), 1 << 20)  # type: ignore[arg-type]
        self.most = most
        self.context: Context | None = None

    def give(self, conversation: int, tokens: list[int]) -> None:
        """Begin a request, or give it more text."""
        if self.context is None:
            self.context = Context(Request(tuple(tokens)), list(tokens), Draws(0), len(tokens))
            self.state = self.drafter.start(self.context, self.tools)
        else:
            self.context.tokens += tokens
            self.context.prompt_length = len(self.context.tokens)
            self.drafter.observe([self.state], [Verdict(self.tree, (), tokens[-1])])

    def draft(self) -> tuple[Sequence[int], Sequence[int]]:
        """Its draft."""
        self.tree = self.drafter.propose([self.state], [self.most], [None])[0]
        return self.tree.tokens, self.tree.parents

    def learn(self, tokens: list[int]) -> None:
        """What the round has written."""
        assert self.context is not None
        self.context.tokens += tokens
        self.drafter.observe([self.state], [Verdict(self.tree, (), tokens[-1])])

    def end(self) -> None:
        """End the request."""
        self.drafter.finish(self.state)
        self.context = None

    def nbytes_per_token(self) -> float | None:
        """Bytes of the shared store for each token that it has room for."""
        return self.drafter.shared_bytes / self.drafter.max_tokens if self.drafter.shared else None


def main() -> None:
    """Measure every file on both sides, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="a folder of JSONL records, or one file")
    parser.add_argument("--python", required=True, help="of an environment with arctic-inference")
    parser.add_argument("--tokenizer", default="smollm2")
    parser.add_argument("--depth", type=int, default=64, help="longest match, tokens")
    parser.add_argument("--most", type=int, default=16, help="longest draft, tokens")
    parser.add_argument("--factor", type=float, default=1.0, help="draft tokens earned by a matched one")
    parser.add_argument("--min-prob", type=float, default=0.1)
    parser.add_argument("--tree", action="store_true")
    parser.add_argument("--alone", action="store_true", help="each request by itself: nothing is shared")
    parser.add_argument("--tokens", type=int, default=10**9, help="no further record once so many are written")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = {
        "depth": given.depth, "most": given.most, "factor": given.factor, "min_prob": given.min_prob,
        "tree": given.tree, "shared": not given.alone,
    }  # fmt: skip
    files = {}
    for path in sorted(given.traces.glob("*.jsonl")) if given.traces.is_dir() else [given.traces]:
        texts = conversations(path, given.tokenizer, given.tokens)
        room = sum(len(written) for turns in texts for _, written in turns)
        ours, theirs = Suffix(**settings, room=room), rival(given.python, settings, texts)
        row: dict[str, Any] = {"laconic": along(ours, texts), "arctic": theirs}
        row["tokens_per_pass_ratio"] = row["laconic"]["tokens_per_pass"] / theirs["tokens_per_pass"]
        row["call_us_ratio"] = row["laconic"]["call_us"] / theirs["call_us"]
        row["shared_bytes_per_token"] = ours.nbytes_per_token()
        files[path.stem] = row
        print(path.stem, json.dumps(row, indent=1), flush=True)
    if given.json:
        record = {"settings": settings | {"tokenizer": given.tokenizer}, "files": files, "provenance": provenance()}
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def conversations(path: Path, tokenizer: str, most: int) -> list[Conversation]:
    """The usable records of a file as tokens, until so many are written."""
    text = load_text(tokenizer)
    found: list[Conversation] = []
    for record in read(str(path), None, None).records:
        if most <= 0:
            break
        found.append([(text.encode(turn.given), text.encode(turn.written)) for turn in record.turns])
        most -= sum(len(written) for _, written in found[-1])
    return found


def rival(python: str, settings: dict[str, Any], texts: Sequence[Conversation]) -> dict[str, float]:
    """The same with arctic-inference, in its own environment."""
    done = subprocess.run(
        [python, str(RIVAL)],
        input=json.dumps({"settings": settings, "conversations": texts}),
        capture_output=True,
        text=True,
        timeout=_LIMIT,
    )
    if done.returncode:
        raise SystemExit(f"{python} {RIVAL.name} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
