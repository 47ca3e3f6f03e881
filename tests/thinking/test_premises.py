"""Pruning of premises: what it leaves out never changes what follows, checked by a solver on made-up worlds."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pytest

import laconic.methods  # noqa: F401  (fills the registry)
from laconic.policy import registry
from laconic.thinking.base import Controller
from laconic.thinking.hint.premises import read, stem, stems
from laconic.thinking.hint.pruning import pruned
from laconic.types import Question

NAMES = ("Anne", "Bob", "the bald eagle", "the cat", "the wolf")
GIVEN = ("young", "sleepy")
"""Attributes that no rule concludes, so that "not" is safe to ask for them."""
ATTRIBUTES = (*GIVEN, "big", "kind", "round", "nice", "furry", "quiet", "smart")
VERBS = ("chase", "like", "see", "need")
ANYBODY = "someone"

Atom = tuple[str, str, str]
"""Predicate, subject, object; the object is empty for an attribute. A predicate that begins with "!" is negated."""


@dataclass(frozen=True)
class Rule:
    """A fact has no body."""

    head: Atom
    body: tuple[Atom, ...] = ()


def spoken(atom: Atom, pronoun: bool = False) -> str:
    """An atom in words; "they" for the variable where it was named before."""
    predicate, subject, other = atom
    positive = predicate.removeprefix("!")
    no = "not " if positive != predicate else ""
    plural = subject == ANYBODY and pronoun
    who = "they" if plural else subject
    if not other:
        return f"{who} {'are' if plural else 'is'} {no}{positive}"
    if no:
        return f"{who} {'do' if plural else 'does'} not {positive} {other}"
    return f"{who} {positive}{'' if plural else 's'} {other}"


def sentence(rule: Rule, rng: random.Random) -> str:
    """A premise in words, one of several ways."""
    if not rule.body:
        said = spoken(rule.head)
    elif all(not a[2] and a[1] == ANYBODY and a[0][0] != "!" for a in (*rule.body, rule.head)) and rng.random() < 0.6:
        kinds = [atom[0] for atom in rule.body]
        said = f"{rng.choice(('all ', ''))}{', '.join(kinds)} {rng.choice(('people', 'things'))} are {rule.head[0]}"
    else:
        body = " and ".join(spoken(a, any(b[1] == ANYBODY for b in rule.body[:i])) for i, a in enumerate(rule.body))
        said = f"if {body} then {spoken(rule.head, True)}"
    return said[0].upper() + said[1:] + "."


def world(rng: random.Random) -> list[Rule]:
    """Facts and rules, some of which are about nobody in particular, or conclude from anybody."""

    def atom(attributes: Sequence[str], who: Sequence[str]) -> Atom:
        if rng.random() < 0.35:
            return rng.choice(VERBS), rng.choice(who), rng.choice(NAMES)
        return rng.choice(attributes), rng.choice(who), ""

    rules = [Rule(atom(ATTRIBUTES, NAMES)) for _ in range(rng.randrange(4, 12))]
    for _ in range(rng.randrange(4, 12)):
        who = rng.choice(((ANYBODY,), (ANYBODY,), (ANYBODY, rng.choice(NAMES)), (rng.choice(NAMES),)))
        body = [atom(ATTRIBUTES, who) for _ in range(rng.randrange(1, 4))]
        body = [("!" + a[0], *a[1:]) if a[0] in GIVEN and rng.random() < 0.4 else a for a in body]
        if len(who) == 1 and who[0] == ANYBODY and rng.random() < 0.15:  # anybody will do
            who = (rng.choice(NAMES),)
        head = atom(ATTRIBUTES[len(GIVEN) :], who)
        if head[1] == ANYBODY and not any(a[1] == ANYBODY for a in body):
            continue
        rules.append(Rule(head, tuple(body)))
    rng.shuffle(rules)
    return rules


def follows(rules: Sequence[Rule]) -> set[Atom]:
    """All that follows, forward; what is not known is false."""
    true: set[Atom] = set()
    while True:
        new = set()
        for rule, name in product(rules, NAMES):
            bound = [(p, name if s == ANYBODY else s, o) for p, s, o in (*rule.body, rule.head)]
            if all((("!" not in p) == ((p.removeprefix("!"), s, o) in true)) for p, s, o in bound[:-1]):
                new.add(bound[-1])
        facts = {rule.head for rule in rules if not rule.body}
        if not true >= facts:  # what is given comes first: "not" asks about it alone
            new = facts
        if new <= true:
            return true
        true |= new


QUESTIONS = (
    "Question: {} True or false?", "Based on the above, is the following statement true, false or unknown? {}",
    "True or false: {}", "Query: {}",
)  # fmt: skip


@pytest.mark.parametrize("reorder", [True, False])
def test_what_follows_is_the_same(reorder: bool) -> None:
    rng, whole, kept, true, changed = random.Random(0), 0, 0, 0, 0
    for _ in range(300):
        rules = world(rng)
        said = {sentence(rule, rng): rule for rule in rules}
        possible = sorted(follows(rules))
        predicate, subject = rng.choice(ATTRIBUTES), rng.choice(NAMES)
        query = rng.choice(possible) if possible and rng.random() < 0.5 else (predicate, subject, "")
        asked = sentence(Rule(query), rng)
        question = rng.choice(QUESTIONS).format(asked)
        gap = rng.choice((" ", "\n", "\n- "))
        found = pruned("- " * (gap != " ") + gap.join(said) + f"\n\n{question}", reorder=reorder)
        if found is None:
            continue
        before, after = found.text.rsplit("\n\n", 1)
        assert after == question
        left = [line.lstrip("- ").strip() for line in re.split(r"(?<=\.)\s+", before)]
        assert len(left) == len(set(left)) == found.kept
        assert (query in follows([said[line] for line in left])) == (query in possible), (found.text, list(said))
        whole, kept = whole + found.premises, kept + found.kept
        true += query in possible
        if not reorder:
            assert left == [line for line in said if line in left]
        changed += len(left) > 1
    assert kept < 0.7 * whole
    assert true > 80
    assert changed > 100


PROMPT = """Anne is quiet. The wolf is big. Bob is young. The cat chases the wolf.
If someone is round then they are nice. All big things are kind. Kind, quiet things are smart. If something is kind then it is round.

