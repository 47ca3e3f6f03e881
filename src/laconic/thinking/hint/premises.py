"""Facts and rules in plain English, and which of them a question leads back to.

A sentence is read as clauses: its *predicates* (what is said: an adjective, a class, a verb) and its *names* (of whom).
A fact states clauses, a rule concludes some from others. Words are compared by a rough stem, never by meaning, and
negations are ignored. Reading errs on the side of keeping: what cannot be read stays, and all its words are wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Words = frozenset[str]

_LONGEST = 40
"""Words; a longer sentence is prose rather than a premise."""
_RULE = re.compile(r"if\b(?P<body>.+?)(?:,?\s+then\b|,(?=\s+(?:it|they|he|she)\b))(?P<head>.+)", re.I)
_EVERY = re.compile(r"(?:every|each|all|any|an?|no)\s+(?P<body>.+?)\s+(?:is|are)\b(?P<head>.+)", re.I)
_PLURAL = re.compile(r"(?!the\b)(?P<body>.+?)\s+are\b(?P<head>.+)", re.I)
_AND = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+", re.I)
_HARD = re.compile(
    r"[\d:;()\"]|\b(?:or|nor|n?either|unless|except|because|but|so|when|whenever|while|until|who|whoever|which|that|"
    r"what|whatever|nobody|nothing|none|if)\b"
)
"""What makes a clause too hard to read."""
_ADVERB = re.compile(r"\b(?:always|often|usually|sometimes|never|also|really|only|still)\s+", re.I)
_COPULA = re.compile(r"(?P<subject>.+?)\s+(?:is|are|was|were)\b(?P<rest>.*)", re.I)
_VERB = re.compile(
    r"(?P<subject>(?:the\s+)?[\w'-]+(?:\s+(?!the\b)[\w'-]+){0,2}?)\s+"
    r"(?:(?:does|do)\s+not\s+(?P<plain>\w+)|(?P<third>\w*[^\Ws]s))\s+(?P<rest>.+)",
    re.I,
)
_PRONOUN_VERB = re.compile(
    r"(?P<subject>it|they|he|she|(?:some|any|every)(?:one|body|thing))\s+(?:(?:does|do)\s+not\s+)?(?P<plain>\w+)"
    r"(?P<rest>.*)",
    re.I,
)
_DEFINITE = re.compile(r"\bthe\s+([\w' -]+)|\b([A-Z][\w']*)")
_ANYONE = re.compile(r"\b(?:(?:some|any|every)(?:one|body|thing)|an?|people|things)\b", re.I)
_REFERS = frozenset(("it", "they", "them", "he", "him", "she", "her"))
_FILLER = _REFERS | frozenset(
    re.findall(
        r"\w+",
        "someone somebody something anyone anybody anything everyone everybody everything people person thing things "
        "one a an the not never no is am are was were be being been do does did that this these those who what which "
        "whom and or of to by in on at with for from as all every each any some also both very then if",
    )
)


def stem(word: str) -> str:
    """A rough stem, shared by singular and plural, infinitive and third person: ``chase`` and ``chases``: ``chas``."""
    word = word.lower().removesuffix("'s")
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    word = re.sub(r"(?<=..)ie$|(?<=..)y$", "i", word).rstrip("e") if len(word) > 2 else word
    return re.sub(r"f$", "v", re.sub(r"(?<=..)(?:ed|ing)$", "", word))


def stems(text: str) -> Words:
    """Stems of the words of ``text`` that mean something by themselves."""
    return frozenset(stem(word) for word in re.findall(r"[\w']+", text) if word.lower() not in _FILLER)


@dataclass(frozen=True, slots=True)
class Clause:
    """Something said of somebody. ``anyone`` counts those in it who may be anybody ("someone", "a cat")."""

    predicates: Words
    names: Words
    anyone: int = 0
    refers: bool = False
    """Whether a pronoun stands for somebody named elsewhere."""


@dataclass(frozen=True, slots=True)
class Premise:
    """A sentence that was read: what it states, and on which conditions. A fact has none."""

    head: tuple[Clause, ...]
    body: tuple[Clause, ...] = ()

    @property
    def concludes(self) -> Words:
        """Predicates that it can establish."""
        return _all(clause.predicates for clause in self.head)

    @property
    def asks(self) -> Words:
        """Predicates on which it depends."""
        return _all(clause.predicates for clause in self.body)

    @property
    def names(self) -> Words:
        """Everybody it names."""
        return _all(clause.names for clause in (*self.head, *self.body))

    @property
    def loose(self) -> bool:
        """Whether it depends on somebody whom nothing ties to its conclusion: that may be anybody."""
        anyone = sum(clause.anyone for clause in self.body)
        return anyone > 1 or (anyone == 1 and not any(clause.refers or clause.anyone for clause in self.head))


def read(sentence: str) -> Premise | None:
    """A fact or a rule; None for a sentence that is neither, as far as can be told."""
    plain = _ADVERB.sub("", " ".join(sentence.split()).rstrip(".!"))
    if _HARD.search(plain.lower().removeprefix("if ")) or len(plain.split()) > _LONGEST:
        return None
    if rule := _RULE.fullmatch(plain):
        head, body = clauses(rule["head"]), clauses(rule["body"])
        return Premise(head, body) if head and body else None
    for pattern in (_EVERY, _PLURAL):
        if found := pattern.fullmatch(plain):
            return _of_a_kind(stems(found["body"]), stems(found["head"]))
    head = clauses(plain)
    return None if any(clause.anyone or clause.refers for clause in head) or not head else Premise(head)


def _of_a_kind(body: Words, head: Words) -> Premise | None:
    """What holds of everybody of a kind."""
    if not body or not head:
        return None
    return Premise((Clause(head, frozenset(), 0, True),), (Clause(body, frozenset(), 1),))


def clauses(text: str) -> tuple[Clause, ...]:
    """The clauses of ``text``, parted by commas and "and"; empty if one of them cannot be read.

    A part without a verb says more of the same: "the cat is big and kind".
    """
    made: list[Clause] = []
    for part in filter(None, (part.strip() for part in _AND.split(text))):
        clause = _clause(part)
        if clause is not None:
            made.append(clause)
        elif made:
            last = made[-1]
            made[-1] = Clause(last.predicates | stems(part), last.names | definite(part), last.anyone, last.refers)
        else:
            return ()
    return tuple(made)


def _clause(text: str) -> Clause | None:
    if found := _COPULA.fullmatch(text):
        subject, said = found["subject"], stems(found["rest"])
        others = definite(found["rest"])
        anyone = _ANYONE.findall(subject)
    elif found := _PRONOUN_VERB.fullmatch(text) or _VERB.fullmatch(text):
        subject, verb = found["subject"], found["plain"] or found[3]
        said, others = stems(verb), stems(found["rest"])
        anyone = _ANYONE.findall(f"{subject} {found['rest']}")
    else:
        return None
    refers = not _REFERS.isdisjoint(text.lower().split())
    names = stems(subject) | others
    if not said or not (names or anyone or refers):
        return None
    return Clause(said, names, len(anyone), refers)


def definite(text: str) -> Words:
    """Those named in what is said of somebody: "chased by the dog", "taller than Bob"."""
    return _all(stems("".join(found)) for found in _DEFINITE.findall(text))


def _all(parts: Iterable[Words]) -> Words:
    return frozenset().union(*parts)
