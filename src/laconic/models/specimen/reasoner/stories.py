"""Word problems of two or three steps, in the manner of GSM8K, from templates of our own."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from laconic.models.specimen.reasoner.sums import Step, Sum

Story = tuple[str, Sum]
"""A question and the steps that answer it."""
NAMES = (
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Ida",
    "Jack",
    "Lucy",
    "Max",
    "Nora",
    "Tom",
)
THINGS = ("apples", "books", "cards", "coins", "marbles", "pencils", "shells", "stamps", "stickers", "sweets")
BOXES = ("bags", "boxes", "baskets", "jars", "packs")
GOODS = ("pens", "cups", "hats", "toys", "plates", "scarves", "lamps", "balls")
OTHER = ("a book", "a bag", "a cake", "a map", "a clock")


def gain_and_loss(rng: Random) -> Story:
    """Some are had, some come, some go."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    had, came = rng.randint(3, 20), rng.randint(2, 10)
    gone = rng.randint(2, min(12, had + came - 1))
    question = rng.choice(
        (
            f"{name} has {had} {thing}. {name} gets {came} more and then gives away {gone}. "
            f"How many {thing} does {name} have now?",
            f"{name} had {had} {thing}, found {came} {thing} and lost {gone}. How many {thing} are left?",
            f"There are {had} {thing} on a table. {name} puts {came} more there and later takes {gone} away. "
            f"How many {thing} are on the table?",
        )
    )
    return question, (Step(f"With the {came} more", had, "+", came), Step(f"Without {gone}", had + came, "-", gone))


def shopping(rng: Random) -> Story:
    """Several of one price, and one thing more, or the change."""
    name, goods = rng.choice(NAMES), rng.choice(GOODS)
    count, price = rng.randint(2, 6), rng.randint(2, 6)
    cost = Step(f"The {goods}", count, "*", price)
    if rng.random() < 0.5:
        other, more = rng.choice(OTHER), rng.randint(2, 9)
        question = rng.choice(
            (
                f"{name} buys {count} {goods} for {price} dollars each and {other} for {more} dollars. "
                "How many dollars does it cost together?",
                f"One of the {goods} costs {price} dollars, and {other} costs {more} dollars. "
                f"What do {count} {goods} and {other} cost?",
            )
        )
        return question, (cost, Step(f"With {other}", cost.value, "+", more))
    paid = rng.choice([note for note in (10, 20, 40) if note > cost.value])
    question = rng.choice(
        (
            f"{name} buys {count} {goods} for {price} dollars each and pays with {paid} dollars. "
            "How many dollars of change are there?",
            f"{name} has {paid} dollars and buys {count} {goods} at {price} dollars each. How many dollars are left?",
        )
    )
    return question, (cost, Step("The rest", paid, "-", cost.value))


def packing(rng: Random) -> Story:
    """Several boxes of as many, and some more or fewer."""
    name, thing, boxes = rng.choice(NAMES), rng.choice(THINGS), rng.choice(BOXES)
    count, size = rng.randint(2, 6), rng.randint(2, 6)
    inside = Step(f"In {boxes}", count, "*", size)
    if rng.random() < 0.5:
        loose = rng.randint(2, 9)
        question = (
            f"{name} has {count} {boxes} of {size} {thing} each and {loose} loose {thing}. How many {thing} is that?"
        )
        return question, (inside, Step("With the loose ones", inside.value, "+", loose))
    gone = rng.randint(1, min(12, inside.value - 1))
    question = (
        f"There are {count} {boxes} with {size} {thing} in each. {name} takes out {gone} {thing}. "
        "How many are still there?"
    )
    return question, (inside, Step(f"Without {gone}", inside.value, "-", gone))


def sharing(rng: Random) -> Story:
    """Some come together or some go, and the rest is shared out."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    people, each = rng.randint(2, 6), rng.randint(2, 6)
    total = people * each
    if rng.random() < 0.5:
        first = rng.randint(1, total - 1)
        question = (
            f"{name} has {first} red and {total - first} blue {thing} and shares them equally among {people} friends. "
            f"How many {thing} does each friend get?"
        )
        return question, (Step("All", first, "+", total - first), Step("Each", total, "/", people))
    kept = rng.randint(1, 9)
    question = (
        f"{name} has {total + kept} {thing}, keeps {kept} and shares the rest equally among {people} friends. "
        f"How many {thing} does each friend get?"
    )
    return question, (Step("The rest", total + kept, "-", kept), Step("Each", total, "/", people))


def comparing(rng: Random) -> Story:
    """One has so many more, or so many times as many; how many are there together?"""
    (one, two), thing = rng.sample(NAMES, 2), rng.choice(THINGS)
    had = rng.randint(3, 12)
    match rng.randrange(3):
        case 0:
            more = rng.randint(2, 9)
            said, step = f"{more} more than {one}", Step(two, had, "+", more)
        case 1:
            fewer = rng.randint(1, had - 1)
            said, step = f"{fewer} fewer than {one}", Step(two, had, "-", fewer)
        case _:
            had, times = rng.randint(2, 6), rng.randint(2, 4)
            said, step = f"{times} times as many as {one}", Step(two, had, "*", times)
    question = f"{one} has {had} {thing}. {two} has {said}. How many {thing} do they have together?"
    return question, (step, Step("Together", step.value, "+", had))


STORIES: dict[str, Callable[[Random], Story]] = {
    "gain_and_loss": gain_and_loss,
    "shopping": shopping,
    "packing": packing,
    "sharing": sharing,
    "comparing": comparing,
}
