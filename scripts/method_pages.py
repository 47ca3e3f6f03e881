"""Write docs/methods from the cards of the registered methods, or, with --check, say which pages are out of date."""

from __future__ import annotations

import inspect
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.policy import FAMILIES, Policy, registry

PAGES = Path(__file__).parent.parent / "docs" / "methods"
TITLES = {
    "drafter": "Drafters: where guesses come from",
    "length": "Draft lengths: how far to guess",
    "shape": "Shapes: a chain or a tree",
    "verifier": "Verifiers: which guesses stand",
    "think": "Thinking: how long to reason before answering",
}


def knob_docs(cls: type[Policy]) -> dict[str, str]:
    """The string literal under each knob, by name."""
    lines = inspect.getsource(cls).splitlines()
    docs: dict[str, str] = {}
    for i, line in enumerate(lines[:-1]):
        name, colon, _ = line.strip().partition(":")
        below = lines[i + 1].strip()
        if colon and name.isidentifier() and below.startswith('"""'):
            text = []
            for more in lines[i + 1 :]:
                text.append(more.strip().strip('"'))
                if more.strip().endswith('"""'):
                    break
            docs[name] = " ".join(text).strip()
    return docs


def page(name: str, cls: type[Policy]) -> str:
    """One method's section."""
    card, needs = cls.card, cls.needs
    sources = [card.paper]
    sources += [f"arXiv {card.arxiv}"] if card.arxiv else []
    sources += [f"catalogue {', '.join(map(str, card.catalogue))}"] if card.catalogue else []
    needed = [f.name.replace("_", " ") for f in fields(needs) if getattr(needs, f.name)]
    rows = []
    docs = knob_docs(cls)
    for f in fields(cls):
        default = f.default if f.default is not MISSING else "required"
        shown = default.spec() if isinstance(default, Policy) else repr(default) if default != "required" else default
        rows.append(f"| `{f.name}` | `{shown}` | {docs.get(f.name, '')} |")
    table = ["", "| knob | default | meaning |", "|---|---|---|", *rows] if rows else []
    return "\n".join(
        [
            f"## `{name}`",
            "",
            inspect.getdoc(cls) or "",
            "",
            f"* Source: {'; '.join(sources)}",
            f"* Lossless: {'yes' if card.lossless else 'no'}",
            f"* Needs: {', '.join(needed) or 'nothing'}",
            *table,
        ]
    )


def build() -> dict[Path, str]:
    """Path to content of every page."""
    pages = {}
    for family in FAMILIES:
        sections = [page(name, registry.get(family, name)) for name in registry.names(family)]
        note = "<!-- written by scripts/method_pages.py from the methods' cards; edit those -->"
        pages[PAGES / f"{family}.md"] = "\n\n".join([f"# {TITLES[family]}", note, *sections]) + "\n"
    return pages


def main() -> int:
    """Write or check."""
    check, stale = "--check" in sys.argv[1:], []
    PAGES.mkdir(parents=True, exist_ok=True)
    for path, content in build().items():
        if not path.exists() or path.read_text() != content:
            stale.append(path.name)
            if not check:
                path.write_text(content)
    if check and stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}. Run: python scripts/method_pages.py\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