Question: The wolf is nice. True or false?
Answer with one word."""  # noqa: E501


def test_the_premises_that_stay_are_told_in_the_order_of_the_deduction() -> None:
    found = pruned(PROMPT)
    assert found is not None
    assert (found.kept, found.premises) == (4, 8)
    assert found.text == (
        "The wolf is big. All big things are kind. If something is kind then it is round. "
        "If someone is round then they are nice.\n\n"
        "Question: The wolf is nice. True or false?\nAnswer with one word."
    )


def test_in_its_own_order() -> None:
    found = pruned(PROMPT, reorder=False)
    assert found is not None
    assert [found.text.index(word) for word in ("wolf is big", "round then", "big things", "kind then")] == sorted(
        found.text.index(word) for word in ("wolf is big", "round then", "big things", "kind then")
    )


@pytest.mark.parametrize(
    ("premises", "question", "kept"),
    [
        # Classes, singular and plural.
        (
            "Each tumpus is not bright. Wumpuses are tumpuses. Every wumpus is a zumpus. Max is a wumpus. Sue is bad.",
            "True or false: Max is bright.",
            "Max is a wumpus. Wumpuses are tumpuses. Each tumpus is not bright.",
        ),
        ("Rex is a wolf. Wolves are furry. Cats are odd.", "Is Rex furry?", "Rex is a wolf. Wolves are furry."),
        # Nobody in particular is asked about: facts about everybody stay.
        (
            "Anne is big. Bob is big. If someone is big then they are kind. Bob is red.",
            "Is anyone kind?",
            "Anne is big. Bob is big. If someone is big then they are kind.",
        ),
        # Somebody else will do for the rule.
        (
            "Anne is big. Bob is red. If someone is big then Bob is kind. Anne is red.",
            "Is Bob kind?",
            "Anne is big. If someone is big then Bob is kind.",
        ),
        # Somebody comes in by a relation.
        (
            "Anne likes Bob. Bob is big. Tom is big. If Bob is big and they like Bob then they are kind.",
            "Is Anne kind?",
            "Anne likes Bob. Bob is big. If Bob is big and they like Bob then they are kind.",
        ),
        # What cannot be read stays, and so does what leads to it.
        (
            "Anne is big. Bob is red. Anne is odd. If Anne is big then Anne is kind. Al is sad. Who is kind is odd!",
            "Is Anne odd?",
            "Anne is big. Anne is odd. If Anne is big then Anne is kind. Who is kind is odd!",
        ),
    ],
)  # fmt: skip
def test_what_stays(premises: str, question: str, kept: str) -> None:
    found = pruned(f"{premises} {question}")
    assert found is not None
    assert found.text == f"{kept} {question}"


@pytest.mark.parametrize(
    "prompt",
    [
        "What is 3 + 4? Answer with a number.",
        "Natalia sold clips to 48 of her friends in April. If she sold half as many in May then how many did she sell?",
        "Anne is big. Bob is red. Is Bob kind?",  # no rule
        "If someone is big then they are kind. Is Bob kind?",  # no fact
        "Anne is big. All big things are kind.",  # no question
        "Anne is big. All big things are kind. Is Bob tall?",  # nothing leads to it
        "Is Anne kind? Anne is big. All big things are kind.",  # the question comes first
        "Anne is big. All big things are kind. It rained. We went home early. Nobody knew why. Is Anne kind?",
        "The hen is big. If the hen is big then the hen is old. Is the hen 2 years old?",  # to be reckoned
        "",
    ],
)
def test_other_prompts_are_left_alone(prompt: str) -> None:
    assert pruned(prompt) is None
    mine = registry.build("think", "premise-pruning")
    assert isinstance(mine, Controller)
    question = Question(({"role": "user", "content": prompt},))
    assert mine.prepare(question) is question


def test_the_controller_asks_the_shorter_question_and_says_so() -> None:
    mine = registry.build("think", "premise-pruning")
    assert isinstance(mine, Controller)
    messages = ({"role": "system", "content": "S"}, {"role": "user", "content": PROMPT})
    asked = mine.prepare(Question(messages, thinking=False))
    found = pruned(PROMPT)
    assert found is not None
    assert asked.messages == (messages[0], {"role": "user", "content": found.text})
    assert asked.thinking is False
    assert [(e.method, e.reason) for e in asked.events] == [("premise-pruning", "kept 4 of 8 premises")]
    assert mine.prepare(asked) is asked, "nothing is left to prune"


def test_numbered_lists_stay_numbered() -> None:
    lines = ["Bob is red.", "All big things are kind.", "Anne is big."]
    prompt = "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1)) + "\n\nIs Anne kind?"
    found = pruned(prompt)
    assert found is not None
    assert found.text == "1. Anne is big.\n2. All big things are kind.\n\nIs Anne kind?"


@pytest.mark.parametrize(
    "words",
    [
        "chase chases chased chasing",
        "see sees",
        "wolf wolves",
        "wumpus wumpuses",
        "need needs",
        "fly flies",
        "tree trees",
        "nice",
    ],
)
def test_forms_of_a_word_have_one_stem(words: str) -> None:
    assert len({stem(word) for word in words.split()}) == 1


def test_different_words_have_different_stems() -> None:
    words = [*ATTRIBUTES, *VERBS, "anne", "bob", "bald", "eagle", "cat", "wolf", "red", "seed", "bus", "boss"]
    assert len({stem(word) for word in words}) == len(words)


def test_reading() -> None:
    fact = read("The bald eagle does not always like the cat.")
    assert fact is not None
    assert not fact.body
    assert (fact.concludes, fact.names) == (stems("like"), stems("bald eagle cat"))
    rule = read("If someone is big and kind and they chase the cat, then they need Anne.")
    assert rule is not None
    assert (rule.concludes, rule.asks, rule.names) == (stems("need"), stems("big kind chase"), stems("cat anne"))
    assert not rule.loose
    for unread in ("It is big.", "They are big.", "Bob slept.", "x = 3.", "Hello", "If it rains, bring an umbrella."):
        assert read(unread) is None, unread
