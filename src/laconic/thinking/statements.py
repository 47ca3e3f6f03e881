"""What a thought states: which sentences name a result, and which words begin reflection.

Read from the text alone, without a model: for exits that compare what was found so far, and for the replay of recorded
thoughts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from laconic.answers import key, number, stated, undress

_SENTENCE = re.compile(r"(?:[^.!?\n]|[.!?](?!\s))+(?:[.!?]+|\n|$)\s*|\s+|[.!?]+\s*")
"""Up to a full stop, question or exclamation mark before a space, or the end of the line."""
_NUMBER = re.compile(r"(?<![\w.,])-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?(?![\w]|[.,]\d)|(?<=[$(={])-?\d[\d,]*(?:\.\d+)?")
_RESULT = re.compile(
    r"=|≈|→|\\boxed|\b(?:is|are|was|were|be|been|equals?|gets?|got|gives?|makes?|totals?|leaves?|answer|result)\b",
    re.IGNORECASE,
)
"""What must stand between the number before (or the start of the sentence) and the number that is stated."""
_CONCLUSION = re.compile(
    r"\\boxed|\b(?:so|therefore|thus|hence|answer|in total|altogether|overall|which means|final(?:ly)?)\b",
    re.IGNORECASE,
)
"""What marks a sentence as one that concludes, not one that merely passes by this value."""
_CONFIRMS = re.compile(
    r"\b(?:same|agrees?|agreed|match(?:es)?|equal|before|again|both|confirms?|consistent)\b", re.IGNORECASE
)
"""What makes a sentence that ends in a number named twice one that has found it again."""
_LONGEST = 40
"""Characters beyond which what follows "the answer is" is a sentence, not an answer."""

CUES = {
    "wait": r"\b[Ww]ait\b",
    "hmm": r"\b[Hh]mm+\b",
    "alternatively": r"\bAlternatively\b",
    "but": r"\bBut\b",
    "actually": r"\b[Aa]ctually\b",
    "let me check": r"\b[Ll]et(?: me| us|'s) (?:just )?(?:re-?|double[- ])?(?:check|verify|confirm|make sure)\b",
    "hold on": r"\b[Hh]old on\b",
    "another way": r"\banother (?:way|approach|method)\b",
}
"""Words and phrases of reflection, as patterns."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that states the answer. ``end`` is where the step that holds it ends, in characters.

    ``concluding`` says that the sentence has a word of conclusion too (so, therefore, the answer ...).
    """

    step: int
    end: int
    sentence: str
    concluding: bool


def leading_number(text: str) -> Fraction | None:
    """The value of a text that is one number, perhaps with a unit of letters after it; None for anything else.

    >>> leading_number("$460"), leading_number("12 hours"), leading_number("6 - 5i")
    (Fraction(460, 1), Fraction(12, 1), None)
    """
    head = re.match(r"\s*\$?\s*(-?\$?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?)\s*%?\s*(?:[A-Za-z][A-Za-z .]*)?$", text)
    return number(head.group(1)) if head else None


def statements(thought: str, answer: str) -> Iterator[Statement]:
    """Sentences of ``thought`` that state ``answer`` as a result, in order.

    For a number: it is the last number of the sentence, and a result word or sign (``is``, ``=``, ``total`` ...)
    stands between it and the number before it. For any other answer: the sentence ends in it or boxes it, spaces and
    LaTeX dress aside, after such a word or sign.
    """
    value = leading_number(answer)
    needle = _squeeze(answer)
    start = 0
    for at, step in enumerate(thought.split("\n\n")):
        for sentence in sentences(step):
            plain = undress(sentence)
            if _states_number(plain, value) if value is not None else _states_text(plain, needle):
                yield Statement(at, start + len(step), sentence, _CONCLUSION.search(plain) is not None)
        start += len(step) + 2


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the space after it."""
    return _SENTENCE.findall(text)


def states(sentence: str, answer: str) -> bool:
    """Whether a sentence states ``answer`` as a result; see :func:`statements`."""
    value = leading_number(answer)
    return _states_number(sentence, value) if value is not None else _states_text(sentence, _squeeze(answer))


def result(sentence: str) -> tuple[Fraction | str, bool] | None:
    r"""What a sentence states as a result, whatever that is, and whether it does so as a conclusion.

    A number is stated as in :func:`statements`; where the sentence ends in one named twice and says that they agree, it
    was found again, which concludes too. Failing that, it is what is boxed or follows "the answer is".

    >>> result("4 * 2 = 8. "), result("So 8 now and 8 before. "), result("The answer is (C).")
    ((Fraction(8, 1), False), (Fraction(8, 1), True), ('(c)', True))
    """
    plain = undress(sentence)
    figures = list(_NUMBER.finditer(plain))
    value = number(figures[-1].group()) if figures else None
    if value is not None:
        if len(figures) > 1 and number(figures[-2].group()) == value and _CONFIRMS.search(plain):
            return value, True
        if _states_number(plain, value):
            return value, _CONCLUSION.search(plain) is not None
    named = stated(plain)
    return (key(named), True) if 0 < len(named) <= _LONGEST else None


def _states_number(sentence: str, value: Fraction) -> bool:
    found = list(_NUMBER.finditer(sentence))
    if not found or number(found[-1].group()) != value:
        return False
    before = found[-2].end() if len(found) > 1 else 0
    return _RESULT.search(sentence, before, found[-1].start()) is not None


def _states_text(sentence: str, needle: str) -> bool:
    if not needle or not _RESULT.search(sentence):
        return False
    whole = _squeeze(sentence)
    if f"\\boxed{{{needle}}}" in whole:
        return True
    head = whole[: -len(needle)] if whole.endswith(needle) else ""
    return bool(head) and not (head[-1].isalnum() and needle[0].isalnum() and not _ends_at_word(sentence, needle))


def _ends_at_word(sentence: str, needle: str) -> bool:
    """Whether the needle begins a word of its own; squeezing has taken the spaces away."""
    words = undress(sentence).casefold().rstrip(" \n.!?$").split()
    return any(_squeeze("".join(words[-n:])) == needle for n in range(1, len(words) + 1))


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", undress(text)).strip("$.!?*").casefold()
