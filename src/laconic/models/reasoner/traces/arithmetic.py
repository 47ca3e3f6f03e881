"""Sums, differences and products in words: in one go, or by places."""

from random import Random


def slip(rng: Random, value: int) -> int:
    """A plausible wrong result: a carry forgotten, a digit off by one or two, two digits swapped."""
    size = abs(value)
    digits = str(size)
    if len(digits) > 1 and digits[-1] != digits[-2] and rng.random() < 0.15:
        wrong = int(digits[:-2] + digits[-1] + digits[-2])
    else:
        unit = 10 ** rng.choice([place for place in range(len(digits)) if place < 3] + [min(1, len(digits) - 1)])
        wrong = size + rng.choice((-1, 1, 1, -2, 2)) * unit
    wrong = wrong if wrong >= 0 and wrong != size else size + 1
    return -wrong if value < 0 else wrong


def places(number: int) -> list[int]:
    """345 -> [300, 40, 5]; places that hold a zero are left out, but 0 -> [0]."""
    text = str(number)
    parts = [int(digit) * 10 ** (len(text) - 1 - at) for at, digit in enumerate(text)]
    return [part for part in parts if part] or [0]


def add(left: int, right: int) -> str:
    """`left + right` for numbers from 0 up, the second one added place by place."""
    parts = places(right)
    if len(parts) == 1 or left < 10:
        return f"{left} + {right} = {left + right}"
    steps = []
    for part in parts:
        steps.append(f"{left} + {part} = {left + part}")
        left += part
    return ", ".join(steps)


def subtract(left: int, right: int) -> str:
    """`left - right` for numbers from 0 up: place by place, and from the other side where it is below zero."""
    if right > left:
        back = subtract(right, left)
        return f"{back}, so {left} - {right} = {left - right}" if left else f"0 - {right} = {-right}"
    parts = places(right)
    if len(parts) == 1:
        return f"{left} - {right} = {left - right}"
    steps = []
    for part in parts:
        steps.append(f"{left} - {part} = {left - part}")
        left -= part
    return ", ".join(steps)


def times_digit(left: int, digit: int) -> str:
    """`left * digit` by the places of the first, for a digit, or a digit followed by zeros."""
    parts = places(left)
    if len(parts) == 1 or digit in (0, 1, 10):
        return f"{left} * {digit} = {left * digit}"
    total, steps = 0, []
    for part in parts:
        steps.append(f"{part} * {digit} = {part * digit}")
        if total:
            steps.append(add(total, part * digit))
        total += part * digit
    return ", ".join(steps)


def multiply(left: int, right: int) -> list[str]:
    """`left * right` in sentences: split the second by places, each product by the places of the first."""
    parts = places(right)
    if len(parts) == 1:
        return [f"{times_digit(left, right)}."]
    lines = [f"{left} * {part}: {times_digit(left, part)}." for part in parts]
    total = left * parts[0]
    for part in parts[1:]:
        lines.append(f"Together {add(total, left * part)}.")
        total += left * part
    return lines


def multiply_partials(left: int, right: int) -> list[str]:
    """`left * right` from the table of all partial products."""
    table = [(one, other) for one in places(left) for other in places(right)]
    lines = [", ".join(f"{one} * {other} = {one * other}" for one, other in table) + "."]
    total, steps = table[0][0] * table[0][1], []
    for one, other in table[1:]:
        steps.append(add(total, one * other))
        total += one * other
    return [*lines, f"Added up: {', '.join(steps)}."] if steps else lines


def multiply_near(left: int, right: int) -> list[str]:
    """`left * right` from the nearest round number to the second."""
    near = (right + 5) // 10 * 10
    gap = near - right
    if right < 11 or gap == 0:
        return multiply(right, left)
    first, second = left * near, left * abs(gap)
    join = subtract(first, second) if gap > 0 else add(first, second)
    return [
        f"{right} is {near} {'-' if gap > 0 else '+'} {abs(gap)}.",
        f"{times_digit(left, near)}, and {times_digit(left, abs(gap))}.",
        f"Then {join}.",
    ]
