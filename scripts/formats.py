"""Hold the discovery of thinking formats to the chat templates of real families.

    python scripts/formats.py TEMPLATES [TEMPLATES ...] [--json FILE]

TEMPLATES are folders with ``*.jinja`` files, at any depth: those of llama.cpp (``models/templates``, also in the source
package ``llama-cpp-python``), and of the packages trl, axolotl and unsloth. What each family writes stands in
``scripts/formats.tsv``: facts read in its template, its parser or its model card, no text of theirs. ``?`` is a bridge
that nothing shows; ``file@package`` asks for a file below a folder of that name. Exits with 1 if a format is wrong, or
missing without a word.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from laconic.errors import RequestError
from laconic.models.text import Text

FACTS = Path(__file__).with_suffix(".tsv")
_PHASES = {"prompt": "thinking", "model": "before", "answer": "answer"}


def tokenizer(template: str, *tokens: str) -> PreTrainedTokenizerFast:
    """Bytes under a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    made.add_tokens(list(tokens))
    made.chat_template = template
    return made


def found(text: Text) -> dict[str, str]:
    """What discovery says, in the words of the facts."""
    form = text.format
    if not form.thinks:
        return {"opens": "unknown" if form.reason else "none"}
    try:
        phase = text.ask("Why?")[1]
        off = text.ask("Why?", thinking=False)
    except RequestError as error:
        return {"opens": form.opens, "error": str(error)}
    switched = off[0] != text.ask("Why?")[0] and off[1] != "thinking"
    return {
        "opens": form.opens,
        "closes": form.closes,
        "bridge": form.bridge.replace("\n", "\\n"),
        "opened by": next(name for name, value in _PHASES.items() if value == phase),
        "off": (form.switch.keyword if form.switch else "empty") if switched else "does nothing",
        "effort": ",".join(level for level, _, _ in form.effort.levels) if form.effort else "-",
    }


def judge(fact: dict[str, str], told: dict[str, str]) -> tuple[str, str]:
    """``right``, ``unknown`` (and said so), ``missed`` without a word, or ``wrong``; and where they differ."""
    if fact["opens"] in ("none", "unknown"):
        return ("right" if fact["opens"] == "none" else "unknown", "") if told["opens"] == fact["opens"] else (
            "missed" if told["opens"] == "none" else "unknown" if told["opens"] == "unknown" else "wrong",
            told["opens"],
        )  # fmt: skip
    if told["opens"] in ("none", "unknown"):
        return "missed" if told["opens"] == "none" else "unknown", told["opens"]
    odd = [f"{k}: {v!r}, not {fact[k]!r}" for k, v in told.items() if v != fact.get(k) and fact.get(k) != "?"]
    return ("wrong" if odd else "right"), "; ".join(odd)


def main() -> int:
    """Print a line for each family, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    files = {path for folder in said.templates for path in folder.rglob("*.jinja")}
    rows: list[dict[str, Any]] = []
    with FACTS.open(encoding="utf-8") as source:
        for fact in csv.DictReader(source, delimiter="\t", quoting=csv.QUOTE_NONE):
            stem, _, package = fact["file"].partition("@")
            path = next((p for p in sorted(files) if p.stem == stem and (not package or package in p.parts)), None)
            told: dict[str, str] = {}
            verdict, odd = "not here", ""
            if path is not None:
                known = ("<think>", "</think>") if fact["opens"] == "unknown" else ()
                told = found(Text(tokenizer(path.read_text(encoding="utf-8"), *known)))
                verdict, odd = judge(fact, told)
            rows.append({**fact, "verdict": verdict, "found": told})
            print(f"{verdict:9} {fact['family']:30} {odd}")
    thinking = [row for row in rows if row["opens"] != "none"]
    for name, part in (
        ("listed reasoning templates", [row for row in thinking if row["listed"] == "yes"]),
        ("others that reason", [row for row in thinking if row["listed"] != "yes"]),
        ("templates without a thought", [row for row in rows if row["opens"] == "none"]),
    ):
        counts = Counter(row["verdict"] for row in part)
        print(f"{name}: {len(part)}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    if said.json:
        said.json.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(row["verdict"] in ("wrong", "missed") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
