"""What a user is told of how a model is spoken to, where it may not be what was meant."""

from __future__ import annotations

import re
from typing import Any

import pytest

from laconic.models.text import Text
from tests.models.test_formats import ROWS, kept, tokenizer, turns

IDLE = "changes nothing in the chat template"
UNKNOWN = f"{IDLE}, which does not know it."
SAME = f"{IDLE}: what it writes is the same without it."
PAST = turns("{% if preserve_thinking %}" + kept("<think>", "</think>") + "{% else %}{{ m.content }}{% endif %}")


def notes(template: Any, **keywords: Any) -> list[str]:
    return Text(tokenizer(template), keywords=keywords).notes()


@pytest.mark.parametrize(
    ("row", "keywords", "note"),
    [
        ("qwen3", {"enable_thinkng": False}, f"enable_thinkng=False {UNKNOWN} Did you mean 'enable_thinking'?"),
        ("qwen3", {"foo": "bar"}, f"foo='bar' {UNKNOWN} Known: enable_thinking."),
        ("qwen3", {"enable_thinking": "off"}, f"enable_thinking='off' {SAME}"),
        ("deepseek-v4", {"thinking": True, "reasoning_effort": "zzz"}, f"reasoning_effort='zzz' {SAME}"),
        ("deepseek-r1", {"enable_thinking": False}, f"enable_thinking=False {UNKNOWN}"),
    ],
)
def test_a_keyword_that_changes_nothing_is_said_to(row: str, keywords: dict[str, Any], note: str) -> None:
    (found,) = notes(ROWS[row].template, **keywords)
    assert found.startswith(f"the keyword {note}")


@pytest.mark.parametrize(
    ("row", "keywords"),
    [
        ("qwen3", {}), ("qwen3", {"enable_thinking": False}), ("deepseek-v4", {"reasoning_effort": "max"}),
        ("kimi-k3", {"thinking": False, "thinking_effort": "low"}),
        ("it insists on the switch", {"enable_thinking": False}),
    ],
)  # fmt: skip
def test_a_keyword_that_changes_something_needs_no_note(row: str, keywords: dict[str, Any]) -> None:
    assert notes(ROWS[row].template, **keywords) == []


def test_keywords_may_show_in_past_thoughts_or_the_systems_words_alone() -> None:
    assert notes(PAST, preserve_thinking=True) == []
    assert len(notes(PAST, preserve_thinkin=True)) == 1
    system = turns("{{ m.content }}", before="{% if messages[0].role == 'system' and date %}{{ date }}{% endif %}")
    assert notes(system, date="today") == []


def test_a_clock_and_marks_of_training_do_not_hide_it() -> None:
    marked = turns("{% generation %}{{ m.content }}{% endgeneration %}", "{% if think is defined %}<think>{% endif %}")
    (note,) = notes("{{ strftime_now('%f') }}" + marked, thin=True)
    assert note.endswith("Did you mean 'think'? Known: think.")
    assert notes("{{ strftime_now('%f') }}" + marked, think=True) == []


def test_where_nothing_can_be_compared_nothing_is_said() -> None:
    assert notes("{{ range(100000)|random }}" + ROWS["qwen3"].template, foo=1) == []


@pytest.mark.parametrize(
    ("row", "format", "odd"),
    [
        ("qwen3", "<a>,</a>", "'<a>'"), ("qwen3", "magistral", r"'\[THINK\]'"),
        ("qwen3", "<think>,</thnk>", "'</thnk>'"), ("gemma-4", "think", "'<think>'"),
    ],
)  # fmt: skip
def test_tags_given_by_hand_that_the_template_does_not_write_are_named(row: str, format: str, odd: str) -> None:
    text = Text(tokenizer(ROWS[row].template), format=format)
    (note,) = text.notes()
    own = re.escape(f"{ROWS[row].opens!r} and {ROWS[row].closes!r}")
    assert re.search(f"nowhere writes {odd}, .*, but {own}", note)
    assert text.format.source == "given", "it stands all the same"


@pytest.mark.parametrize(
    ("template", "format"),
    [
        (ROWS["qwen3"].template, "think"), (ROWS["qwen3"].template, "none"), (ROWS["gemma-4"].template, "gemma-4"),
        (ROWS["nobody has seen it"].template, "<|ponder_begin|>,<|ponder_end|>"),
        (turns("{{ m.content }}"), "<a>,</a>"), (ROWS["qwen3"].template, None),
    ],
)  # fmt: skip
def test_tags_given_by_hand_need_no_note_where_the_template_writes_them_or_none(template: str, format: str) -> None:
    assert Text(tokenizer(template), format=format).notes() == []
