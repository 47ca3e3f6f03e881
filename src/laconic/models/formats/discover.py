"""Finding a model's format: its own response template, a turn that its chat template renders, or the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from laconic.models.formats import tags
from laconic.models.formats.bridge import bridged, headed
from laconic.models.formats.calls import with_calls
from laconic.models.formats.format import Format
from laconic.models.formats.phase import begins
from laconic.models.formats.rendered import from_prompts, read_back
from laconic.models.formats.switches import Effort, Switch, find_effort, find_switch, find_word
from laconic.models.formats.syntax.learn import learn
from laconic.models.formats.table import HARMONY, TABLE
from laconic.models.formats.template import Template

_HINT = re.compile(r"enable_thinking|reasoning_content|thinking_mode|thinking_budget|reasoning_effort|thinking_effort")


def discover(tokenizer: Any, given: Format | None = None) -> Format:
    """The format of a tokenizer's model, with the switches of its chat template.

    ``given`` is what the user says: it stands, and only what it leaves out about switches is found. Never raises: what
    is not known has the source ``none``, and a ``reason`` where something speaks for a thinking phase all the same.
    """
    template = Template(tokenizer).stopped()
    switch = find_switch(template.prompt, template.source) if template.source and template.steady else None
    if switch is not None and template.prompt({}) is None:
        template = template.insisting({switch.keyword: switch.on})
    found = given or _declared(tokenizer, template) or _read(template, switch) or _listed(template, tokenizer, switch)
    if found is None:
        found = Format(source="none", reason=_doubt(template, tokenizer, switch))
    if not template.source:
        return found
    if found.thinks and not found.headers and given is None:
        prompts = (headed(found, template.added(each)) for each in _values(switch))
        found = next((form for form in prompts if form is not None), found)
    if found.thinks and not found.asides and not found.turn:
        found = with_calls(found, template)
    if found.calls is None and (learned := learn(template, found)) is not None:
        found = replace(found, calls=learned)
        if found.thinks and not found.asides and not found.turn and not learned.loose:
            found = replace(found, asides=(learned.opens.trigger,), aside_end=(*learned.closes.parts, "")[-1])
    switch, effort = _levels(template, found, switch) if template.steady else (None, None)
    if switch is None and found.thinks:
        switch = find_word(lambda system: begins(template.added({}, system), found))
    return replace(found, switch=found.switch or switch, effort=found.effort or effort)


def _levels(template: Template, form: Format, switch: Switch | None) -> tuple[Switch | None, Effort | None]:
    """Levels of effort while thinking is on; one under which the prompt holds an empty thought switches it off."""
    on = {switch.keyword: switch.on} if switch is not None and isinstance(switch.on, bool) else {}
    effort = find_effort(lambda keywords: template.prompt({**on, **keywords}), template.source)
    if effort is None or not form.thinks:
        return switch, effort
    phases = [begins(template.added({**on, keyword: value}), form) for _, keyword, value in effort.levels]
    thinking = tuple(level for level, phase in zip(effort.levels, phases, strict=True) if phase != "answer")
    if not thinking or len(thinking) == len(phases):
        return switch, effort
    _, keyword, off = effort.levels[phases.index("answer")]
    return switch or Switch(keyword, thinking[-1][2], off), Effort(thinking) if len(thinking) > 1 else None


def _declared(tokenizer: Any, template: Template) -> Format | None:
    """From the checkpoint's ``response_template`` (Transformers 5.13), whose region of reasoning has both tags.

    One that does not have them is passed over.
    """
    region = _region(tokenizer)
    if not region:
        return None
    opens, closes = _first(region["open"]), _first(region["close"])
    if opens.strip() == HARMONY.opens:
        return replace(HARMONY, source="response_template")
    rendered = read_back(template)
    if rendered is not None and rendered.opens == opens.strip() and rendered.closes == closes.strip():
        return replace(rendered, source="response_template")
    lead = opens[len(opens.rstrip()) :]
    return bridged(Format(opens.strip(), closes.strip(), "", lead, lead, source="response_template"), template, [])


def _region(tokenizer: Any) -> Mapping[str, Any] | None:
    """What a ``response_template`` says of reasoning: nothing where it is silent, None where it cannot be read."""
    template = getattr(tokenizer, "response_template", None)
    if template is None:
        return {}
    fields = template.get("fields", {}) if isinstance(template, Mapping) else None
    if not isinstance(fields, Mapping):
        return None
    names = ("reasoning_content", "reasoning", "thinking")
    region: Any = next((fields[name] for name in names if name in fields), {})
    if not isinstance(region, Mapping) or (region and not (_first(region.get("open")) and _first(region.get("close")))):
        return None
    return region


def _first(value: Any) -> str:
    """The first text of one or several that is not blank."""
    texts = value if isinstance(value, list) else [value]
    return next((text for text in texts if isinstance(text, str) and text.strip()), "")


def _values(switch: Switch | None) -> list[dict[str, Any]]:
    return [] if switch is None else [{switch.keyword: switch.off}, {switch.keyword: switch.on}]


def _read(template: Template, switch: Switch | None) -> Format | None:
    found = read_back(template, _values(switch))
    if found is None:
        return from_prompts(template, _values(switch)) if template.source else None
    return replace(HARMONY, source="rendered") if found.opens == HARMONY.opens else found


def _listed(template: Template, tokenizer: Any, switch: Switch | None) -> Format | None:
    """From the table, by a tag that the template mentions; a vocabulary alone makes no reasoning model."""
    if not template.source:
        return None
    if {"<|channel|>", "<|message|>"} <= tokenizer.get_vocab().keys():  # the template may build the names of channels
        return HARMONY
    for entry in TABLE:
        if entry.opens not in template.source and f"{entry.opens[:-1]} " in template.source:
            continue  # with attributes, which the model may write or not: another tag
        if entry.closes in template.source and (entry.closes[:2] != "<|" or entry.opens in template.source):
            return bridged(entry, template, _values(switch)) if entry.bridge == "\n\n" else entry
    return None


def _doubt(template: Template, tokenizer: Any, switch: Switch | None) -> str:
    """What speaks for a thinking phase that was not found."""
    if _region(tokenizer) is None:
        return "the checkpoint's response_template does not name both tags of a thought."
    if tags.header(template.added({})):  # a prompt that opens the answer itself
        return ""
    named = [tag for tag in dict.fromkeys(tags.all_tags(template.source)) if tags.is_thought(tag)]
    if named:
        return f"the chat template mentions {named[0]}, but not how a thought is written."
    said = _HINT.search(template.source)
    if said or switch is not None:
        word = said.group() if said else switch.keyword if switch else ""
        return f"the chat template knows '{word}', but shows no thought."
    vocabulary = tokenizer.get_vocab()
    tag = next((tag for tag in (*(entry.closes for entry in TABLE), "<|channel|>") if tag in vocabulary), "")
    lacks = "the chat template has no thought" if template.source else "there is no chat template"
    return f"the vocabulary holds {tag}, but {lacks}: taken for a model without a thought." if tag else ""
