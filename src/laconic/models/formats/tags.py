"""Reading tags: which part of a text is the tag that opens or closes a thought."""

from __future__ import annotations

import re

_ATTRIBUTE = r"\s+[\w:-]+=(?:\"[^\"<>]*\"|'[^'<>]*')"
_TAG = re.compile(rf"<[^<>\s]{{1,40}}>|<\w[\w:.-]*(?:{_ATTRIBUTE})+\s*>|\[/?[A-Z_]{{2,40}}\]")
_WORD = re.compile(r"think|thought|reason|analysis|ponder|reflect|\bcot\b", re.IGNORECASE)
REPLY = re.compile(r"response|answer|final|reply", re.IGNORECASE)
"""Words that name an answer in a tag."""


def is_thought(tag: str) -> bool:
    """Whether a tag names thinking, by a word in it."""
    return _WORD.search(tag) is not None


def opening(before: str) -> tuple[str, str]:
    """The opening tag at the end of ``before``, and the white space after it; both empty where there is none.

    It is the shortest end that begins with a tag and names thinking, else the last tag, if the text ends with one.
    """
    text = before.rstrip()
    lead = before[len(text) :]
    starts = [match.start() for match in _TAG.finditer(text)]
    for start in reversed(starts):
        if is_thought(text[start:]):
            return (text[start:], lead) if text[start:].count("\n") == 0 else ("", "")
    return "", ""


def closing(between: str, word: re.Pattern[str] = _WORD) -> tuple[str, str, str]:
    """White space, the closing tag at the beginning of ``between``, and what follows it; empty where there is none.

    It is the shortest beginning that ends with a tag and names thinking (``word``), else the first tag.
    """
    text = between.lstrip()
    trail = between[: len(between) - len(text)]
    ends = [match.end() for match in _TAG.finditer(text)]
    if not ends or _TAG.match(text) is None:
        return "", "", ""
    end = next((end for end in ends if word.search(text[:end])), ends[0])
    return trail, text[:end], text[end:]


def header(before: str) -> str:
    """The tag at the end of ``before`` that opens an answer by its name; empty where there is none."""
    last = next(reversed(list(_TAG.finditer(before))), None)
    if last is None or last.end() != len(before.rstrip()) or not REPLY.search(last.group()) or is_closing(last.group()):
        return ""
    return last.group()


def mirrored(tag: str) -> str:
    """The closing tag of an opening one of the usual forms, ``<x>``, ``<x y="z">`` or ``[X]``; else empty."""
    tag = re.sub(rf"^(<\w[\w:.-]*)(?:{_ATTRIBUTE})+\s*>$", r"\1>", tag)
    if re.fullmatch(r"<[A-Za-z][\w:.-]*>|\[[A-Z_]+\]", tag):
        return f"{tag[0]}/{tag[1:]}"
    return ""


def partners(tag: str) -> list[str]:
    """Closing tags that may belong to an opening one, the likeliest first, in the forms that families have."""
    found = [mirrored(tag)]
    if tag.startswith("<|"):
        name = tag[2:].removesuffix(">").removesuffix("|")
        found += [f"<{name}|>", f"<|/{name}|>", f"</{name}>"]
    found += [tag.replace(one, other) for one, other in (("begin", "end"), ("start", "end"), ("prefix", "suffix"))]
    return [one for one in dict.fromkeys(found) if one and one != tag]


def empty_thought(added: str) -> tuple[str, str, str, str, str] | None:
    """An empty thought in ``added``: opening tag, lead, trail, closing tag, bridge.

    None where there is none. Which part of the white space between the tags is lead and which trail is not said; half
    of it is taken for each.
    """
    for match in _TAG.finditer(added):
        for start in [m.start() for m in _TAG.finditer(added[: match.start()])][::-1]:
            opens = added[start : match.start()].rstrip()
            gap = added[start + len(opens) : match.start()]
            if is_thought(opens) and "\n" not in opens and not is_closing(opens):
                half = (len(gap) + 1) // 2
                return opens, gap[:half], gap[half:], match.group(), added[match.end() :]
    return None


def is_closing(tag: str) -> bool:
    """Whether a tag is of a closing form."""
    return tag.startswith(("</", "[/")) or "|close|" in tag or (tag.endswith("|>") and not tag.startswith("<|"))


def spans(text: str) -> list[tuple[int, int]]:
    """Where every tag in ``text`` begins and ends, in order."""
    return [match.span() for match in _TAG.finditer(text)]


def all_tags(text: str) -> list[str]:
    """Every tag in ``text``, in order."""
    return _TAG.findall(text)
