"""What a user should know of how a model is spoken to, where it may not be what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laconic.errors import did_you_mean
from laconic.models.formats.discover import discover
from laconic.models.formats.format import Format
from laconic.models.formats.template import ANSWER, ASKED, THOUGHT, Template

_TURNS = (
    [{"role": "user", "content": ASKED}],
    [{"role": "system", "content": ASKED}, {"role": "user", "content": ASKED}],
    [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": ANSWER, "reasoning_content": THOUGHT},
        {"role": "user", "content": ASKED},
    ],
)
"""Chats in which keywords may show: with words of the system, and with a thought that is past."""


def notes(tokenizer: Any, form: Format, keywords: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing that may not be as meant; mostly none.

    ``form`` is the format in use, ``keywords`` are the user's.
    """
    template = Template(tokenizer).stopped()
    if not template.source:
        return ["there is no chat template: questions go in as plain text."]
    idle = [_idle(key, template, keywords) for key in keywords if not _changes(key, template, form, keywords)]
    return ([unseen] if (unseen := _unseen(tokenizer, template, form)) else []) + idle


def _unseen(tokenizer: Any, template: Template, form: Format) -> str:
    """What to say of tags that the user gave where the template writes others; empty where there is nothing."""
    if form.source != "given" or not form.thinks:
        return ""
    own = discover(tokenizer)
    tags = (form.opens, form.closes)
    odd = next((tag for tag in tags if tag not in template.source and tag not in (own.opens, own.closes)), "")
    if not odd or not own.thinks:
        return ""
    said = f"the chat template nowhere writes {odd!r}, which the format (--format) names"
    return f"{said}, but {own.opens!r} and {own.closes!r}."


def _changes(key: str, template: Template, form: Format, keywords: Mapping[str, Any]) -> bool:
    """Whether a keyword makes a difference beside the others, with thinking on, off, or as the template has it."""
    others = {name: value for name, value in keywords.items() if name != key}
    bases: list[dict[str, Any]] = [{}]
    switch = form.switch
    if switch is not None and not switch.said and switch.keyword != key:
        bases += [{switch.keyword: switch.on}, {switch.keyword: switch.off}]
    for base in bases:
        for messages in _TURNS:
            with_it = template.render(messages, generate=True, **{**base, **keywords})
            if with_it != template.render(messages, generate=True, **{**base, **others}):
                return True
    return not template.steady


def _idle(key: str, template: Template, keywords: Mapping[str, Any]) -> str:
    said = f"the keyword {key}={keywords[key]!r} changes nothing in the chat template"
    known = template.keywords()
    if key in known:
        return f"{said}: what it writes is the same without it."
    return f"{said}, which does not know it. {did_you_mean(key, known) if known else ''}".strip()
