"""The bridge from a thought to its answer, where no past turn shows both."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from laconic.models.formats import tags
from laconic.models.formats.format import Format
from laconic.models.formats.table import TABLE
from laconic.models.formats.template import ANSWER, ASKED, Template

UNSEEN = "?"
"""A bridge that a past turn does not show."""
_PAIR = re.compile(r"(<(\w+)>)(</\2>)")


def headed(form: Format, added: str) -> Format | None:
    """The format with the header that a prompt writes behind an empty thought to open the answer; None without one."""
    behind = added.rpartition(form.closes)[2] if form.closes in added else ""
    _, header, rest = tags.closing(behind, tags.REPLY)
    if not header or rest.strip() or not tags.REPLY.search(header) or tags.is_closing(header):
        return None
    return replace(form, bridge=behind, headers=(header,), answer_end=form.answer_end or tags.mirrored(header))


def bridged(
    form: Format, template: Template, keywords: Sequence[Mapping[str, Any]], otherwise: str | None = None
) -> Format:
    """The format with the bridge that the template writes in a turn without a thought, or in a prompt.

    A bridge is white space, and maybe a header of the answer. Where neither shows one it is ``otherwise``, else the
    table's word on the closing tag, else a blank line.
    """
    turn = {"role": "assistant", "content": ANSWER}
    for each in ({}, *keywords):
        text = template.render([{"role": "user", "content": ASKED}, turn], generate=False, **each) or ""
        head, _, rest = text.partition(ANSWER)
        if not rest:
            continue
        head = head[head.rfind(ASKED) + len(ASKED) :]
        behind = head.rpartition(form.closes)[2] if form.closes in head else None
        if behind is not None and not behind.strip():
            return replace(form, bridge=behind)
        header = tags.header(head)
        if header:
            _, answer_end, _ = tags.closing(rest, tags.REPLY)
            return replace(form, bridge=header, headers=(header,), answer_end=answer_end)
    for each in ({}, *keywords):
        added = template.added(each)
        if with_header := headed(form, added):
            return with_header
        if added.rstrip().endswith(form.closes) and added != added.rstrip():
            return replace(form, bridge=added[len(added.rstrip()) :])
        if added.endswith(form.closes) and form.opens not in added:  # the tag alone stands for a thought left out
            return replace(form, bridge="")
        pair = next((m for m in _PAIR.finditer(template.prompt(each) or "") if tags.REPLY.search(m[1])), None)
        if pair is not None:  # the system's words ask for an answer between tags
            return replace(form, bridge=pair[1], headers=(pair[1],), answer_end=pair[3])
    listed = next((entry.bridge for entry in TABLE if entry.closes == form.closes), "\n\n")
    return replace(form, bridge=listed if otherwise is None else otherwise)
