"""Traces for `gcd` and `lcm`."""

import math
from random import Random

from ..problems import Problem
from .arithmetic import multiply, multiply_near, slip
from .base import Check, Route, Trace, tell

OPEN_GCD = (
    "I need the GCD of {a} and {b}.",
    "Okay, find the greatest common divisor of {a} and {b}.",
    "Let me look at {a} and {b}.",
)
OPEN_LCM = (
    "I need the LCM of {a} and {b}.",
    "Okay, find the least common multiple of {a} and {b}.",
    "Let me look at {a} and {b}.",
)


def trace_gcd(problem: Problem, rng: Random) -> Trace:
    """A teaching trace for a greatest common divisor of two numbers."""
    a, b = (int(number) for number in problem.entry["metadata"]["numbers"])
    checks: list[Check] = [lambda rng, _: euclid(a, b), lambda rng, _: factors_gcd(a, b), lambda rng, _: listed(a, b)]
    opening = rng.choice(OPEN_GCD).format(a=a, b=b)
    return tell(
        rng, problem, opening, lambda rng, wrong: divide_out(a, b, rng, wrong), checks, [lambda rng, v: parts(a, b, v)]
    )


def trace_lcm(problem: Problem, rng: Random) -> Trace:
    """A teaching trace for a least common multiple of two numbers."""
    a, b = (int(number) for number in problem.entry["metadata"]["numbers"])
    checks: list[Check] = [lambda rng, _: from_euclid(a, b), lambda rng, _: factors_lcm(a, b)]
    if math.lcm(a, b) // max(a, b) <= 8:
        checks.append(lambda rng, _: multiples(a, b))
    else:
        checks.append(lambda rng, _: from_parts(a, b))
    opening = rng.choice(OPEN_LCM).format(a=a, b=b)
    return tell(
        rng, problem, opening, lambda rng, wrong: guess_lcm(a, b, rng, wrong), checks, [lambda rng, v: divides(a, b, v)]
    )


def primes(number: int) -> list[int]:
    """Prime factors, smallest first."""
    found, prime = [], 2
    while number > 1:
        while number % prime == 0:
            found.append(prime)
            number //= prime
        prime += 1
    return found or [1]


def divide_out(a: int, b: int, rng: Random, wrong: bool) -> Route:
    """Divide both by common primes while one is seen; the slip is to overlook the last one, or to see one too many."""
    shared = [prime for prime in primes(math.gcd(a, b)) if prime > 1]
    if wrong and shared:
        shared = shared[:-1]
    elif wrong:
        return Route((f"Both {a} and {b} seem to be in the table of 3.",), 3)
    steps, left, right = [], a, b
    for prime in shared:
        steps.append(f"both can be divided by {prime}, that leaves {left // prime} and {right // prime}")
        left, right = left // prime, right // prime
    value = math.prod(shared)
    if not steps:
        return Route((f"I see no number that divides both {a} and {b}.",), 1)
    return Route(
        (f"{'; '.join(steps).capitalize()}.", f"I see no more common divisors, and {_product(shared)} = {value}."),
        value,
    )


def euclid(a: int, b: int) -> Route:
    """Divisions with remainder until nothing is left."""
    big, small = max(a, b), min(a, b)
    lines = []
    while small:
        times = big // small
        taken = f"{times} * {small} = {times * small}, " if times > 1 else ""
        lines.append(f"{taken}{big} - {times * small} = {big % small}.")
        big, small = small, big % small
    if len(lines) > 3:
        lines = [" ".join(lines[:2]), " ".join(lines[2:])]
    return Route(
        (f"By remainders: {lines[0]}", *lines[1:-1], f"{lines[-1]} Nothing is left, so it is {big}.")
        if len(lines) > 1
        else (f"By remainders: {lines[0]} Nothing is left, so it is {big}.",),
        big,
    )


