"""How a family writes calls of tools: between tags, which are neither thought nor answer."""

from __future__ import annotations

from dataclasses import replace

from laconic.models.formats import tags
from laconic.models.formats.format import Format
from laconic.models.formats.template import ANSWER, ASKED, CALL, Template


def with_calls(form: Format, template: Template) -> Format:
    """The format with the tags around a call, as a past turn shows them; as it was where none is shown."""
    call = {"id": "call00001", "type": "function", "function": {"name": CALL, "arguments": {"at": "it"}}}
    text = template.render(
        [
            {"role": "user", "content": ASKED},
            {"role": "assistant", "content": ANSWER, "tool_calls": [call]},
            {"role": "tool", "content": ASKED, "tool_call_id": call["id"], "name": CALL},
        ],
        generate=False,
    )
    before, _, behind = (text or "").rpartition(ANSWER)[2].partition(CALL)
    opens = next((tag for tag in tags.all_tags(before) if not tags.is_closing(tag)), "")
    closes = tags.mirrored(opens)
    if not closes or closes not in behind or tags.is_thought(opens):
        return form
    return replace(form, asides=(opens,), aside_end=closes)
