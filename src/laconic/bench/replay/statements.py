"""What a recorded reply settles on."""

from __future__ import annotations

import re

from laconic.answers import bare, extract, stated, undress
from laconic.bench.grading import same
from laconic.thinking.statements import leading_number, states

_LONGEST = 40
"""Characters beyond which a last line is a sentence, not an answer."""
_WORDS_NAMED, _WORDS = 7, 3
"""Words of an answer at most, where the reply says that it is one and where it is just the last line."""
_SENTENCE_END = re.compile(r"[^\W\d_]{2}[.!?:]$")


def final_answer(reply: str, right: str | None) -> str:
    r"""The answer that a reply settles on, or an empty text if it names none that could be looked for.

    That is what ``grading.extract`` finds, without units and LaTeX dress: what the reply names as its answer, or a last
    line of a few words. A last line that is a sentence is no answer; the record's own ``right`` answer then stands in
    where that line ends in it.
    """
    found = bare(undress(extract(reply)))
    value = leading_number(found)
    if value is not None:
        return str(value)
    if right is not None and (same(right, found) or states(found, undress(right).strip())):
        return undress(right).strip()
    named = bool(stated(reply))
    words = _WORDS_NAMED if named else _WORDS
    short = len(found) <= _LONGEST and len(found.split()) <= words
    return found if short and (named or not _SENTENCE_END.search(reply.rstrip())) else ""
