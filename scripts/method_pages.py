"""Write docs/methods and the index that ``laconic methods`` reads from the cards of the registered methods.

With --check, say which of them are out of date.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.cli.describe import INDEX, describe
from laconic.policy import FAMILIES, Family, Policy, registry

PAGES = Path(__file__).parent.parent / "docs" / "methods"
BAR = "\\|"
"""A bar inside a table."""
TITLES = {
    "drafter": "Drafters: where guesses come from",
    "length": "Draft lengths: how far to guess",
    "shape": "Shapes: a chain or a tree",
    "verifier": "Verifiers: which guesses stand",
    "transform": "Transforms: which distribution the output shall have",
    "relaxation": "Relaxations: what may stand although it was refused",
    "think": "Thinking: how long to reason before answering",
    "memory": "Memory: reasoning over several calls, with a bounded text between them",
    "scaling": "Scaling: how many attempts, when to stop them, and which answer stands",
    "kv": "KV cache: what of the past a request keeps",
    "codec": "Codecs: how a cache's entries are stored in fewer bits",
    "allocator": "Layers: how they share what a cache may hold",
    "merger": "Mergers: what becomes of entries that a cache gives up",
    "collaboration": "Collaboration: which of two models writes the next step",
    "judge": "Judges: how good the steps of an attempt are",
    "reward": "Rewards: what training for shorter thoughts reinforces",
    "plan": "Rollout plans: which rollouts a step of training has",
    "trace": "Traces as data: what recorded thoughts become before a model learns from them",
    "sufficiency": "Sufficiency: after which step of a recorded thought its answer is right",
    "selector": "Selectors: which rows of data are kept",
}


def page(family: Family, name: str, cls: type[Policy]) -> str:
    """One method's section."""
    about = describe(family, name, cls)
    sources = [about["paper"]]
    sources += [f"arXiv {about['arxiv']}"] if about["arxiv"] else []
    sources += [f"catalogue {', '.join(map(str, about['catalogue']))}"] if about["catalogue"] else []
    rows = []
    for knob in about["knobs"]:
        default = "required" if knob["required"] else repr(knob["default"])
        cells = [f"`{knob['name']}`", knob["type"].replace("|", "or"), default, knob["doc"]]
        rows.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    table = ["", "| knob | type | default | meaning |", "|---|---|---|---|", *rows] if rows else []
    return "\n".join(
        [
            f"## `{name}`",
            "",
            inspect.getdoc(cls) or "",
            "",
            f"* Source: {'; '.join(sources)}",
            f"* Lossless: {'yes' if about['lossless'] else 'no'}"
            + ("; decides by measured times, so which sample a seed gives may differ between runs" * cls.card.timed),
            f"* Needs: {', '.join(about['needs']).replace('_', ' ') or 'nothing'}",
            *table,
        ]
    )


def build() -> dict[Path, str]:
    """Path to content of every page, and of the index."""
    listed = [describe(family, name, cls) for family, name, cls in registry.all()]
    pages = {INDEX: json.dumps(listed, indent=1, ensure_ascii=False) + "\n"}
    for family in FAMILIES:
        sections = [page(family, name, registry.get(family, name)) for name in registry.names(family)]
        note = "<!-- written by scripts/method_pages.py from the methods' cards; edit those -->"
        pages[PAGES / f"{family}.md"] = "\n\n".join([f"# {TITLES[family]}", note, *sections]) + "\n"
    return pages


def main() -> int:
    """Write or check."""
    check, stale = "--check" in sys.argv[1:], []
    PAGES.mkdir(parents=True, exist_ok=True)
    for path, content in build().items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            stale.append(path.name)
            if not check:
                path.write_text(content, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}. Run: python scripts/method_pages.py\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
