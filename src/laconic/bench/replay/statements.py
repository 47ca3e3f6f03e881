"""What a recorded reply settles on."""

from __future__ import annotations

from laconic.answers import extract, undress
from laconic.bench.grading import same
from laconic.thinking.statements import leading_number, states

_LONGEST = 40
"""Characters beyond which a last line is a sentence, not an answer."""


def final_answer(reply: str, right: str | None) -> str:
    r"""The answer that a reply settles on, or an empty text if it names none that could be looked for.

    That is what ``grading.extract`` finds, without units and LaTeX dress. A last line that is a sentence is no
    answer; the record's own ``right`` answer then stands in where that line ends in it.
    """
    found = undress(extract(reply)).strip().strip("$").strip()
    value = leading_number(found)
    if value is not None:
        return str(value)
    if right is not None and (same(right, found) or states(found, undress(right).strip())):
        return undress(right).strip()
    return found if len(found) <= _LONGEST and found.count(" ") <= 6 and "\\boxed" in reply else ""
