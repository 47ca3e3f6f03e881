"""Hold the reading of calls of tools to the chat templates of real families: what a template writes is read back.

    python scripts/calls.py TEMPLATES [TEMPLATES ...]

TEMPLATES are folders with ``*.jinja`` files, as for ``scripts/formats.py``. Every template renders turns with one call
and with two, with arguments of every kind; the reply that it writes is read whole and in pieces. Prints a line for each
template whose calls are not all read, or of which no syntax is known although it mentions calls.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from formats import tokenizer

from laconic.models.formats import Format, discover
from laconic.models.formats.called import Call, Content, Reader, parse
from laconic.models.formats.tags import spans
from laconic.models.formats.template import Template

VALUES: dict[str, Any] = {
    "nothing at all": {}, "a word": {"at": "Paris"}, "quotes": {"at": 'He said "hi", it\'s'}, "lines": {"at": "a\nb\n"},
    "backslashes": {"at": "a\\b\\n"}, "unicode": {"at": "ünï 漢字 🎉"}, "numbers": {"n": 3, "f": -2.5},
    "booleans": {"y": True, "no": False}, "null": {"z": None}, "a list": {"l": [1, "two", True, {"x": []}]},
    "an object": {"o": {"a": {"b": "c d"}, "e": {}, "k": [None, "it's"]}}, "empty": {"at": ""},
    "spaces": {"at": "  x  "}, "tags": {"at": "<b>x</b> {y} </parameter>"}, "a number as text": {"at": "3"},
    "json as text": {"at": '{"a": 1}'}, "code": {"at": "def f(x):\n    return x < 3\n\n\nprint(f(2))"},
}  # fmt: skip
NAMES = ("get_weather", "look-up2")
TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}
ASKED, ANSWER = "ASKED", "ANSW"
Calls = list[tuple[str, dict[str, Any]]]


def tools(calls: Calls) -> list[dict[str, Any]]:
    """What a request would declare for these calls."""
    return [
        {"type": "function", "function": {"name": name, "description": "d", "parameters": {
            "type": "object", "properties": {key: {"type": TYPES.get(type(v), "null")} for key, v in arguments.items()},
        }}}
        for name, arguments in calls
    ]  # fmt: skip


def replies(template: Template, calls: Calls) -> Iterator[str]:
    """The reply with these calls, in each of the ways in which a template takes them."""
    asked = {"role": "user", "content": ASKED}
    for keywords in ({}, {"tools": tools(calls)}):
        prompt = template.render([asked], generate=True, **keywords) or ""
        plain = template.render([asked, {"role": "assistant", "content": ANSWER}], generate=False, **keywords) or ""
        for answered in (False, True):
            for content in (ANSWER, ""):
                for as_text in (False, True):
                    made = [
                        {"id": f"call0000{n}", "type": "function", "function": {
                            "name": name, "arguments": json.dumps(a, ensure_ascii=False) if as_text else a}}
                        for n, (name, a) in enumerate(calls, 1)
                    ]  # fmt: skip
                    turns = [asked, {"role": "assistant", "content": content, "tool_calls": made}]
                    if answered:
                        results = [(call["id"], name) for call, (name, _) in zip(made, calls, strict=True)]
                        turns += [
                            {"role": "tool", "content": ASKED, "tool_call_id": id, "name": name} for id, name in results
                        ]
                    text = template.render(turns, generate=False, **keywords)
                    reply = behind(text, prompt, plain) if text is not None else ""
                    if all(name in reply for name, _ in calls):
                        yield reply.partition(ASKED)[0] if answered else reply


def behind(text: str, prompt: str, plain: str) -> str:
    """What the assistant says in a rendered chat."""
    if prompt and text.startswith(prompt):
        return text[len(prompt) :]
    shared = next((at for at, (a, b) in enumerate(zip(text, plain, strict=False)) if a != b), 0)
    shared = next((start for start, end in spans(text) if start < shared < end), shared)
    return text[max(shared, text.find(ASKED) + len(ASKED)) :]


def read(reply: str, form: Format, calls: Calls) -> bool:
    """Whether a reply's calls are these, read whole and in pieces."""
    opened = form.thinks and form.closes in reply and form.opens not in reply and not form.turn
    begins = "thinking" if opened else "before" if form.turn or (form.thinks and form.opens in reply) else "answer"
    whole = parse(reply, form, tools(calls), begins=begins)
    reader = Reader(form, tools(calls), begins=begins)
    pieces = [piece for at in range(0, len(reply), 3) for piece in reader.push(reply[at : at + 3])] + reader.finish()
    content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    found = [(call.name, json.loads(call.arguments)) for call in whole.calls]
    same = (*whole.calls, whole.content) == (*(piece for piece in pieces if isinstance(piece, Call)), content)
    return found == calls and same


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    logging.disable(logging.CRITICAL)
    right, partly, unknown = 0, 0, 0
    for path in sorted({path for folder in parser.parse_args().folders for path in folder.rglob("*.jinja")}):
        made = tokenizer(path.read_text())
        template, form = Template(made).stopped(), discover(made)
        if not form.calls_tools:
            if "tool_calls" in template.source:
                unknown += 1
                print(f"{path.name}: no syntax")
            continue
        wrong = []
        for kind, arguments in VALUES.items():
            for calls in ([(NAMES[0], arguments)], [(NAMES[0], arguments), (NAMES[1], {"b": "x"})]):
                ways = list(replies(template, calls))
                if ways and not any(read(reply, form, calls) for reply in ways):
                    wrong.append(f"{kind} ({len(calls)})")
        right, partly = right + (not wrong), partly + bool(wrong)
        if wrong:
            print(f"{path.name}: {', '.join(wrong)}")
    print(f"{right} templates read back whole, {partly} in part, {unknown} mention calls without a known syntax")
    return 0


if __name__ == "__main__":
    sys.exit(main())