def factors_gcd(a: int, b: int) -> Route:
    """From the prime factors of both."""
    shared = primes(math.gcd(a, b))
    common = "Nothing is shared but 1" if shared == [1] else f"Shared: {_product(shared)}"
    return Route(
        (f"In primes, {a} = {_product(primes(a))} and {b} = {_product(primes(b))}.", f"{common}."), math.gcd(a, b)
    )


def listed(a: int, b: int) -> Route:
    """Try the divisors of the smaller one, largest first."""
    small, big = min(a, b), max(a, b)
    steps = []
    for divisor in (d for d in range(small, 0, -1) if small % d == 0):
        rest = big % divisor
        steps.append(f"{big} / {divisor} = {big // divisor}" + (f" rest {rest}" if rest else ""))
        if not rest:
            break
    return Route((f"Divisors of {small} from the top: {', '.join(steps)}.",), math.gcd(a, b))


def parts(a: int, b: int, value: int) -> Route:
    """What is left of both may share nothing."""
    return Route((f"{a} / {value} = {a // value} and {b} / {value} = {b // value}, and these share nothing.",), value)


def guess_lcm(a: int, b: int, rng: Random, wrong: bool) -> Route:
    """Both numbers multiplied, over the common divisor seen at a glance."""
    shared = math.gcd(a, b)
    value = a * b // shared
    small, big = min(a, b), max(a, b)
    if wrong and shared > 1 and rng.random() < 0.5:
        shared = primes(shared)[-1] if primes(shared)[-1] != shared else 1
        value = a * b // shared
    elif wrong:
        value = slip(rng, value)
    start = f"They share {shared}" if shared > 1 else "They seem to share nothing"
    return Route((f"{start}, so I take {big} * {small // shared} = {value}.",), value)


def from_euclid(a: int, b: int) -> Route:
    """The gcd by remainders, then the product of one number with what is left of the other."""
    by_remainders, shared = euclid(a, b), math.gcd(a, b)
    small, big = min(a, b), max(a, b)
    return Route(
        (*by_remainders.lines, f"{small} / {shared} = {small // shared}. {' '.join(multiply(big, small // shared))}"),
        math.lcm(a, b),
    )


def factors_lcm(a: int, b: int) -> Route:
    """From the prime factors of both, each as often as it is needed."""
    left, right = primes(a), primes(b)
    needed = sorted(p for p in {*left, *right} for _ in range(max(left.count(p), right.count(p))) if p > 1)
    total, steps = needed[0], []
    for prime in needed[1:]:
        steps.append(f"{total} * {prime} = {total * prime}")
        total *= prime
    return Route(
        (
            f"In primes, {a} = {_product(left)} and {b} = {_product(right)}.",
            f"Needed: {_product(needed)}. {', '.join(steps) or total}.",
        ),
        total,
    )


def multiples(a: int, b: int) -> Route:
    """Count up in the larger number until the smaller one divides."""
    small, big = min(a, b), max(a, b)
    value = math.lcm(a, b)
    steps = [f"{number} / {small} = {number // small} rest {number % small}" for number in range(big, value, big)]
    end = f"{value} / {small} = {value // small}. So it is {value}"
    return Route((f"Multiples of {big}, divided by {small}: {', '.join([*steps, end])}.",), value)


def from_parts(a: int, b: int) -> Route:
    """What is left of both numbers, and the common divisor, multiplied."""
    shared, value = math.gcd(a, b), math.lcm(a, b)
    small, big = min(a, b), max(a, b)
    return Route(
        (
            f"With {shared} taken out, {small} leaves {small // shared}.",
            f"{' '.join(multiply_near(small // shared, big))}",
        ),
        value,
    )


def divides(a: int, b: int, value: int) -> Route:
    """Both numbers divide the result, and what they leave shares nothing."""
    return Route((f"{value} / {a} = {value // a} and {value} / {b} = {value // b}, and these share nothing.",), value)


def _product(numbers: list[int]) -> str:
    return " * ".join(map(str, numbers))
