"""Traces for `simple_equations`: one unknown, `a*x + b = c`."""

from random import Random

from ..problems import Problem, linear
from .arithmetic import add, multiply, multiply_near, slip, subtract
from .base import Check, Route, Trace, tell

OPEN = (
    "I need to solve {e} for {x}.",
    "Okay, the equation is {e}.",
    "Let me find {x} in {e}.",
    "So {e}, and I want {x}.",
)


def trace(problem: Problem, rng: Random) -> Trace:
    """A teaching trace for a linear equation."""
    text, name = str(problem.entry["metadata"]["equation"]), str(problem.entry["metadata"]["variable"])
    found = linear(problem.entry)
    assert found is not None
    a, b, c = found
    checks: list[Check] = [lambda rng, _: in_chunks(a, b, c, name), lambda rng, _: by_trial(a, b, c, name)]
    proofs: list[Check] = [lambda rng, value: put_back(a, b, c, name, value)]
    opening = rng.choice(OPEN).format(e=text, x=name)
    return tell(rng, problem, opening, lambda rng, wrong: quick(a, b, c, name, rng, wrong), checks, proofs)


def quick(a: int, b: int, c: int, name: str, rng: Random, wrong: bool) -> Route:
    """Move the constant and divide, each in one go."""
    moved = c - b
    value = moved // a
    in_move = wrong and b != 0 and rng.random() < 0.3
    if wrong:
        value = slip(rng, value)
    if in_move:
        moved = a * value
    lines = []
    if b:
        lines.append(f"{_shown(a, name)} = {c} {'-' if b > 0 else '+'} {abs(b)} = {moved}.")
    lines.append(f"{name} = {moved} / {_bracket(a)} = {value}." if a != 1 else f"So {name} = {value}.")
    return Route(tuple(lines), value)


def in_chunks(a: int, b: int, c: int, name: str) -> Route:
    """The constant moved place by place, the division by taking away ten times, then single times."""
    size, rest, lines = abs(a), abs(c - b), []
    value = rest // size
    if b:
        lines.append(f"{_move(a, b, c)}. That is for {size} times {name}.")
    taken = []
    if value > 10:
        taken.append(f"10 * {size} = {10 * size}, {rest} - {10 * size} = {rest - 10 * size}")
        if value == 20:
            taken.append(f"{rest - 10 * size} is 10 times {size}, so 10 + 10 = 20")
        elif value > 20:
            taken.append(f"again {rest - 10 * size} - {10 * size} = {rest - 20 * size}")
            taken.append(f"{rest - 20 * size} is {value - 20} times {size}, so 20 + {value - 20} = {value}")
        else:
            taken.append(f"{rest - 10 * size} is {value - 10} times {size}, so 10 + {value - 10} = {value}")
    else:
        taken.append(f"{rest} is {value} times {size}")
    return Route((*lines, f"{', '.join(taken)}."), value)


def by_trial(a: int, b: int, c: int, name: str) -> Route:
    """Try round values until the two sides meet; correct by what is missing."""
    size, goal = abs(a), abs(c - b)
    value = goal // size
    start = 20 if value >= 18 else 10 if value >= 8 else 5
    steps = f"Try {name} = {start}: {size} * {start} = {size * start}"
    off = value - start
    need = f"I need {_move(a, b, c)}" if b else f"I need {goal}"
    if off == 0:
        return Route((f"{need}.", f"{steps}, and that fits."), value)
    word, mark = ("more", "+") if off > 0 else ("less", "-")
    gap = subtract(goal, size * start) if off > 0 else subtract(size * start, goal)
    return Route(
        (f"{need}.", f"{steps}. {gap}, that is {abs(off)} times {size} {word}, {start} {mark} {abs(off)} = {value}."),
        value,
    )


def put_back(a: int, b: int, c: int, name: str, value: int) -> Route:
    """The value put back into the equation."""
    size = abs(a)
    product = " ".join(multiply_near(size, value)) if value > 10 and value % 10 > 5 else " ".join(multiply(size, value))
    if size == 1:
        product = f"{name} is {value}."
    left = a * value
    rest = _join(left, b)
    ok = left + b == c
    end = f"and that is {'' if ok else 'not '}{'the ' if ok else ''}{c}"
    return Route((f"Put {name} = {value} back in: {product} {rest}, {end}.",), value if ok else None)


def _move(a: int, b: int, c: int) -> str:
    """The size of `a*x`, from the two constants, in numbers from 0 up."""
    if a < 0:  # b - c
        return subtract(b, c) if c >= 0 and b >= 0 else add(b, -c) if b >= 0 else subtract(-c, -b)
    if c >= 0:
        return subtract(c, b) if b >= 0 else add(c, -b)
    return subtract(-b, -c)


def _join(left: int, b: int) -> str:
    """`left + b` for any signs, in numbers from 0 up."""
    if b == 0:
        return f"That is {left}"
    if left >= 0:
        return f"Then {add(left, b)}" if b > 0 else f"Then {subtract(left, -b)}"
    return f"Then {subtract(b, -left)}" if b > 0 else f"Then {add(-left, -b)}, so {left + b}"


def _shown(a: int, name: str) -> str:
    return name if a == 1 else f"-{name}" if a == -1 else f"{a}*{name}"


def _bracket(number: int) -> str:
    return f"({number})" if number < 0 else str(number)
