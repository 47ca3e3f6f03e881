"""Traces for `leg_counting`."""

from random import Random

from ..problems import Problem
from .arithmetic import add, slip, times_digit
from .base import Check, Route, Trace, tell

OPEN = (
    "I have to count the legs of {n} kinds of animals.",
    "Okay, let me count legs.",
    "Let me go through the animals.",
)


def trace(problem: Problem, rng: Random) -> Trace:
    """A teaching trace for a list of animals."""
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    herd = [(name, count, ANIMALS[name]) for name, count in problem.entry["metadata"]["animals"].items()]
    checks: list[Check] = [lambda rng, _: by_legs(herd), lambda rng, _: from_the_back(herd)]
    if len({legs for _, _, legs in herd}) > 1:
        checks.append(lambda rng, _: in_pairs(herd))
    opening = rng.choice(OPEN).format(n=len(herd))
    return tell(
        rng,
        problem,
        opening,
        lambda rng, wrong: quick(herd, rng, wrong),
        checks,
        [lambda rng, value: take_away(herd, value)],
    )


Herd = list[tuple[str, int, int]]  # name, how many, legs of one


def quick(herd: Herd, rng: Random, wrong: bool) -> Route:
    """Each animal in one go, then all sums in one go."""
    counts = [count * legs for _, count, legs in herd]
    in_product = wrong and rng.random() < 0.4
    if in_product:
        at = rng.randrange(len(herd))
        counts[at] = max(0, counts[at] + rng.choice((-1, 1)) * max(2, herd[at][2]))
    words = [
        f"{count} {name} with {legs} make {total}" for (name, count, legs), total in zip(herd, counts, strict=True)
    ]
    value = sum(counts)
    if (wrong and not in_product) or (wrong and value == sum(c * n for _, c, n in herd)):
        value = slip(rng, value)
    return Route((f"{', '.join(words)}.", f"{' + '.join(map(str, counts))} = {value}."), value)


def by_legs(herd: Herd) -> Route:
    """Animals with as many legs counted together."""
    lines, total = [], 0
    for legs in sorted({legs for _, _, legs in herd}):
        same = [count for _, count, other in herd if other == legs]
        # the name before the number: a small model finds a number by the name beside it
        heads = ", ".join(f"{name} {count}" for name, count, other in herd if other == legs)
        if len(same) > 1:
            heads += f", together {' + '.join(map(str, same))} = {sum(same)}"
        product = times_digit(sum(same), legs) if legs < 11 else _fourteen(sum(same))
        lines.append(f"With {legs} legs: {heads}, {product}.")
    totals = [legs * sum(c for _, c, other in herd if other == legs) for legs in sorted({legs for _, _, legs in herd})]
    steps = []
    for amount in totals:
        if total:
            steps.append(add(total, amount))
        total += amount
    return Route((*lines, f"{', '.join(steps)}.") if steps else tuple(lines), total)


def from_the_back(herd: Herd) -> Route:
    """The list from its end, with a running total."""
    total, lines = 0, []
    for name, count, legs in reversed(herd):
        product = times_digit(count, legs) if legs < 11 else _fourteen(count)
        join = f", and {add(total, count * legs)}" if total else ""
        lines.append(f"{name}: {product}{join}.")
        total += count * legs
    return Route(tuple(lines), total)


def in_pairs(herd: Herd) -> Route:
    """Counted in pairs of legs where all are even; else the odd ones apart."""
    pairs, steps, odd = 0, [], 0
    for _name, count, legs in herd:
        if legs % 2:
            odd += count * legs
            continue
        steps.append(
            f"{count} * {legs // 2} = {count * (legs // 2)}" + (f", {add(pairs, count * (legs // 2))}" if pairs else "")
        )
        pairs += count * (legs // 2)
    lines = [f"In pairs of legs: {'; '.join(steps)}."]
    total = 2 * pairs
    lines.append(f"Two legs each: {add(pairs, pairs)}.")
    if odd:
        lines.append(f"The starfish have {odd} more: {add(total, odd)}.")
    return Route(tuple(lines), total + odd)


def take_away(herd: Herd, value: int) -> Route:
    """Take every animal's legs away; nothing may be left."""
    steps, rest = [], value
    for _, count, legs in herd:
        if count * legs:
            steps.append(f"{rest} - {count * legs} = {rest - count * legs}")
            rest -= count * legs
    return Route((f"Taken away again: {', '.join(steps) or value}, and nothing is left.",), value)


def _fourteen(count: int) -> str:
    return f"{count} * 10 = {count * 10}, {count} * 4 = {count * 4}, {add(count * 10, count * 4)}"
